package control_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

// clock stands still until it is moved.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[chan time.Time]time.Time
	made   chan time.Duration // told of each timer
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC), timers: map[chan time.Time]time.Time{}, made: make(chan time.Duration, 1000)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := make(chan time.Time, 1)
	c.timers[t] = c.now.Add(d)
	c.made <- d
	return t, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.timers, t)
	}
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for t, due := range c.timers {
		if !due.After(c.now) {
			t <- c.now
			delete(c.timers, t)
		}
	}
}

// config writes a configuration into a folder of its own.
func config(t *testing.T, text string) control.Project {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "flows.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return control.Project{Paths: []string{dir}}
}

// firstWrite keeps what is written, and tells when something was.
type firstWrite struct {
	bytes.Buffer
	done chan struct{}
	once sync.Once
}

func (w *firstWrite) Write(b []byte) (int, error) {
	defer w.once.Do(func() { close(w.done) })
	return w.Buffer.Write(b)
}

const pipe = `apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: pipe }
spec:
  from: { stdin: { format: { json: {} } } }
  steps:
    - filter: body.a > 1
  to: { stdout: { format: { json: {} } } }
`

func checked(t *testing.T, s *control.Service, text string) *control.Checked {
	t.Helper()
	c := s.Check(config(t, text), false)
	if !c.OK {
		t.Fatalf("the configuration is wrong: %v", c.Findings)
	}
	return c
}

func TestProgressIsShownAsTimeGoesOn(t *testing.T) {
	clk := newClock()
	s := &control.Service{Registry: edition.Standard(), Clock: clk}
	c := checked(t, s, pipe)
	in, feed := io.Pipe()
	snapshots := make(chan *control.Summary)
	type result struct {
		sum *control.Summary
		err error
	}
	done := make(chan result)
	out := &firstWrite{done: make(chan struct{})}
	go func() {
		sum, err := s.Run(context.Background(), c, control.RunOptions{
			Stdin: in, Stdout: out, DeadLetters: t.TempDir(), Every: 7 * time.Second,
			Progress: func(s *control.Summary) { snapshots <- s },
		})
		done <- result{sum, err}
	}()
	for d := range clk.made {
		if d == 7*time.Second {
			break
		}
	}
	if _, err := io.WriteString(feed, `{"a":2}`+"\n"); err != nil {
		t.Fatal(err)
	}
	<-out.done
	clk.advance(7 * time.Second)
	if s := <-snapshots; s.Seconds > 7 || len(s.Flows) != 1 || s.Flows[0].Name != "pipe" {
		t.Errorf("the snapshot is %+v", s)
	}
	if _, err := io.WriteString(feed, `{"a":1}{"a":3}`); err != nil {
		t.Fatal(err)
	}
	_ = feed.Close()
	res := <-done
	if res.err != nil {
		t.Fatal(res.err)
	}
	f := res.sum.Flows[0]
	if f.Read != 3 || f.Filtered != 1 || f.Done != 2 || f.Total() != 2 || f.Unsettled != 0 || res.sum.Stopped {
		t.Errorf("the summary is %+v", f)
	}
	if got, want := out.String(), "{\"a\":2}\n{\"a\":3}\n"; got != want {
		t.Errorf("standard output is %q, want %q", got, want)
	}
	if len(f.Sent) != 1 || !strings.HasPrefix(f.Sent[0].Label, "stdout") {
		t.Errorf("sent is %+v", f.Sent)
	}
}

func TestStopDrains(t *testing.T) {
	s := &control.Service{Registry: edition.Standard()}
	c := checked(t, s, pipe)
	in, feed := io.Pipe()
	defer feed.Close()
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.WriteString(feed, `{"a":2}`+"\n")
		stop()
	}()
	var out bytes.Buffer
	sum, err := s.Run(ctx, c, control.RunOptions{Stdin: in, Stdout: &out, DeadLetters: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if !sum.Stopped {
		t.Error("the summary doesn't say that the run was stopped")
	}
}

func TestAbortReturnsAtOnce(t *testing.T) {
	s := &control.Service{Registry: edition.Standard()}
	c := checked(t, s, pipe)
	in, feed := io.Pipe() // nothing comes, and nothing ends
	defer feed.Close()
	abort := make(chan struct{})
	close(abort)
	sum, err := s.Run(context.Background(), c, control.RunOptions{Stdin: in, Stdout: io.Discard, DeadLetters: t.TempDir(), Abort: abort})
	if !errors.Is(err, control.ErrAborted) || sum == nil {
		t.Errorf("got %v, %v", sum, err)
	}
}

const chain = `apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: mid }
spec: { durable: false }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: first }
spec:
  from: { generate: { count: 3 } }
  to: { channel: mid }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: second }
spec:
  from: { channel: mid }
  to: { stdout: { format: { json: {} } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: apart }
spec:
  from: { generate: { count: 1 } }
  to: { drop: {} }
`

func TestSelectedFlowsTakeThoseTheyFeed(t *testing.T) {
	s := &control.Service{Registry: edition.Standard()}
	c := checked(t, s, chain)
	for _, tc := range []struct {
		names, want []string
		stdout      bool
	}{
		{nil, []string{"apart", "first", "second"}, true},
		{[]string{"first"}, []string{"first", "second"}, true},
		{[]string{"apart"}, []string{"apart"}, false},
		{[]string{"apart", "first"}, []string{"apart", "first", "second"}, true},
	} {
		if got := c.WritesStdout(tc.names); got != tc.stdout {
			t.Errorf("flows %v write to standard output: %v", tc.names, got)
		}
		sum, err := s.Run(context.Background(), c, control.RunOptions{Flows: tc.names, Stdin: strings.NewReader(""), Stdout: io.Discard, DeadLetters: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range sum.Flows {
			got = append(got, f.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("of %v, %v ran; want %v", tc.names, got, tc.want)
		}
	}
	_, err := s.Run(context.Background(), c, control.RunOptions{Flows: []string{"second"}})
	var e *penstock.Error
	if !errors.As(err, &e) || e.Code != penstock.Config || e.Hint != "add --flow first" {
		t.Errorf("a flow that nothing feeds gives %v", err)
	}
	_, err = s.Run(context.Background(), c, control.RunOptions{Flows: []string{"frist"}})
	if !errors.As(err, &e) || e.Code != penstock.Config || e.Hint != "did you mean first?" {
		t.Errorf("an unknown flow gives %v", err)
	}
}
