// Package observe_test looks at a whole run from outside: spans as a collector gets them, metrics as Prometheus scrapes them.
package observe_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a run that a test looks at.
type running struct {
	t       *testing.T
	control string // address
	web     string // URL
	log     *lockedBuffer
	stop    func() *control.Summary
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// after is the word behind a mark in the log, once it is there.
func (l *lockedBuffer) after(t *testing.T, mark string, over <-chan struct{}) string {
	t.Helper()
	for {
		if _, rest, ok := strings.Cut(l.String(), mark); ok {
			word, _, _ := strings.Cut(rest, "\n")
			word, _, _ = strings.Cut(word, " ")
			return strings.Trim(word, `"`)
		}
		select {
		case <-over:
			t.Fatalf("the run is over, and did not say %q:\n%s", mark, l.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// start runs a configuration in a folder of its own until stop, or until it ends by itself.
func start(t *testing.T, yaml string, files map[string]string, change func(*control.RunOptions)) *running {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	files["flows.yaml"] = yaml
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &control.Service{Registry: edition.Standard()}
	c := s.Check(control.Project{Paths: []string{"flows.yaml"}}, false)
	if !c.OK {
		t.Fatalf("%v", c.Findings)
	}
	r := &running{t: t, log: &lockedBuffer{}}
	o := control.RunOptions{
		Logger: slog.New(slog.NewTextHandler(r.log, nil)), Stdin: strings.NewReader(""), Stdout: io.Discard, Control: "127.0.0.1:0", Address: "127.0.0.1:0", Drain: 30 * time.Second,
		Getenv: func(string) string { return "" }, Version: control.Version{Version: "v0-test", Go: "go"},
	}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	var sum *control.Summary
	go func() {
		defer close(over)
		var err error
		if sum, err = s.Run(ctx, c, o); err != nil {
			t.Errorf("the run: %v", err)
		}
	}()
	r.stop = func() *control.Summary {
		cancel()
		<-over
		return sum
	}
	t.Cleanup(func() { r.stop() })
	r.control = strings.TrimPrefix(r.log.after(t, "metrics and health on ", over), "http://")
	if strings.Contains(yaml, "from: { http:") {
		r.web = r.log.after(t, "listening on ", over)
	}
	return r
}

// get asks the control port.
func (r *running) get(path string, header ...string) (int, string) {
	r.t.Helper()
	return r.ask(http.MethodGet, "http://"+r.control+path, "", header...)
}

// post calls a flow.
func (r *running) post(path, body string, header ...string) (int, string) {
	r.t.Helper()
	return r.ask(http.MethodPost, r.web+path, body, append(header, "Content-Type", "application/json")...)
}

func (r *running) ask(method, url, body string, header ...string) (int, string) {
	r.t.Helper()
	q, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Close = true
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(got)
}

// until asks for a path of the control port until the answer holds some text.
func (r *running) until(path, text string) string {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		_, got := r.get(path)
		if strings.Contains(got, text) {
			return got
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s does not say %q:\n%s\n%s", path, text, got, r.log.String())
		}
		<-time.After(10 * time.Millisecond) // another process looks: it gives no sign
	}
}

// freeAddress is an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// expand puts values in place of ${name}.
func expand(text string, kv ...string) string {
	for i := 0; i < len(kv); i += 2 {
		text = strings.ReplaceAll(text, "${"+kv[i]+"}", kv[i+1])
	}
	return text
}

// answering is a server that answers each request after f.
func answering(t *testing.T, f func()) (url string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		f()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(s.Close)
	return s.URL
}
