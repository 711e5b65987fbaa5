package cli_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/cli"
	"penstock.dev/penstock/internal/control"
)

// notes keeps what a run says, and tells when it says where it listens.
type notes struct {
	mu  sync.Mutex
	b   bytes.Buffer
	url chan string
}

var listening = regexp.MustCompile(`listening on (https?://[^"\s]+)`)

// Write implements io.Writer.
func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.b.Write(p)
	if m := listening.FindSubmatch(n.b.Bytes()); m != nil && n.url != nil {
		n.url <- string(m[1])
		n.url = nil
	}
	return len(p), nil
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

// service is a run that answers requests.
type service struct {
	t    *testing.T
	url  string
	said *notes
	stop func() int // interrupts it, and gives the exit code
}

// served runs the configuration in flow.yaml until it is stopped.
func served(t *testing.T, args ...string) *service {
	t.Helper()
	url := make(chan string, 1)
	s := &service{t: t, said: &notes{url: url}}
	signals := make(chan os.Signal, 1)
	p := &cli.Program{
		Service: &control.Service{Registry: edition.Standard()}, Stdin: strings.NewReader(""), Stdout: s.said, Stderr: s.said,
		Getenv:  func(string) string { return "" },
		Signals: func() (<-chan os.Signal, func()) { return signals, func() {} },
	}
	code := make(chan int, 1)
	go func() {
		c := p.Run(append([]string{"run", "flow.yaml", "--listen", "127.0.0.1:0"}, args...))
		close(url)
		code <- c
	}()
	s.stop = sync.OnceValue(func() int {
		signals <- os.Interrupt
		return <-code
	})
	if s.url = <-url; s.url == "" {
		t.Fatalf("it does not listen: %s", s.said)
	}
	t.Cleanup(func() { s.stop() })
	return s
}

// post sends JSON and gives status and body.
func (s *service) post(path, body string, headers ...string) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.Status[:3] + " " + strings.TrimSpace(string(b))
}

const hello = `apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: hello }
spec:
  from: { http: { post: /hello } }
  steps: [ { map: { greeting: "Hello, ${body.name}" } } ]
`

// TestSend gives messages to a flow that is called, without its listener.
func TestSend(t *testing.T) {
	here(t, strings.Replace(hello, "steps: [", "steps: [ { filter: body.name != \"nobody\" },", 1))
	s := served(t)
	answers(t)
	for data, want := range map[string]string{
		`{"name":"Ann"}`:    "{\"greeting\":\"Hello, Ann\"}\n",
		`{"name":"nobody"}`: "hello has taken it, and answered nothing\n",
	} {
		if got := command(t, 0, "send", "hello", "--data", data); got != want {
			t.Errorf("send %s says %q, want %q", data, got, want)
		}
	}
	if code := s.stop(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

// answers waits until commands can ask the process, which is a moment after it listens.
func answers(t *testing.T) {
	t.Helper()
	for {
		var out bytes.Buffer
		if program(strings.NewReader(""), &out, &out).Run([]string{"ps"}) == 0 && strings.Contains(out.String(), "running") {
			return
		}
	}
}

// TestHello is the hello world of the language: six lines, one command, JSON in and out.
func TestHello(t *testing.T) {
	here(t, hello)
	s := served(t)
	if got := s.post("/hello", `{"name":"Ann"}`); got != `200 {"greeting":"Hello, Ann"}` {
		t.Error(got)
	}
	if got := s.post("/hello", `{"nam":"Ann"}`); !strings.HasPrefix(got, "422 ") || !strings.Contains(got, `"detail":"no such key: name"`) {
		t.Error(got)
	}
	if got := s.post("/bye", `{}`); !strings.HasPrefix(got, "404 ") {
		t.Error(got)
	}
	if code := s.stop(); code != 0 || !strings.Contains(s.said.String(), "hello     2     1") {
		t.Errorf("exit code %d: %s", code, s.said)
	}
}

func TestListen(t *testing.T) {
	here(t, hello)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if out := command(t, 1, "run", "flow.yaml", "--listen", taken.Addr().String()); !strings.Contains(out, "the address is in use") || !strings.Contains(out, taken.Addr().String()) || !strings.Contains(out, "end the program that has it, or choose another with --listen host:port") {
		t.Error(out)
	}
	if out := command(t, 2, "run", "flow.yaml", "--listen", "8080"); !strings.Contains(out, "write it as --listen 127.0.0.1:8080") {
		t.Error(out)
	}
}

// TestIdempotencyKeysOutliveTheProcess holds that a request that is sent again to the next process is not done again.
func TestIdempotencyKeysOutliveTheProcess(t *testing.T) {
	here(t, `apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: charge }
spec:
  from: { http: { post: /charges, idempotency: {}, reply: { status: 201, header: { location: "/charges/${body.id}" } } } }
  steps: [ { map: { id: "${uuid()}" } } ]
`)
	s := served(t)
	first := s.post("/charges", `{"amount":1}`, "Idempotency-Key: a")
	other := s.post("/charges", `{"amount":1}`, "Idempotency-Key: b")
	s.stop()
	s = served(t)
	if again := s.post("/charges", `{"amount":1}`, "Idempotency-Key: a"); again != first || first == other || !strings.HasPrefix(first, "201 ") {
		t.Errorf("%s, and in the next process %s; another key: %s", first, again, other)
	}
	if changed := s.post("/charges", `{"amount":2}`, "Idempotency-Key: a"); !strings.HasPrefix(changed, "422 ") {
		t.Error(changed)
	}
}
