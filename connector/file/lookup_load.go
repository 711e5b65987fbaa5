package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// version tells one state of a file from another.
type version struct {
	info fs.FileInfo // nil: there is no such file
	size int64
	time time.Time
}

func versionOf(path string) (version, error) {
	info, err := os.Stat(path)
	if err != nil {
		return version{}, failure("file.lookup", path, err)
	}
	return version{info: info, size: info.Size(), time: info.ModTime()}, nil
}

// same reports whether v and o are the same state of the same file.
func (v version) same(o version) bool {
	if v.info == nil || o.info == nil {
		return v.info == nil && o.info == nil
	}
	return v.size == o.size && v.time.Equal(o.time) && os.SameFile(v.info, o.info)
}

// table is a file in memory.
type table struct {
	version version
	keys    map[string]int32 // row by the text of its key
	rows    []extent         // of text
	text    []byte           // the rows as JSON objects
	docs    []jsonview.Doc   // the rows, parsed; empty for a large file, whose rows are parsed when they are read
}

// extent is a part of the text.
type extent struct{ start, end int }

// parsedRows is up to how many rows are kept parsed: that takes some hundred bytes for each.
const parsedRows = 100_000

// errUnsteady says that a file was written while it was read.
var errUnsteady = errors.New("the file was changed while it was read")

// load reads the file.
func (l *lookup) load() (*table, error) {
	before, err := versionOf(l.path)
	if err != nil {
		return nil, err
	}
	data, err := l.read()
	if err != nil {
		return nil, failure("file.lookup", l.path, err)
	}
	after, err := versionOf(l.path)
	if err != nil {
		return nil, err
	}
	if !before.same(after) {
		return nil, &penstock.Error{Code: penstock.Unavailable, Op: "file.lookup", Path: l.path, Err: errUnsteady, Hint: "put a new version in place by renaming it"}
	}
	t := &table{version: before, keys: map[string]int32{}}
	if err := l.cut(t, data); err != nil {
		return nil, err
	}
	if err := t.index(l); err != nil {
		return nil, err
	}
	return t, nil
}

// read gives the content of the file as UTF-8.
func (l *lookup) read() ([]byte, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	r, err := compressionOf(l.config.Compression, l.path).reader(f)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if c, ok := l.codec.(penstock.Transcoder); ok {
		if wrap := c.Transcode(data[:min(len(data), 4)]); wrap != nil {
			return io.ReadAll(wrap(bytes.NewReader(data)))
		}
	}
	return data, nil
}

// cut collects the rows as JSON, with the lines that they begin at.
func (l *lookup) cut(t *table, data []byte) error {
	codec := l.codec
	if c, ok := codec.(penstock.Limiter); ok {
		codec = c.WithMaxRecord(len(data) + 1) // the whole file is in memory anyway: one array is one record
	}
	limits := jsonview.Limits{MaxBytes: len(data) + 1}
	framer := codec.NewFramer(l.path)
	var d jsonview.Doc
	var lines []int
	line := 1
	for rest := data; ; {
		n, record, err := framer.Frame(rest, true)
		if err != nil {
			return l.bad(line, err)
		}
		if n == 0 {
			break
		}
		if record != nil {
			framer.Bind(&d, record)
			if err := d.Parse(limits); err != nil {
				return l.bad(line, err)
			}
			// A record may come after white space: its line is where it begins itself.
			first := line
			if at := bytes.Index(rest[:n], record); at > 0 {
				first += bytes.Count(rest[:at], newline)
			}
			if lines, err = l.collect(t, &d, record, first, lines); err != nil {
				return err
			}
		}
		line += bytes.Count(rest[:n], newline)
		rest = rest[n:]
	}
	return l.keyed(t, lines)
}

var newline = []byte{'\n'}

