package file

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/csv"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// lookupValue is what a compiled `${body.<field>}` does.
type lookupValue struct {
	field string
	hint  *jsonview.Hint
}

func (p lookupValue) Eval(f *penstock.Frame) penstock.Value {
	d := f.Msg.Body
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return penstock.ErrorValue(err)
	}
	n := d.Field(0, p.field, p.hint)
	if n == jsonview.None {
		return penstock.Absent
	}
	return penstock.NodeValue(d, n).Load(f.Arena)
}

// given is a program with one answer.
type given struct{ v penstock.Value }

func (p given) Eval(*penstock.Frame) penstock.Value { return p.v }

// handClock is a clock that is moved by hand.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) NewTimer(time.Duration) (<-chan time.Time, func()) {
	return make(chan time.Time), func() {}
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// lookupRig is a look-up with what stands around it.
type lookupRig struct {
	*lookup
	clock *handClock
	log   *bytes.Buffer
	path  string
	batch penstock.Batch
}

// rig makes a look-up by country in a file of the given name and content; edit changes its configuration.
func rig(t testing.TB, name, content string, edit func(*LookupConfig, *penstock.Env)) *lookupRig {
	t.Helper()
	r := penstock.NewRegistry()
	json.Register(r)
	csv.Register(r)
	g := &lookupRig{clock: &handClock{now: time.Unix(1700000000, 0)}, log: &bytes.Buffer{}, path: filepath.Join(t.TempDir(), name)}
	g.write(t, content)
	c := LookupConfig{Path: penstock.Template{Source: g.path}, Column: "country",
		Value: penstock.Template{Source: "${body.c}", Program: lookupValue{"c", new(jsonview.Hint)}}}
	env := penstock.Env{Clock: g.clock, Logger: slog.New(slog.NewTextHandler(g.log, nil))}
	if edit != nil {
		edit(&c, &env)
	}
	var err error
	if g.lookup, err = newLookup(r, c, env); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *lookupRig) write(t testing.TB, content string) {
	t.Helper()
	temp := g.path + ".new"
	if err := os.WriteFile(temp, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, g.path); err != nil {
		t.Fatal(err)
	}
}

// ask looks up for a body and gives the answer's JSON, "absent" for a miss.
func (g *lookupRig) ask(t testing.TB, body string) (string, error) {
	t.Helper()
	g.batch.Reset()
	m := g.batch.Append()
	m.Body.Reset(jsonview.JSON, []byte(body))
	into := g.batch.NewMessage()
	if err := g.Call(context.Background(), g.batch.Frame(m), into); err != nil {
		return "", err
	}
	text := string(into.Body.AppendJSON(nil, 0))
	if into.Meta.Get("absent").Equal(penstock.True) {
		if text != "null" {
			t.Errorf("a miss has the body %s", text)
		}
		return "absent", nil
	}
	return text, nil
}

func (g *lookupRig) wants(t testing.TB, body, want string) {
	t.Helper()
	got, err := g.ask(t, body)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if got != want {
		t.Errorf("%s: got %s, want %s", body, got, want)
	}
}

func TestLookupFormats(t *testing.T) {
	gz := func(s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(s))
		_ = w.Close()
		return b.String()
	}
	const de, fr = `{"country":"DE","n":"1"}`, `{"country":"FR","n":"2"}`
	cases := map[string]struct{ name, content string }{
		"csv":              {"c.csv", "country,n\nDE,1\nFR,2\n"},
		"csv, no last end": {"c.csv", "country,n\nDE,1\nFR,2"},
		"json lines":       {"c.jsonl", de + "\n" + fr + "\n"},
		"json array":       {"c.json", "[\n  " + de + ",\n  " + fr + "\n]\n"},
		"json stream":      {"c.json", de + fr},
		"gzip":             {"c.csv.gz", gz("country,n\nDE,1\nFR,2\n")},
		"utf-16":           {"c.csv", "\xff\xfe" + utf16("country,n\nDE,1\nFR,2\n")},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := rig(t, c.name, c.content, nil)
			if err := g.Open(context.Background()); err != nil {
				t.Fatal(err)
			}
			g.wants(t, `{"c":"DE"}`, de)
			g.wants(t, `{"c":"FR"}`, fr)
			g.wants(t, `{"c":"IT"}`, "absent")
			g.wants(t, `{"c":""}`, "absent")
			g.wants(t, `{"c":null}`, "absent")
			g.wants(t, `{}`, "absent")
			if err := g.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			if _, err := g.ask(t, `{"c":"DE"}`); err == nil {
				t.Error("a look-up after Close was answered")
			}
		})
	}
}

func utf16(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteByte(c)
		b.WriteByte(0)
	}
	return b.String()
}

