package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func (f *fixture) caller(t testing.TB, c CallConfig) penstock.Caller {
	t.Helper()
	c.Connection = f.ref
	if c.Format.IsZero() {
		c.Format = drive.JSON(t)
	}
	if c.BodyFormat.IsZero() {
		c.BodyFormat = drive.JSON(t)
	}
	if c.ReplyTimeout == 0 {
		c.ReplyTimeout = penstock.Duration(10 * time.Second)
	}
	if errs := c.Validate(); errs != nil {
		t.Fatal(errs)
	}
	out, err := newCaller(c, f.env)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (f *fixture) bucket(t testing.TB) jetstream.KeyValue {
	t.Helper()
	kv, err := f.js.CreateKeyValue(context.Background(), jetstream.KeyValueConfig{Bucket: name(), Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// call asks with a body and gives the reply.
func call(c penstock.Caller, body string) (string, error) {
	b := conform.Batch(body)
	b.Runtime = &penstock.Runtime{Clock: penstock.SystemClock{}}
	into := b.NewMessage()
	if err := c.Call(context.Background(), b.Frame(b.Msgs[0]), into); err != nil {
		return "", err
	}
	if err := into.Body.Parse(jsonview.Limits{}); err != nil {
		return "", err
	}
	return string(into.Body.AppendJSON(nil, 0)), nil
}

func TestCallerConforms(t *testing.T) {
	t.Run("request", func(t *testing.T) {
		f := on(t, service.NATS(t))
		subject := name()
		_, err := f.nc.Subscribe(subject, func(m *nats.Msg) {
			d := conform.Doc(string(m.Data))
			_ = d.Parse(jsonview.Limits{})
			switch q := d.Field(0, "q", nil); {
			case d.Kind(q) == jsonview.String:
				_ = m.RespondMsg(&nats.Msg{Header: nats.Header{errorCode: {"409"}, errorText: {"no texts"}}})
			default:
				_ = m.Respond([]byte(fmt.Sprintf(`{"double":%d}`, 2*int(mustInt(d, q)))))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		conform.Caller(t, conform.CallerHarness{
			New:     func(t testing.TB) penstock.Caller { return f.caller(t, CallConfig{Request: drive.Template(subject)}) },
			Replies: map[string]string{"1": `{"double":2}`, "21": `{"double":42}`},
			Fails:   `"x"`,
		})
	})
	t.Run("bucket", func(t *testing.T) {
		f := on(t, service.NATS(t))
		kv := f.bucket(t)
		for k, v := range map[string]string{"1": `{"a":1}`, "k.2": `[1.50]`, "gone": "1"} {
			if _, err := kv.Put(t.Context(), k, []byte(v)); err != nil {
				t.Fatal(err)
			}
		}
		if err := kv.Delete(t.Context(), "gone"); err != nil {
			t.Fatal(err)
		}
		conform.Caller(t, conform.CallerHarness{
			New: func(t testing.TB) penstock.Caller {
				return f.caller(t, CallConfig{Bucket: kv.Bucket(), Get: drive.Template("${body.q}")})
			},
			Replies: map[string]string{"1": `{"a":1}`, `"k.2"`: `[1.50]`},
			Misses:  []string{"3", `"gone"`},
			Fails:   `"no key"`,
		})
	})
}

func mustInt(d *jsonview.Doc, n jsonview.Node) int64 {
	i, ok := d.Int(n)
	if !ok {
		panic("no int")
	}
	return i
}

func TestBucketIsChanged(t *testing.T) {
	f := on(t, service.NATS(t))
	kv := f.bucket(t)
	c := func(c CallConfig) penstock.Caller {
		c.Bucket = kv.Bucket()
		return drive.Opened(t, f.caller(t, c))
	}
	put, create, del := c(CallConfig{Put: drive.Template("${body.k}")}), c(CallConfig{Create: drive.Template("${body.k}")}), c(CallConfig{Delete: drive.Template("${body.k}")})
	update := c(CallConfig{Update: drive.Template("${body.k}"), Revision: drive.Template("${body.r}")})
	get := c(CallConfig{Get: drive.Template("${body.k}"), Entry: true})
	drop := c(CallConfig{Delete: drive.Template("${body.k}"), Revision: drive.Template("${body.r}")})
	for i, s := range []struct {
		c          penstock.Caller
		body, want string
		code       penstock.Code
	}{
		{put, `{"k":"a","v":1}`, `{"revision":1}`, ""},
		{create, `{"k":"a","v":2}`, "", penstock.Conflict},
		{create, `{"k":"b","v":3}`, `{"revision":2}`, ""},
		{update, `{"k":"a","r":1,"v":4}`, `{"revision":3}`, ""},
		{update, `{"k":"a","r":1,"v":5}`, "", penstock.Conflict},
		{update, `{"k":"a","r":"3","v":6}`, `{"revision":4}`, ""},
		{update, `{"k":"a","r":0,"v":6}`, "", penstock.Unprocessable},
		{drop, `{"k":"a","r":3}`, "", penstock.Conflict},
		{del, `{"k":"a"}`, `null`, ""},
		{get, `{"k":"a"}`, `null`, ""},
		{create, `{"k":"a","v":7}`, `{"revision":6}`, ""},
		{put, `{"k":"a b"}`, "", penstock.Unprocessable},
		{put, `{"k":""}`, "", penstock.Unprocessable},
	} {
		got, err := call(s.c, s.body)
		if got != s.want || penstock.CodeOf(err) != s.code {
			t.Errorf("%d: %s: %s, %v; want %s, %s", i, s.body, got, err, s.want, s.code)
		}
	}
	got, err := call(get, `{"k":"b"}`)
	if err != nil || !strings.HasPrefix(got, `{"key":"b","value":{"k":"b","v":3},"revision":2,"created":"20`) {
		t.Errorf("%s, %v", got, err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	f := on(t, service.NATS(t))
	subject := name()
	c := drive.Opened(t, f.caller(t, CallConfig{Request: drive.Template(subject), ReplyTimeout: penstock.Duration(50 * time.Millisecond)}))
	_, err := call(c, "1")
	drive.Code(t, err, penstock.Unavailable, "nobody listens")
	if !penstock.IsUnsent(err) {
		t.Error("nothing was sent, and nobody says so")
	}
	if _, err := f.nc.Subscribe(subject, func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := f.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	_, err = call(c, "1")
	drive.Code(t, err, penstock.Timeout)
	if penstock.IsUnsent(err) {
		t.Error("it may have been done")
	}
}

func TestServerConforms(t *testing.T) {
	f := on(t, service.NATS(t))
	var subject string
	conform.Server(t, conform.ServerHarness{
		New: func(t testing.TB) penstock.Server {
			subject = name()
			return f.server(t, subject)
		},
		Send: func(ctx context.Context, t testing.TB, body string) (string, error) {
			for {
				m, err := f.nc.RequestWithContext(ctx, subject, []byte(body))
				if errors.Is(err, nats.ErrNoResponders) && !ended(ctx, f, subject) {
					continue // it is about to serve
				}
				if err != nil {
					return "", &penstock.Error{Code: penstock.Unavailable, Err: err}
				}
				if err := replyError(m, subject); err != nil {
					return "", err
				}
				return string(m.Data), nil
			}
		},
	})
}

// served are subjects that were served once: nobody answers there since it is over.
var served sync.Map

func ended(_ context.Context, _ *fixture, subject string) bool {
	if over, ok := served.Load(subject); ok {
		return over.(*atomic.Bool).Load()
	}
	return false
}

// serving notes when a server has ended.
type serving struct {
	penstock.Server
	over atomic.Bool
}

func (s *serving) Serve(ctx context.Context, h penstock.Handler) error {
	defer s.over.Store(true)
	return s.Server.Serve(ctx, h)
}

func (f *fixture) server(t testing.TB, subject string) penstock.Server {
	t.Helper()
	f.env.RequestSlot = -1
	c := ServerConfig{Connection: f.ref, Subject: penstock.Template{Source: subject}, Format: drive.JSON(t), MaxRequests: 64, Timeout: penstock.Duration(30 * time.Second), Reply: &Reply{Format: drive.JSON(t)}}
	if errs := c.Validate(); errs != nil {
		t.Fatal(errs)
	}
	s, err := newServer(c, f.env)
	if err != nil {
		t.Fatal(err)
	}
	out := &serving{Server: s}
	served.Store(subject, &out.over)
	return out
}

// TestCallsMeetServer: what a flow fails with is what the flow that asked it fails with.
func TestCallsMeetServer(t *testing.T) {
	f := on(t, service.NATS(t))
	subject := name()
	f.env.RequestSlot = -1
	s, err := newServer(ServerConfig{Connection: f.ref, Subject: penstock.Template{Source: subject + ".*"}, Format: drive.JSON(t), MaxRequests: 4, Timeout: penstock.Duration(30 * time.Second),
		Reply: &Reply{Format: drive.JSON(t), Headers: map[string]penstock.Template{"X-Kind": {Source: "price"}}}}, f.env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Serve(ctx, handler(func(m *penstock.Message) error {
			if c := m.Body.Field(0, "fail", nil); c != jsonview.None {
				return &penstock.Error{Code: penstock.Code(m.Body.Str(c, nil)), Op: "fail", Err: errors.New("as was asked")}
			}
			m.Meta.Get("nats-subject")
			return nil
		}))
	}()
	c := drive.Opened(t, f.caller(t, CallConfig{Request: drive.Template(subject + ".${body.to}")}))
	drive.Until(t, "it serves", func() bool { _, err := call(c, `{"to":"a"}`); return err == nil })
	for _, k := range penstock.Codes() {
		_, err := call(c, `{"to":"a","fail":"`+string(k)+`"}`)
		want := k
		switch k {
		case penstock.Cancelled:
			want = penstock.Cancelled
		case penstock.Config:
			want = penstock.Internal
		}
		drive.Code(t, err, want, "as was asked")
	}
	for _, to := range []string{`"a.b"`, `"*"`, `"a b"`, `""`, `">"`} {
		_, err := call(c, `{"to":`+to+`}`)
		drive.Code(t, err, penstock.Unprocessable)
	}
	m, err := f.nc.Request(subject+".a", []byte("{"), 10*time.Second)
	if err != nil || m.Header.Get(errorCode) != "400" || !strings.HasPrefix(string(m.Data), `{"code":"invalid"`) {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err = f.nc.Request(subject+".a", []byte("{}"), 10*time.Second); err != nil || m.Header.Get("X-Kind") != "price" || string(m.Data) != "{}" {
		t.Errorf("%+v, %v", m, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type handler func(m *penstock.Message) error

func (h handler) Handle(_ context.Context, b *penstock.Batch) error {
	for i, m := range b.Msgs {
		if err := h(m); err != nil {
			b.Fail(i, err)
		}
	}
	return nil
}