// collect takes the rows of one record: itself, or the elements of an array.
func (l *lookup) collect(t *table, d *jsonview.Doc, record []byte, line int, lines []int) ([]int, error) {
	if d.Kind(0) != jsonview.Array {
		return l.row(t, d, 0, line, lines)
	}
	at := 0
	for e := d.First(0); e != jsonview.None; e = d.Next(e) {
		// Elements stand in order, and between them there is nothing that an element could begin with.
		text := d.Raw(e)
		start := at + max(bytes.Index(record[at:], text), 0)
		line += bytes.Count(record[at:start], newline)
		var err error
		if lines, err = l.row(t, d, e, line, lines); err != nil {
			return lines, err
		}
		line += bytes.Count(text, newline)
		at = start + len(text)
	}
	return lines, nil
}

func (l *lookup) row(t *table, d *jsonview.Doc, n jsonview.Node, line int, lines []int) ([]int, error) {
	if d.Kind(n) != jsonview.Object {
		return lines, l.bad(line, fmt.Errorf("a row must be an object with the field %q, this is a %s", l.config.Column, d.Kind(n)))
	}
	start := len(t.text)
	t.text = d.AppendJSON(t.text, n)
	t.rows = append(t.rows, extent{start, len(t.text)})
	return append(lines, line), nil
}

// keyed fills the map from keys to rows.
func (l *lookup) keyed(t *table, lines []int) error {
	t.text = bytes.Clone(t.text) // without the room to grow
	t.keys = make(map[string]int32, len(t.rows))
	var d jsonview.Doc
	var hint jsonview.Hint
	for i, r := range t.rows {
		d.Reset(jsonview.JSON, t.text[r.start:r.end:r.end])
		if err := d.Parse(jsonview.Limits{MaxBytes: len(t.text) + 1}); err != nil {
			return l.bad(lines[i], err)
		}
		key, err := l.key(&d, &hint)
		if err != nil {
			return l.bad(lines[i], err)
		}
		if other, twice := t.keys[key]; twice {
			return &penstock.Error{Code: penstock.Invalid, Op: "file.lookup", Path: l.path,
				Err:  fmt.Errorf("line %d and line %d both have %.100q as %s", lines[other], lines[i], key, l.config.Column),
				Hint: "remove one of them: a look-up has one answer"}
		}
		t.keys[key] = int32(i)
	}
	return nil
}

// key is the text of the column that is looked up by. It aliases the text of the table where it can.
func (l *lookup) key(d *jsonview.Doc, hint *jsonview.Hint) (string, error) {
	n := d.Field(0, l.config.Column, hint)
	switch d.Kind(n) {
	case jsonview.String:
		return d.Str(n, nil), nil
	case jsonview.Number, jsonview.True, jsonview.False:
		return string(d.Raw(n)), nil
	case jsonview.Invalid:
		var names []string
		for k := d.First(0); k != jsonview.None && len(names) < 20; k = d.Next(k) {
			names = append(names, string(d.Key(k, nil)))
		}
		return "", fmt.Errorf("the row has no %q; it has %s", l.config.Column, strings.Join(names, ", "))
	}
	return "", fmt.Errorf("%s is %s here, which can't be looked up", l.config.Column, d.Kind(n))
}

// index parses the rows, so that no call and no reader of an answer has to.
func (t *table) index(l *lookup) error {
	if len(t.rows) > parsedRows {
		return nil
	}
	docs := make([]jsonview.Doc, len(t.rows))
	var d jsonview.Doc
	for i, r := range t.rows {
		text := t.text[r.start:r.end:r.end]
		d.Reset(jsonview.JSON, text)
		if err := d.Parse(jsonview.Limits{MaxBytes: len(t.text) + 1}); err != nil {
			return failure("file.lookup", l.path, err)
		}
		// The copy has a tape of just its size; the text stays where it is.
		d.CloneInto(&docs[i], func(int) []byte { return text })
	}
	t.docs = docs
	return nil
}

// bad is the error for a row that is no row.
func (l *lookup) bad(line int, err error) error {
	code := penstock.CodeOf(err)
	if code == penstock.Internal {
		code = penstock.Invalid
	}
	return &penstock.Error{Code: code, Op: "file.lookup", Path: fmt.Sprintf("%s: line %d", l.path, line), Err: err}
}
