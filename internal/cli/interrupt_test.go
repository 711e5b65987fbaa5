package cli_test

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/cli"
	"penstock.dev/penstock/internal/control"
)

// watched is a writer that tells when it has seen a text.
type watched struct {
	mu   sync.Mutex
	text strings.Builder
	want string
	seen chan struct{}
	once sync.Once
}

func watch(want string) *watched { return &watched{want: want, seen: make(chan struct{})} }

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	if strings.Contains(w.text.String(), w.want) {
		w.once.Do(func() { close(w.seen) })
	}
	return len(b), nil
}

// wait waits until the text is there.
func (w *watched) wait(want string) {
	for !strings.Contains(w.String(), want) {
		runtime.Gosched()
	}
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

const pipe = `apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: pipe }
spec:
  from: { stdin: { format: { json: {} } } }
  to: { stdout: { format: { json: {} } } }
`

// start runs a flow from stdin to stdout in this process, and gives it interrupts from a channel.
func start(t *testing.T, stdin io.Reader, stdout, stderr io.Writer, args ...string) (signals chan<- os.Signal, code <-chan int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pipe.yaml")
	if err := os.WriteFile(file, []byte(pipe), 0o644); err != nil {
		t.Fatal(err)
	}
	c := make(chan os.Signal, 2)
	ended := make(chan int, 1)
	p := &cli.Program{
		Service: &control.Service{Registry: edition.Standard()},
		Stdin:   stdin, Stdout: stdout, Stderr: stderr,
		Getenv:  func(string) string { return "" },
		Signals: func() (<-chan os.Signal, func()) { return c, func() {} },
	}
	go func() { ended <- p.Run(append([]string{"run", file, "--dead-letters", t.TempDir()}, args...)) }()
	return c, ended
}

func TestOneInterruptEndsWell(t *testing.T) {
	in, feed := io.Pipe()
	defer feed.Close()
	out, log := watch("\n"), watch("finishing what is in flight")
	signals, code := start(t, in, out, log)
	if _, err := io.WriteString(feed, "{\"a\":1}\n"); err != nil {
		t.Fatal(err)
	}
	<-out.seen
	signals <- os.Interrupt
	if got := <-code; got != cli.ExitOK {
		t.Errorf("the exit code is %d", got)
	}
	for _, want := range []string{"finishing what is in flight; again to stop at once", "stopped before the sources had ended", "every message is accounted for"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not said in:\n%s", want, log)
		}
	}
	if got := out.String(); got != "{\"a\":1}\n" {
		t.Errorf("standard output is %q", got)
	}
}

// begin waits until a message is being written, and leaves it there.
func begin(t *testing.T, r io.Reader) {
	t.Helper()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestSecondInterruptStopsAtOnce(t *testing.T) {
	stuck, stdout := io.Pipe() // nobody reads on, so that a message stays in flight for good
	log := watch("finishing what is in flight")
	signals, code := start(t, strings.NewReader("{\"a\":1}\n"), stdout, log)
	begin(t, stuck)
	signals <- os.Interrupt
	<-log.seen
	signals <- os.Interrupt
	if got := <-code; got != cli.ExitInterrupted {
		t.Errorf("the exit code is %d; standard error:\n%s", got, log)
	}
	if want := "stopped at once"; !strings.Contains(log.String(), want) {
		t.Errorf("%q is not said in:\n%s", want, log)
	}
}

func TestInterruptsInJSON(t *testing.T) {
	stuck, stdout := io.Pipe()
	log := watch(`"type":"error"`)
	signals, code := start(t, strings.NewReader("{\"a\":1}\n"), stdout, log, "-o", "json")
	begin(t, stuck)
	signals <- os.Interrupt
	signals <- os.Interrupt
	if got := <-code; got != cli.ExitInterrupted {
		t.Errorf("the exit code is %d", got)
	}
	if !strings.Contains(log.String(), `"type":"summary"`) || !strings.Contains(log.String(), `{"type":"error","code":"cancelled"`) {
		t.Errorf("standard error is:\n%s", log)
	}
}
