package avro

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hamba/avro/v2/ocf"

	"penstock.dev/penstock"
)

const pointSchema = `{"type":"record","name":"p","fields":[{"name":"x","type":"int"},{"name":"y","type":["null","string"],"default":null}]}`

func containerOf(t testing.TB, schema, compression string) *codec {
	t.Helper()
	c := Config{Container: true, Compression: compression}
	if schema != "" {
		c.Schema = penstock.SchemaRef{Name: "s", Schema: penstock.SchemaText{Language: penstock.Avro, Text: []byte(schema)}}
	}
	k, err := New(c, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return k.(*codec)
}

func lines(t testing.TB, k *codec, raw []byte) ([]string, error) {
	t.Helper()
	text, err := io.ReadAll(k.Transcode(raw[:min(4, len(raw))])(iotest.OneByteReader(bytes.NewReader(raw))))
	var out []string
	f := k.NewFramer("x")
	for len(text) > 0 {
		n, rec, bad := f.Frame(text, true)
		if n == 0 {
			t.Fatal(bad)
		}
		out, text = append(out, string(rec)), text[n:]
	}
	return out, err
}

// TestContainer writes containers that another implementation reads, and the other way round.
func TestContainer(t *testing.T) {
	for _, compression := range []string{"", "null", "deflate", "snappy", "zstandard"} {
		t.Run(compression, func(t *testing.T) {
			k := containerOf(t, pointSchema, compression)
			e := k.NewEncoder()
			raw := e.Begin(nil)
			var want []string
			for i := range 20_000 {
				text := fmt.Sprintf(`{"x":%d,"y":"value %d"}`, i, i)
				if i%7 == 0 {
					text = fmt.Sprintf(`{"x":%d,"y":null}`, i)
				}
				var err error
				if raw, err = e.Append(raw, document(t, text)); err != nil {
					t.Fatal(err)
				}
				if i%100 == 0 {
					mark := len(raw)
					if raw, err = e.Append(raw, document(t, `{"x":"bad"}`)); err == nil || len(raw) != mark {
						t.Fatal("what can't be written was written")
					}
				}
				want = append(want, text)
			}
			raw = e.End(raw)
			got, err := lines(t, k, raw)
			if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Fatalf("%d of %d, %v", len(got), len(want), err)
			}
			theirs, err := ocf.NewDecoder(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for theirs.HasNext() {
				var v struct {
					X int     `avro:"x"`
					Y *string `avro:"y"`
				}
				if err := theirs.Decode(&v); err != nil || v.X != n {
					t.Fatal(v, err)
				}
				n++
			}
			if n != len(want) || theirs.Error() != nil {
				t.Errorf("another reader: %d, %v", n, theirs.Error())
			}
			var b bytes.Buffer
			name := map[string]ocf.CodecName{"": ocf.Null, "null": ocf.Null, "deflate": ocf.Deflate, "snappy": ocf.Snappy, "zstandard": ocf.ZStandard}[compression]
			w, err := ocf.NewEncoder(pointSchema, &b, ocf.WithCodec(name), ocf.WithBlockLength(3))
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				if err := w.Encode(map[string]any{"x": i, "y": nil}); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got, err = lines(t, containerOf(t, "", ""), b.Bytes())
			if err != nil || len(got) != 10 || got[9] != `{"x":9,"y":null}` {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

// TestContainerResolution reads what was written with another schema, by steps.
func TestContainerResolution(t *testing.T) {
	raw, err := containerOf(t, pointSchema, "deflate").Encode([]byte("~"), document(t, `[{"x":1,"y":"a"},{"x":2}]`))
	if err != nil {
		t.Fatal(err)
	}
	raw = raw[1:]
	for schema, want := range map[string]string{
		"": `[{"x":1,"y":"a"},{"x":2,"y":null}]`,
		`{"type":"record","name":"p","fields":[{"name":"z","type":"string","default":"?"},{"name":"x","type":"double"}]}`: `[{"x":1,"z":"?"},{"x":2,"z":"?"}]`,
	} {
		if got, err := containerOf(t, schema, "").Decode([]byte("~"), raw); err != nil || string(got) != "~"+want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	if _, err := containerOf(t, `{"type":"record","name":"p","fields":[{"name":"x","type":"string"}]}`, "").Decode(nil, raw); penstock.CodeOf(err) != penstock.Unprocessable {
		t.Errorf("not compatible: %v", err)
	}
	if _, err := containerOf(t, pointSchema, "").Encode(nil, document(t, `[{"x":1},{"x":"a"}]`)); err == nil || !strings.Contains(err.Error(), "body[1].x") {
		t.Errorf("a misfit: %v", err)
	}
	one, err := containerOf(t, pointSchema, "").Encode(nil, document(t, `{"x":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := containerOf(t, "", "").Decode(nil, one); err != nil || string(got) != `[{"x":1,"y":null}]` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestContainerFaults(t *testing.T) {
	k := containerOf(t, pointSchema, "snappy")
	raw, err := k.Encode(nil, document(t, `[{"x":1,"y":"a"},{"x":2}]`))
	if err != nil {
		t.Fatal(err)
	}
	header := len(k.NewEncoder().End(nil))
	for n := range raw {
		if n == header {
			continue // a container of nothing
		}
		if _, err := k.Decode(nil, raw[:n]); penstock.CodeOf(err) != penstock.Invalid {
			t.Errorf("the first %d of %d bytes: %v", n, len(raw), err)
		}
	}
	for i := header + 2; i < len(raw); i++ {
		bad := bytes.Clone(raw)
		bad[i] ^= 0x55
		if _, err := k.Decode(nil, bad); err == nil {
			t.Errorf("byte %d was changed, and nobody saw it", i)
		}
	}
	for want, raw := range map[string]string{
		"no object container file": "PAR1",
		"compressed by \"lzo\"":    "Obj\x01\x04\x16avro.schema\x0a\"int\"\x14avro.codec\x06lzo\x00" + strings.Repeat("m", 16),
		"can't be read as one":     "Obj\x01\x02\x16avro.schema\x02x\x00" + strings.Repeat("m", 16),
		"has a length of":          "Obj\x01\x02\x16avro.schema\xfe\xff\xff\xff\xff\xff\xff\xff\x7f",
		"the mark of the file":     "Obj\x01\x02\x16avro.schema\x0a\"int\"\x00" + strings.Repeat("m", 16) + "\x02\x02\x02" + strings.Repeat("n", 16),
		"behind the last datum":    "Obj\x01\x02\x16avro.schema\x0a\"int\"\x00" + strings.Repeat("m", 16) + "\x02\x04\x02\x02" + strings.Repeat("m", 16),
		"the document is too":      "Obj\x01\x02\x16avro.schema\x0c\"null\"\x00" + strings.Repeat("m", 16) + "\xfe\xff\xff\xff\xff\xff\xff\x7f\x00" + strings.Repeat("m", 16),
	} {
		if want == "the document is too" {
			want = "data without bytes"
		}
		if _, err := containerOf(t, "", "").Decode(nil, []byte(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	f := k.NewFramer("x")
	if _, _, err := f.Frame(raw, true); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("as it comes: %v", err)
	}
	for want, c := range map[string]Config{"has its schema in it": {Container: true, Registry: penstock.ConnectionRef{Name: "r"}}} {
		if errs := c.Validate(); len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%v, want %s", errs, want)
		}
	}
	if errs := (&Config{Container: true}).Validate(); len(errs) > 0 {
		t.Error(errs)
	}
}

func FuzzContainer(f *testing.F) {
	for _, compression := range []string{"null", "deflate", "snappy", "zstandard"} {
		raw, err := containerOf(f, pointSchema, compression).Encode(nil, document(f, `[{"x":1,"y":"a"},{"x":2}]`))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	k := containerOf(f, "", "")
	k.max = 1 << 16
	f.Fuzz(func(_ *testing.T, raw []byte) { _, _ = k.Decode(nil, raw) })
}
