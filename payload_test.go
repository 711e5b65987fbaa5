package penstock_test

import (
	"bytes"
	"errors"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// upper is a codec that decodes letters to a JSON string of upper-case ones. Its framer binds text.
type upper struct{ max int }

func (upper) NewFramer(string) penstock.Framer { return lines{} }
func (upper) NewEncoder() penstock.Encoder     { return nil }
func (u upper) Decode(dst, src []byte) ([]byte, error) {
	switch {
	case string(src) == "bad":
		return dst, errors.New("a bad word")
	case string(src) == "later":
		return dst, penstock.E(penstock.Unavailable, "upper", "", "no dictionary")
	case u.max > 0 && len(src) > u.max:
		return dst, errors.New("over the limit of the codec")
	}
	return append(append(append(dst, '"'), bytes.ToUpper(src)...), '"'), nil
}
func (upper) Encode(dst []byte, d *jsonview.Doc) ([]byte, error) {
	return append(dst, d.Bytes()...), nil
}
func (upper) WithMaxRecord(n int) penstock.Codec { return upper{n} }

func TestPayloads(t *testing.T) {
	for name, c := range map[string]struct {
		format  string
		max     penstock.Size
		payload string
		want    string
		as      jsonview.Format
		fails   penstock.Code
		says    string
	}{
		"decoded at once":      {format: "upper", payload: "abc", want: `"ABC"`, as: jsonview.JSON},
		"bound where it lies":  {format: "text", payload: "abc", want: `abc`, as: jsonview.Text},
		"empty":                {format: "upper", payload: "", want: `null`, as: jsonview.JSON},
		"empty, bound":         {format: "text", payload: "", want: `null`, as: jsonview.JSON},
		"as large as may be":   {format: "text", max: 3, payload: "abc", want: `abc`, as: jsonview.Text},
		"larger":               {format: "text", max: 3, payload: "abcd", want: `abcd`, as: jsonview.Binary, fails: penstock.TooLarge, says: "broker: body: the payload has 4 bytes, more than the 3 that are read (raise `maxRecord`)"},
		"unreadable":           {format: "upper", payload: "bad", want: `bad`, as: jsonview.Binary, fails: penstock.Invalid, says: "broker: body: a bad word"},
		"unreadable for now":   {format: "upper", payload: "later", want: `later`, as: jsonview.Binary, fails: penstock.Unavailable, says: "broker: body: upper: no dictionary"},
		"without a bound":      {format: "upper", payload: "abcdefgh", want: `"ABCDEFGH"`, as: jsonview.JSON},
		"the codec's bound":    {format: "upper", payload: "abcdefghi", want: `abcdefghi`, as: jsonview.Binary, fails: penstock.Invalid, says: "broker: body: over the limit of the codec"},
		"ours in its place":    {format: "upper", max: 1 << 20, payload: "abcdefghi", want: `"ABCDEFGHI"`, as: jsonview.JSON},
		"negative is no bound": {format: "upper", max: -1, payload: "abcd", want: `"ABCD"`, as: jsonview.JSON},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := penstock.NewPayloads("broker", penstock.Format{Name: c.format, Codec: upper{max: 8}}, c.max)
			if err != nil {
				t.Fatal(err)
			}
			var b penstock.Batch
			m := b.Append()
			err = p.Body(&b, m.Body, []byte(c.payload))
			if got := penstock.CodeOf(err); got != c.fails || err != nil && err.Error() != c.says {
				t.Fatalf("%q: %v, want %q", got, err, c.says)
			}
			if got := string(m.Body.Bytes()); got != c.want || m.Body.Format() != c.as {
				t.Fatalf("%s %q, want %s %q", m.Body.Format(), got, c.as, c.want)
			}
			if err := m.Body.Parse(jsonview.Limits{}); err != nil {
				t.Fatal(err)
			}
			if len(c.payload) == 0 && m.Body.Kind(0) != jsonview.Null {
				t.Fatalf("%s, want null", m.Body.Kind(0))
			}
		})
	}
	if _, err := penstock.NewPayloads("broker", penstock.Format{Name: "json"}, 0); penstock.CodeOf(err) != penstock.Config {
		t.Fatalf("a format without a codec: %v", err)
	}
}

// TestPayloadsAllocate holds bodies that are read where they lie to costing nothing.
func TestPayloadsAllocate(t *testing.T) {
	p, err := penstock.NewPayloads("broker", penstock.Format{Name: "text", Codec: upper{}}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var b penstock.Batch
	m, payload := b.Append(), []byte("abc")
	if n := testing.AllocsPerRun(100, func() {
		if err := p.Body(&b, m.Body, payload); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestContentType(t *testing.T) {
	for format, want := range map[string]string{"json": "application/json", "csv": "text/csv; charset=utf-8", "bytes": "application/octet-stream", "avro": "application/avro", "": "", "theirs": ""} {
		if got := (penstock.Format{Name: format}).ContentType(); got != want {
			t.Errorf("%q: %q, want %q", format, got, want)
		}
	}
}
