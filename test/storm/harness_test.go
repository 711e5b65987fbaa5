// Package storm_test lets much happen to a whole service at once, and looks at what is left: no message lost or repeated, no goroutine, and no
// more memory than before.
package storm_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a run in this process.
type service struct {
	t       *testing.T
	web     string // URL of its flows
	control string // URL of its control port; "": it has none
	client  *http.Client
	hangup  chan os.Signal
	told    chan *control.Reloaded
	stop    func()
}

// log waits for marks in what is logged, and keeps nothing else.
type log struct {
	mu    sync.Mutex
	found map[string]chan string // by mark: the word behind it
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for mark, c := range l.found {
		if _, rest, ok := bytes.Cut(p, []byte(mark)); ok {
			word, _, _ := strings.Cut(strings.TrimSpace(string(rest)), " ")
			c <- strings.Trim(word, `"`)
			delete(l.found, mark)
		}
	}
	return len(p), nil
}

// start runs a configuration, in a folder of its own, until stop or the end of the test.
func start(t *testing.T, yaml string) *service {
	t.Helper()
	t.Chdir(t.TempDir())
	s := &service{t: t, hangup: make(chan os.Signal), told: make(chan *control.Reloaded), client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	s.write(yaml)
	c := &control.Service{Registry: edition.Standard(), Secrets: func(string) (string, bool) { return "the-right-token", true }}
	project := control.Project{Paths: []string{"flows.yaml"}}
	checked := c.Check(project, false)
	if !checked.OK {
		t.Fatalf("%v", checked.Findings)
	}
	web, port := make(chan string, 1), make(chan string, 1)
	l := &log{found: map[string]chan string{"listening on ": web, "metrics and health on ": port}}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		o := control.RunOptions{
			Project: project, Hangup: s.hangup, Reloaded: func(r *control.Reloaded) { s.told <- r }, Logger: slog.New(slog.NewTextHandler(l, nil)),
			Stdin: strings.NewReader(""), Stdout: io.Discard, Address: "127.0.0.1:0", Getenv: func(string) string { return "" }, Drain: time.Minute,
		}
		if _, err := c.Run(ctx, checked, o); err != nil {
			t.Errorf("the run: %v", err)
		}
	}()
	s.stop = func() {
		cancel()
		<-over
		s.client.CloseIdleConnections()
	}
	t.Cleanup(s.stop)
	wait := func(c chan string) string {
		select {
		case word := <-c:
			return word
		case <-over:
			t.Fatal("the run is over")
			return ""
		}
	}
	s.web = wait(web)
	if strings.Contains(yaml, "control:") {
		if s.control = wait(port); !strings.Contains(s.control, "://") {
			s.control = "http://" + s.control
		}
	}
	return s
}

// write is what the configuration says from the next reload on.
func (s *service) write(yaml string) {
	s.t.Helper()
	if err := os.WriteFile("flows.yaml", []byte(yaml), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// ask makes a request; an error is told as a status of 0.
func (s *service) ask(method, url, body string, header ...string) (status int, answer string) {
	q, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client.Do(q)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(got)
}

// resident is how much memory the process has, once what nobody uses was given back.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("this system does not say how much memory a process has")
	}
	var total, pages int64
	if _, err := fmt.Sscan(string(b), &total, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// most is how much more memory there may be after a storm.
const most = 96 << 20
