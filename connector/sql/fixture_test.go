package sql

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/service"
	"penstock.dev/penstock/types"
)

// fixture is a database with a Connection to it.
type fixture struct {
	name   string
	config *ConnectionConfig
	env    penstock.Env
	ref    penstock.ConnectionRef
}

// connection is a Connection as it is decoded from nothing but its driver.
func connection(driver string) *ConnectionConfig {
	return &ConnectionConfig{Driver: driver, ConnectTimeout: penstock.Duration(10 * time.Second),
		Pool: Pool{Max: 10, Idle: penstock.Duration(5 * time.Minute), Lifetime: penstock.Duration(time.Hour)}}
}

func newFixture(t testing.TB, name string, c *ConnectionConfig) *fixture {
	t.Helper()
	clock := penstock.SystemClock{}
	var mu sync.Mutex
	shared := map[string]any{}
	f := &fixture{name: name, config: c, ref: penstock.ConnectionRef{Name: "test", Config: c}}
	f.env = penstock.Env{Name: "flow/step", Logger: slog.New(slog.DiscardHandler), Clock: clock, Runtime: &penstock.Runtime{Clock: clock}, Concurrency: 1, Ordered: true,
		Shared: func(key string, build func() (any, error)) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			if v, ok := shared[key]; ok {
				return v, nil
			}
			v, err := build()
			if err == nil {
				shared[key] = v
			}
			return v, err
		}}
	t.Cleanup(func() {
		for _, v := range shared {
			if err := v.(io.Closer).Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return f
}

// onPostgres makes a fixture of a connection URI.
func onPostgres(t testing.TB, uri string) *fixture {
	t.Helper()
	c := connection("postgres")
	uri, _, _ = strings.Cut(uri, "?")
	c.URL = penstock.Template{Source: uri}
	return newFixture(t, "postgres", c)
}

func onSQLite(t testing.TB) *fixture {
	t.Helper()
	c := connection("sqlite")
	c.Database, c.Create = penstock.Template{Source: filepath.Join(t.TempDir(), "test.db")}, true
	return newFixture(t, "sqlite", c)
}

// onMariaDB makes a fixture of a database at a port of this machine.
func onMariaDB(t testing.TB, port int, database string) *fixture {
	t.Helper()
	c := connection("mysql")
	c.Host, c.Port, c.Database = penstock.Template{Source: "127.0.0.1"}, port, penstock.Template{Source: database}
	return newFixture(t, "mysql", c)
}

// eachDatabase runs a test on all. Where a server is not installed, its part is skipped.
func eachDatabase(t *testing.T, run func(t *testing.T, f *fixture)) {
	t.Run("mysql", func(t *testing.T) {
		s, database := service.MariaDB(t)
		run(t, onMariaDB(t, s.Port(), database))
	})
	t.Run("sqlite", func(t *testing.T) { run(t, onSQLite(t)) })
	t.Run("postgres", func(t *testing.T) { run(t, onPostgres(t, service.Postgres(t))) })
}

func (f *fixture) db(t testing.TB) database {
	t.Helper()
	db, err := connect(f.ref, f.env)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// exec runs statements. What stands in {…|…|…} is sqlite's, postgres's and mysql's; without the last mysql takes postgres's.
func (f *fixture) exec(t testing.TB, statements ...string) {
	t.Helper()
	for _, text := range statements {
		s := newStatement(f.say(text))
		s.writes = true
		if _, err := f.db(t).run(t.Context(), s, nil, nil); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// say picks the words of one database: {sqlite|postgres|mysql}.
func (f *fixture) say(text string) string {
	for {
		from := strings.Index(text, "{")
		bar := strings.Index(text, "|")
		to := strings.Index(text, "}")
		if from < 0 || bar < from || to < bar || strings.Contains(text[from:bar], `"`) {
			return text
		}
		words := strings.Split(text[from+1:to], "|")
		word := words[0]
		switch f.name {
		case "postgres":
			word = words[1]
		case "mysql":
			word = words[len(words)-1]
		}
		text = text[:from] + word + text[to+1:]
	}
}

// rows gives the rows of a query as JSON.
func (f *fixture) rows(t testing.TB, query string) (out []string) {
	t.Helper()
	r := &rows{}
	if _, err := f.db(t).run(context.Background(), newStatement(f.say(query)), nil, r); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	for i := range r.ends {
		out = append(out, string(r.row(i)))
	}
	return out
}

// bound is the Program of a statement with ${name} for fields of the body, as the compiler makes one.
type bound struct {
	text   string
	fields []string
}

func statementOf(src string) penstock.Template {
	b := bound{}
	for rest := src; ; {
		before, after, ok := strings.Cut(rest, "${")
		b.text += before
		if !ok {
			return penstock.Template{Source: src, Program: b}
		}
		name, behind, _ := strings.Cut(after, "}")
		b.text += string(rune(parameter))
		b.fields = append(b.fields, name)
		rest = behind
	}
}

// Text implements penstock.Statement.
func (b bound) Text(*penstock.Frame) (string, error) { return b.text, nil }

// Eval implements penstock.Program.
func (b bound) Eval(f *penstock.Frame) penstock.Value {
	l := &penstock.List{Elems: []penstock.Value{penstock.StringValue(b.text)}}
	d := f.Msg.Body
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return penstock.ErrorValue(err)
	}
	for _, name := range b.fields {
		v := penstock.NodeValue(d, d.Field(0, name, nil)).Load(f.Arena)
		if v.IsAbsent() {
			v = penstock.Null
		}
		l.Elems = append(l.Elems, v)
	}
	return penstock.ListValue(l)
}

// constant is the Program of a statement with these values.
type constant struct {
	text   string
	values []penstock.Value
}

func (c constant) Text(*penstock.Frame) (string, error) { return c.text, nil }

func (c constant) Eval(*penstock.Frame) penstock.Value {
	return penstock.ListValue(&penstock.List{Elems: append([]penstock.Value{penstock.StringValue(c.text)}, c.values...)})
}

// asks makes a caller, opened.
func (f *fixture) asks(t testing.TB, c CallConfig) penstock.Caller {
	t.Helper()
	out, err := f.caller(c)
	if err == nil {
		err = out.Open(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (f *fixture) caller(c CallConfig) (penstock.Caller, error) {
	c.Connection = f.ref
	if c.Rows == "" {
		c.Rows = "one"
	}
	if c.MaxRows == 0 {
		c.MaxRows = 10000
	}
	return newCaller(c, f.env)
}

// call asks with a body and gives the reply as JSON.
func call(c penstock.Caller, body string) (string, error) {
	b := &penstock.Batch{Runtime: &penstock.Runtime{Clock: penstock.SystemClock{}}}
	m := b.Append()
	m.Body.Reset(jsonview.JSON, []byte(body))
	into := b.NewMessage()
	if err := c.Call(context.Background(), b.Frame(m), into); err != nil {
		return "", err
	}
	return string(into.Body.AppendJSON(nil, 0)), nil
}

// object makes an object type of name:type words.
func object(fields ...string) *types.Type {
	kinds := map[string]*types.Type{"int": types.IntType, "string": types.StringType, "decimal": types.DecimalType, "double": types.DoubleType, "bool": types.BoolType,
		"time": types.TimestampType, "bytes": types.BytesType, "list": types.ListOf(types.DynType), "object": {Kind: types.Object, Open: true}, "decimaltext": {Kind: types.Decimal, DecimalText: true},
		"duration": types.DurationType, "uint": types.UintType, "daymonth": {Kind: types.Timestamp, Layout: "02.01.2006"}}
	t := &types.Type{Kind: types.Object}
	for _, f := range fields {
		name, kind, _ := strings.Cut(f, ":")
		kind, required := strings.CutSuffix(kind, "!")
		t.Fields = append(t.Fields, types.Field{Name: name, Type: kinds[kind], Required: required})
	}
	return t
}

func numbers(n int) string { return strconv.Itoa(n) }
