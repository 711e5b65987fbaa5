package http

import (
	"context"
	"io"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// text is a template as the compiler would leave it, for the little that tests need: ${body.name}, ${meta.name}, ${key}, encoded for a path.
func text(s string) penstock.Template {
	t := penstock.Template{Source: s, Pos: penstock.Pos{File: "flow.yaml", Line: 1, Col: 1}, Type: types.StringType}
	t.Program = program(func(f *penstock.Frame) penstock.Value {
		var b strings.Builder
		rest := s
		for {
			before, after, ok := strings.Cut(rest, "${")
			b.WriteString(before)
			if !ok {
				return penstock.StringValue(b.String())
			}
			name, tail, _ := strings.Cut(after, "}")
			v := read(f, name)
			if strings.HasPrefix(s, "/") {
				v = url.PathEscape(v)
			}
			b.WriteString(v)
			rest = tail
		}
	})
	return t
}

func read(f *penstock.Frame, name string) string {
	switch root, field, _ := strings.Cut(name, "."); root {
	case "key":
		return f.Msg.Key
	case "meta":
		v := f.Msg.Meta.Get(field)
		return v.Str()
	default:
		if f.Msg.Body.Parse(jsonview.Limits{}) != nil {
			return ""
		}
		n := f.Msg.Body.Field(0, field, nil)
		if f.Msg.Body.Kind(n) == jsonview.String {
			return f.Msg.Body.Str(n, nil)
		}
		return string(f.Msg.Body.Raw(n))
	}
}

type program func(f *penstock.Frame) penstock.Value

func (p program) Eval(f *penstock.Frame) penstock.Value { return p(f) }

// tree is a data tree that is always the same JSON.
func tree(json string) penstock.DataTree {
	return penstock.DataTree{Tree: penstock.Tree{Kind: penstock.TreeMap}, Mapping: mapping(func(dst []byte, _ *penstock.Frame) ([]byte, error) { return append(dst, json...), nil })}
}

type mapping func(dst []byte, f *penstock.Frame) ([]byte, error)

func (m mapping) Append(dst []byte, f *penstock.Frame) ([]byte, error) { return m(dst, f) }

// environment is what the engine would hand to a driver.
func environment(t testing.TB) penstock.Env {
	t.Helper()
	var mu sync.Mutex
	shared := map[string]any{}
	t.Cleanup(func() {
		for _, v := range shared {
			if c, ok := v.(io.Closer); ok {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return penstock.Env{Name: "flow/step", Logger: slog.New(slog.DiscardHandler), Clock: penstock.SystemClock{}, Runtime: &penstock.Runtime{Clock: penstock.SystemClock{}},
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
}

// connection is a Connection with the defaults that decoding gives.
func connection(at string) *ConnectionConfig {
	return &ConnectionConfig{URL: penstock.Template{Source: at}, HTTP2: "auto", Compression: "gzip", MaxResponse: 16 << 20}
}

// serve runs a server for a test.
func serve(t testing.TB, h nethttp.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// calling makes an open caller.
func calling(t testing.TB, conn *ConnectionConfig, c CallConfig) penstock.Caller {
	t.Helper()
	c.Connection = penstock.ConnectionRef{Name: "server", Config: conn}
	if errs := c.Validate(); len(errs) > 0 {
		t.Fatal(errs)
	}
	k, err := newCaller(penstock.NewRegistry(), c, environment(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return k
}

// message makes a batch of one message.
func message(body string) (*penstock.Batch, *penstock.Message) {
	b := &penstock.Batch{Runtime: &penstock.Runtime{Clock: penstock.SystemClock{}}}
	m := b.Append()
	m.Body.Reset(jsonview.JSON, []byte(body))
	return b, m
}

// ask calls with a message.
func ask(ctx context.Context, k penstock.Caller, body string, change ...func(m *penstock.Message)) (string, *penstock.Message, error) {
	b, m := message(body)
	for _, c := range change {
		c(m)
	}
	into := b.NewMessage()
	if err := k.Call(ctx, b.Frame(m), into); err != nil {
		return "", into, err
	}
	if err := into.Body.Parse(jsonview.Limits{}); err != nil {
		return "", into, err
	}
	return string(into.Body.AppendJSON(nil, 0)), into, nil
}