func TestLookupValues(t *testing.T) {
	g := rig(t, "c.jsonl", `{"country":"7"}`+"\n"+`{"country":8}`+"\n"+`{"country":true}`+"\n"+`{"country":"1.50"}`+"\n"+`{"country":"M\u00fc"}`+"\n", nil)
	if err := g.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	g.wants(t, `{"c":7}`, `{"country":"7"}`)
	g.wants(t, `{"c":"8"}`, `{"country":8}`)
	g.wants(t, `{"c":8.0}`, "absent")
	g.wants(t, `{"c":1.50}`, `{"country":"1.50"}`)
	g.wants(t, `{"c":true}`, `{"country":true}`)
	g.wants(t, `{"c":"Mü"}`, `{"country":"M\u00fc"}`)
	if _, err := g.ask(t, `{"c":["7"]}`); penstock.CodeOf(err) != penstock.Unprocessable {
		t.Errorf("a list: %v", err)
	}

	dec, err := penstock.ParseDecimal("1.50")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		v    penstock.Value
		want bool
	}{
		{penstock.DecimalValue(dec), true},
		{penstock.UintValue(7), true},
		{penstock.OptionalValue(penstock.StringValue("7")), true},
		{penstock.OptionalValue(penstock.Absent), false},
		{penstock.BytesValue([]byte("7")), false}, // base64 has it as Nw==
	} {
		_, found, err := g.table.Load().find(c.v, g.batch.Arena())
		if err != nil || found != c.want {
			t.Errorf("%s: found %v, %v", c.v, found, err)
		}
	}
	failed := penstock.E(penstock.Unprocessable, "value", "", "no")
	if _, _, err := g.table.Load().find(penstock.ErrorValue(failed), nil); err != failed {
		t.Errorf("the value's own error became %v", err)
	}
}

func TestLookupCoerces(t *testing.T) {
	row := &types.Type{Kind: types.Object, Fields: []types.Field{{Name: "country", Type: types.StringType}, {Name: "rate", Type: types.DecimalType}, {Name: "eu", Type: types.BoolType}}}
	g := rig(t, "c.csv", "country,rate,eu\nDE,19.00,true\n", func(_ *LookupConfig, env *penstock.Env) { env.Type = row })
	if err := g.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	g.wants(t, `{"c":"DE"}`, `{"country":"DE","rate":19.00,"eu":true}`)
}

func TestLookupRefuses(t *testing.T) {
	cases := map[string]struct {
		name, content string
		want          []string
	}{
		"twice":            {"c.csv", "country,n\nDE,1\nFR,2\nDE,3\n", []string{"line 2 and line 4", `"DE"`}},
		"twice in array":   {"c.json", "[\n{\"country\":\"DE\"},\n {\"country\":\"FR\"},\n\n{\"country\":\n\"DE\"}]", []string{"line 2 and line 5"}},
		"no column":        {"c.csv", "land,n\nDE,1\n", []string{"line 2", `no "country"`, "land, n"}},
		"key is null":      {"c.jsonl", "{\"country\":\"DE\"}\n\n{\"country\":null}\n", []string{"line 3", "null"}},
		"key is an object": {"c.jsonl", "{\"country\":{}}\n", []string{"line 1", "object"}},
		"no object":        {"c.jsonl", "7\n", []string{"line 1", "number"}},
		"no row":           {"c.json", "[1]", []string{"line 1", "number"}},
		"torn":             {"c.jsonl", "{\"country\":\"DE\"}\n{\"country\":", []string{"line 2"}},
		"ragged":           {"c.csv", "country,n\nDE,1\nFR\n", []string{"line 3"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := rig(t, c.name, c.content, nil)
			err := g.Open(context.Background())
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(c.want, g.path) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q says nothing of %q", err, want)
				}
			}
			if code := penstock.CodeOf(err); code != penstock.Invalid {
				t.Errorf("code %s", code)
			}
		})
	}
	t.Run("no file", func(t *testing.T) {
		g := rig(t, "c.csv", "", nil)
		if err := os.Remove(g.path); err != nil {
			t.Fatal(err)
		}
		if err := g.Open(context.Background()); penstock.CodeOf(err) != penstock.NotFound {
			t.Errorf("%v", err)
		}
	})
	t.Run("format unknown", func(t *testing.T) {
		_, err := newLookup(penstock.NewRegistry(), LookupConfig{Path: penstock.Template{Source: "c.dat"}, Column: "a", Value: penstock.Template{Program: given{}}}, penstock.Env{})
		if penstock.CodeOf(err) != penstock.Config {
			t.Errorf("%v", err)
		}
	})
}

