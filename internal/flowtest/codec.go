package flowtest

import (
	"bytes"
	"compress/gzip"
	"io"
	"path"
	"reflect"
	"strings"

	"github.com/klauspost/compress/zstd"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/types"
)

// suffixes tell the format of a file where none is given, as the file connector has it.
var suffixes = map[string]string{
	".json": "json", ".jsonl": "json", ".ndjson": "json",
	".csv": "csv",
	".txt": "text", ".log": "text",
}

// codec is how an endpoint reads or writes: the format of its configuration, or the one that
// the first name with a known suffix tells, or JSON. It is nil where the binary has no such codec.
func (s *suite) codec(ep *plan.Endpoint, typ *types.Type, names ...string) penstock.Codec {
	codec := formatOf(ep.Config)
	if codec == nil {
		format := "json"
		for _, n := range names {
			if f, ok := suffixes[strings.ToLower(path.Ext(bare(n)))]; ok {
				format = f
				break
			}
		}
		d, ok := s.o.Registry.Lookup(penstock.KindOfCodec, format)
		if !ok {
			return nil
		}
		var err error
		if codec, err = d.BuildCodec(d.NewConfig(), penstock.CodecOptions{Type: typ}); err != nil {
			return nil
		}
	}
	if l, ok := codec.(penstock.Limiter); ok {
		if most := limitOf(ep.Config); most > 0 {
			codec = l.WithMaxRecord(int(most))
		}
	}
	return codec
}

// formatOf finds the codec in a driver's configuration.
func formatOf(config any) (found penstock.Codec) {
	fields(config, func(v reflect.Value, _ string) bool {
		if f, ok := v.Interface().(penstock.Format); ok {
			found = f.Codec
		}
		return found != nil
	})
	return found
}

// limitOf finds the largest record that a driver's configuration allows; 0 for none.
func limitOf(config any) (found penstock.Size) {
	fields(config, func(v reflect.Value, name string) bool {
		s, ok := v.Interface().(penstock.Size)
		if ok && name == "MaxRecord" {
			found = s
		}
		return found > 0
	})
	return found
}

// pathOf finds the template of the path that a driver's configuration names.
func pathOf(config any) (found penstock.Template, ok bool) {
	ok = fields(config, func(v reflect.Value, name string) bool {
		t, ok := v.Interface().(penstock.Template)
		if ok && name == "Path" {
			found = t
			return true
		}
		return false
	})
	return found, ok
}

// fields visits the fields of a configuration until visit is satisfied.
func fields(config any, visit func(v reflect.Value, name string) bool) bool {
	if config == nil {
		return false
	}
	v := reflect.Indirect(reflect.ValueOf(config))
	if v.Kind() != reflect.Struct {
		return false
	}
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && visit(v.Field(i), f.Name) {
			return true
		}
	}
	return false
}

// bare is a name without the suffix of a compression.
func bare(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
}

// unpacked undoes the compression that the suffix of a file tells.
func unpacked(name string, data []byte) ([]byte, error) {
	switch {
	case strings.HasSuffix(name, ".gz"):
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case strings.HasSuffix(name, ".zst"):
		r, err := zstd.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	return data, nil
}

// plain is a value as text.
func plain(v penstock.Value) string {
	out, err := v.AppendText(nil)
	if err != nil {
		return ""
	}
	return string(out)
}
