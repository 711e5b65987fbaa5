package control_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

// live is a run whose configuration changes.
type changing struct {
	t      *testing.T
	dir    string
	hangup chan os.Signal
	told   chan *control.Reloaded
	stdin  *io.PipeWriter
	stop   context.CancelFunc
	over   chan error
}

func begin(t *testing.T, text string, more func(*control.RunOptions)) *changing {
	t.Helper()
	p := config(t, text)
	r, w := io.Pipe()
	c := &changing{t: t, dir: p.Paths[0], hangup: make(chan os.Signal), told: make(chan *control.Reloaded), stdin: w, over: make(chan error, 1)}
	t.Chdir(c.dir)
	s := &control.Service{Registry: edition.Standard()}
	checked := s.Check(p, false)
	if !checked.OK {
		t.Fatalf("%v", checked.Findings)
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	o := control.RunOptions{Project: p, Hangup: c.hangup, Reloaded: func(r *control.Reloaded) { c.told <- r }, Stdin: r, Stdout: io.Discard, DeadLetters: t.TempDir()}
	if more != nil {
		more(&o)
	}
	go func() {
		_, err := s.Run(ctx, checked, o)
		c.over <- err
	}()
	return c
}

// becomes reloads with another text.
func (c *changing) becomes(text string) *control.Reloaded {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, "flows.yaml"), []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
	select {
	case c.hangup <- os.Interrupt:
		return <-c.told
	case err := <-c.over:
		c.t.Fatal("the run has ended: ", err)
		return nil
	}
}

func (c *changing) feed(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.stdin, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *changing) ends() {
	c.t.Helper()
	if err := c.stdin.Close(); err != nil {
		c.t.Fatal(err)
	}
	if err := <-c.over; err != nil {
		c.t.Fatal(err)
	}
}

const copying = `apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: copy }
spec:
  from: { stdin: { format: { json: {} } } }
  steps: [ { map: { a: "${body.a}" } }, { to: { stdout: { format: { json: {} } } } } ]
  to: { file: { path: out.jsonl, format: { json: {} } } }
`

// TestFilesGoOn changes what is written to a file while it is being written. What is fed is waited for where it comes out: the flow may have read it and not
// have mapped it yet, and the next one would.
func TestFilesGoOn(t *testing.T) {
	shown, stdout := io.Pipe()
	lines := bufio.NewScanner(shown)
	c := begin(t, copying, func(o *control.RunOptions) { o.Stdout = stdout })
	pass := func(records ...string) {
		t.Helper()
		for _, r := range records {
			c.feed(r + "\n")
			if !lines.Scan() {
				t.Fatal("nothing comes out: ", lines.Err())
			}
		}
	}
	pass(`{"a":1}`, `{"a":2}`)
	r := c.becomes(strings.Replace(copying, "a: \"${body.a}\" }", "a: \"${body.a}\", more: true }", 1))
	if !r.OK || len(r.Changed) != 1 || r.Changed[0].What[0] != "step map1: more true added" {
		t.Fatalf("%+v %+v", r, r.Error)
	}
	pass(`{"a":3}`)
	// Its own folder is gone, so that it can't be opened: the old one goes on with its file.
	if err := os.WriteFile("blocked", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r = c.becomes(strings.Replace(copying, "path: out.jsonl", "path: blocked/out.jsonl", 1))
	if r.OK || r.Error == nil || !strings.Contains(r.Error.Message, "blocked") {
		t.Fatalf("%+v", r)
	}
	pass(`{"a":4}`)
	if r = c.becomes(strings.Replace(copying, "path: out.jsonl", "path: other.jsonl", 1)); !r.OK {
		t.Fatalf("%+v", r.Error)
	}
	pass(`{"a":5}`)
	c.ends()
	for name, want := range map[string]string{"out.jsonl": "{\"a\":1}\n{\"a\":2}\n{\"a\":3,\"more\":true}\n{\"a\":4,\"more\":true}\n", "other.jsonl": "{\"a\":5}\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func greeting(name, path, text string) string {
	return fmt.Sprintf(`---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: %s }
spec:
  from: { http: { get: %q } }
  steps: [ { map: { text: %q } } ]
`, name, path, text)
}

// TestRequestsUnderReload asks all the time while flows change, are renamed, and move to other paths.
func TestRequestsUnderReload(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	other := greeting("other", "/other", "untouched")
	c := begin(t, greeting("hello", "/hello/{name}", "begun")+other, func(o *control.RunOptions) { o.Address = address })
	ask := func(path string) (int, string) {
		res, err := http.Get("http://" + address + path)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			return 0, err.Error()
		}
		return res.StatusCode, string(text)
	}
	for { // it may not listen yet
		if code, _ := ask("/other"); code == 200 {
			break
		}
	}
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for _, path := range []string{"/hello/ada", "/other"} {
		asking.Go(func() {
			for {
				if code, text := ask(path); code != 200 {
					t.Errorf("%s: %d %s", path, code, text)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range 30 {
		name, path := "hello", "/hello/{name}"
		if i%3 == 1 { // the same route, under another name
			name = "renamed"
		}
		if i%3 == 2 { // another pattern for the same requests
			path = "/hello/{who}"
		}
		r := c.becomes(greeting(name, path, fmt.Sprint(i)) + other)
		if !r.OK || len(r.Unchanged) != 1 {
			t.Errorf("%d: %+v %+v", i, r, r.Error)
		}
		if code, text := ask("/hello/ada"); code != 200 || text != fmt.Sprintf(`{"text":"%d"}`, i) {
			t.Errorf("%d: %d %s", i, code, text)
		}
	}
	close(stop)
	asking.Wait()
	if r := c.becomes(greeting("hello", "/other", "x") + other); r.OK || r.Errors == 0 {
		t.Errorf("two flows on one route: %+v", r)
	}
	if r := c.becomes(other); !r.OK || len(r.Removed) != 1 {
		t.Errorf("%+v", r)
	}
	// A flow that is gone answers what comes until it has ended, which the reload does not wait for.
	for {
		if code, text := ask("/hello/ada"); code == 404 {
			break
		} else if code != 200 {
			t.Fatalf("a flow that is gone answers %d %s", code, text)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	c.stop()
	if err := <-c.over; err != nil {
		t.Error(err)
	}
}