func TestLookupReload(t *testing.T) {
	g := rig(t, "c.csv", "country,n\nDE,1\n", nil)
	if err := g.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	const de1, de2 = `{"country":"DE","n":"1"}`, `{"country":"DE","n":"22"}`
	g.write(t, "country,n\nDE,22\n")
	g.wants(t, `{"c":"DE"}`, de1) // a look counts for a second
	g.clock.advance(999 * time.Millisecond)
	g.wants(t, `{"c":"DE"}`, de1)
	g.clock.advance(time.Millisecond)
	g.wants(t, `{"c":"DE"}`, de2)

	warnings := func() int { return strings.Count(g.log.String(), "WARN") }
	g.write(t, "country,n\nDE,3\nDE,4\n")
	for range 3 {
		g.clock.advance(time.Second)
		g.wants(t, `{"c":"DE"}`, de2)
	}
	if warnings() != 1 {
		t.Errorf("a version that can't be read was reported %d times:\n%s", warnings(), g.log)
	}
	if err := os.Remove(g.path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		g.clock.advance(time.Second)
		g.wants(t, `{"c":"DE"}`, de2)
	}
	if warnings() != 2 {
		t.Errorf("a file that is gone was reported %d times:\n%s", warnings()-1, g.log)
	}
	g.write(t, "country,n\nDE,1\n")
	g.clock.advance(time.Second)
	g.wants(t, `{"c":"DE"}`, de1)
	if warnings() != 2 {
		t.Errorf("warned of a good version:\n%s", g.log)
	}
}

// TestLookupConcurrent asks from several goroutines while the file changes: every answer is from one of the versions.
func TestLookupConcurrent(t *testing.T) {
	g := rig(t, "c.csv", "country,n\nDE,0\n", nil)
	if err := g.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var b penstock.Batch
			for range 500 {
				b.Reset()
				m := b.Append()
				m.Body.Reset(jsonview.JSON, []byte(`{"c":"DE"}`))
				into := b.NewMessage()
				if err := g.Call(context.Background(), b.Frame(m), into); err != nil {
					t.Error(err)
					return
				}
				if got := into.Body.AppendJSON(nil, 0); !bytes.HasPrefix(got, []byte(`{"country":"DE","n":"`)) {
					t.Errorf("got %s", got)
					return
				}
			}
		})
	}
	for i := range 20 {
		g.write(t, fmt.Sprintf("country,n\nDE,%d\n", i))
		g.clock.advance(time.Second)
	}
	wg.Wait()
}

// TestLookupReusedReply: a reply is shared, so that whoever asks with the same message again must not spoil it.
func TestLookupReusedReply(t *testing.T) {
	g := rig(t, "c.csv", "country,n\nDE,1\nFR,2\n", nil)
	if err := g.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	into := g.batch.NewMessage()
	m := g.batch.Append()
	for _, c := range []struct{ body, want string }{{"DE", `{"country":"DE","n":"1"}`}, {"IT", "null"}, {"FR", `{"country":"FR","n":"2"}`}, {"DE", `{"country":"DE","n":"1"}`}, {"IT", "null"}} {
		m.Body.Reset(jsonview.JSON, []byte(`{"c":"`+c.body+`"}`))
		if err := g.Call(context.Background(), g.batch.Frame(m), into); err != nil {
			t.Fatal(err)
		}
		if got := string(into.Body.AppendJSON(nil, 0)); got != c.want {
			t.Errorf("%s: %s, want %s", c.body, got, c.want)
		}
	}
}

// TestLookupLarge looks up in more rows than are kept parsed.
func TestLookupLarge(t *testing.T) {
	var b strings.Builder
	b.WriteString("country,n\n")
	for i := range parsedRows + 1 {
		fmt.Fprintf(&b, "c%d,%d\n", i, i)
	}
	g := rig(t, "c.csv", b.String(), nil)
	if err := g.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(g.table.Load().docs) != 0 {
		t.Fatal("the rows are kept parsed")
	}
	g.wants(t, `{"c":"c100000"}`, `{"country":"c100000","n":"100000"}`)
	g.wants(t, `{"c":"c100001"}`, "absent")
}

func TestLookupAllocates(t *testing.T) {
	g := rig(t, "c.csv", "country,n\nDE,1\n7,2\n", nil)
	if err := g.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	m, into := g.batch.Append(), g.batch.NewMessage()
	for _, body := range []string{`{"c":"DE"}`, `{"c":7}`} {
		m.Body.Reset(jsonview.JSON, []byte(body))
		f := g.batch.Frame(m)
		if n := testing.AllocsPerRun(100, func() {
			if err := g.Call(context.Background(), f, into); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations for a hit", body, n)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	g := rig(b, "c.csv", "country,n\nDE,1\nFR,2\n", func(_ *LookupConfig, env *penstock.Env) { env.Clock = penstock.SystemClock{} })
	if err := g.Open(context.Background()); err != nil {
		b.Fatal(err)
	}
	m, into := g.batch.Append(), g.batch.NewMessage()
	m.Body.Reset(jsonview.JSON, []byte(`{"c":"DE"}`))
	f := g.batch.Frame(m)
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Call(context.Background(), f, into); err != nil {
			b.Fatal(err)
		}
	}
}
