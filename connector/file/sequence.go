package file

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// numbered is the name of the file with the present number.
func (o *output) numbered() string {
	return numbered(o.base, o.number)
}

// numbered is the name of a file of the sequence that base stands for.
func numbered(base string, number int) string {
	stem, suffix := stemOf(base)
	return fmt.Sprintf("%s-%06d%s", stem, number, suffix)
}

// stemOf parts a path before its suffixes: orders, .jsonl.gz.
func stemOf(base string) (stem, suffix string) {
	inner := bare(base)
	ext := filepath.Ext(inner)
	return strings.TrimSuffix(inner, ext), ext + base[len(inner):]
}

// lastNumber is the highest number of the sequence that is there already.
func (o *output) lastNumber() (int, error) {
	stem, suffix := stemOf(o.base)
	names, err := o.sink.fs.List(filepath.Dir(o.base))
	if err != nil {
		return 0, err
	}
	last := 0
	for _, name := range names {
		middle, ok := strings.CutPrefix(name, filepath.Base(stem)+"-")
		if !ok {
			continue
		}
		if middle, ok = strings.CutSuffix(middle, suffix); !ok {
			continue
		}
		if n, err := strconv.Atoi(middle); err == nil {
			last = max(last, n)
		}
	}
	return last, nil
}

// rotateIfDue completes the file if it is time for the next of the sequence.
func (o *output) rotateIfDue(now time.Time) error {
	r := o.sink.config.Rotate
	size := o.written
	if o.z == nil {
		size += int64(len(o.buf))
	}
	switch {
	case !o.begun || o.records == 0:
		return nil
	case r.Records > 0 && o.records >= r.Records:
	case r.Size > 0 && size >= int64(r.Size):
	case r.Interval > 0 && now.Sub(o.since) >= r.Interval.Std():
	default:
		return nil
	}
	if err := o.complete(); err != nil {
		return err
	}
	o.number++
	o.name = o.numbered()
	return nil
}
