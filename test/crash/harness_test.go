// Package crash_test kills the program at any moment, starts it again, and holds what is there in the end, and on the way, to what it promises:
// nothing that was acknowledged is lost, what is in the store is there once, in order, and only files outside of it may hold something twice.
//
// An ordinary run kills about 40 times; PENSTOCK_CRASHES=200 kills each of the tests so many times, PENSTOCK_CRASH_SEED=7 begins with
// another seed (what is killed, and when, goes by the seed; what that hits goes by the machine).
package crash_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/sqlite"
	"penstock.dev/penstock/test/service"
)

// limit is how long anything may take that has to end by itself.
const limit = 2 * time.Minute

func TestMain(m *testing.M) {
	if path := os.Getenv(publisherEnv); path != "" {
		if err := publish(path, os.NewFile(3, "acknowledgements")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if url := os.Getenv(workerEnv); url != "" {
		if err := labour(url, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if built.folder != "" {
		_ = os.RemoveAll(built.folder)
	}
	os.Exit(code)
}

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q is no number", name, text)
	}
	return n
}

// built is the program, built once.
var built struct {
	once   sync.Once
	folder string
	path   string
	err    error
}

func program(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.folder, built.err = os.MkdirTemp("", "crash"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.folder, "penstock")
		args := []string{"build", "-o", built.path}
		if mutation.Enabled { // with deliberate bugs, which these tests are to catch
			args = append(args, "-tags", "penstock_mutate")
		}
		if out, err := exec.Command("go", append(args, "../../cmd/penstock")...).CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// process is one life of the program.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	said output
	over chan struct{} // closed when it has ended
	err  error         // of Wait
	told bool          // to stop: before it listens to signals that ends it at once
}

// output is what a process says; it may be read while the process goes on.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// ports gives addresses of this machine, of ports in a row that nobody else uses.
func ports(t *testing.T, n int) (row []string) {
	t.Helper()
	for _, port := range service.FreePorts(t, n) {
		row = append(row, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	return row
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, over: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.said, &p.said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.over)
	}()
	t.Cleanup(func() { // where the test has failed
		_ = cmd.Process.Kill()
		<-p.over
	})
	return p
}

// lives waits until the moment to kill has come; false if the process ended before. It must not end but well.
func (p *process) lives(until time.Duration) bool {
	p.t.Helper()
	timer := time.NewTimer(until)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.over:
		p.ended()
		return false
	}
}

// stop asks the process to finish what is in flight and to end.
func (p *process) stop() {
	p.told = true
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may just have ended
}

// kill ends the process as a power cut would end it, but for what it had given to the operating system.
func (p *process) kill() {
	p.t.Helper()
	_ = p.cmd.Process.Kill() // it may just have ended
	<-p.over
	if p.signal() != syscall.SIGKILL {
		p.ended()
	}
}

// killOr is kill for one whose other side may have been away when it began, which ends it with these words.
func (p *process) killOr(words string) {
	p.t.Helper()
	_ = p.cmd.Process.Kill()
	<-p.over
	if p.signal() != syscall.SIGKILL && !strings.Contains(p.said.String(), words) {
		p.ended()
	}
}

// signal is what ended the process; -1 where it ended by itself.
func (p *process) signal() syscall.Signal {
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return s.Signal()
		}
	}
	return -1
}

// ended holds a process that ended by itself to have ended well.
func (p *process) ended() {
	p.t.Helper()
	if p.err != nil && (!p.told || p.signal() != syscall.SIGTERM) {
		p.t.Fatalf("%v ended with %v:\n%s", p.cmd.Args, p.err, p.said.String())
	}
}

// wait waits until the process ends by itself, well.
func (p *process) wait() {
	p.t.Helper()
	if p.lives(limit) {
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // says what it is doing
		<-p.over
		p.t.Fatalf("%v does not end:\n%s", p.cmd.Args, p.said.String())
	}
}

// inspect looks into the store of a process that is over.
func inspect(t *testing.T, path string, look func(v reader)) {
	t.Helper()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatalf("the store does not open after a kill: %v", err)
	}
	look(reader{t, db})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// reader reads a store.
type reader struct {
	t  *testing.T
	db store.Store
}

// messages reads all of a channel that is there. Positions have no gaps, and begin at 0 where nothing is dropped.
func (r reader) messages(channel string) (all [][]byte) {
	r.t.Helper()
	for next := int64(0); ; {
		var segments []store.Segment
		err := r.db.View(r.t.Context(), func(v store.View) (err error) {
			segments, err = v.Log().Segments(channel, next, 1<<20)
			return err
		})
		if err != nil {
			r.t.Fatal(err)
		}
		if len(segments) == 0 {
			return all
		}
		for _, s := range segments {
			if s.Base != next {
				r.t.Fatalf("channel %s: a segment begins at %d, the one before ends at %d", channel, s.Base, next)
			}
			n := 0
			for data := s.Data; len(data) > 0; n++ {
				var m []byte
				if m, data, err = store.NextFrame(data); err != nil {
					r.t.Fatal(err)
				}
				all = append(all, m)
			}
			if n != s.N {
				r.t.Fatalf("channel %s: the segment at %d says that it holds %d messages, and has %d", channel, s.Base, s.N, n)
			}
			next = s.End()
		}
	}
}

// bodies reads the bodies of a channel's messages.
func (r reader) bodies(channel string) (all [][]byte) {
	r.t.Helper()
	for i, m := range r.messages(channel) {
		v, err := record.Parse(m)
		if err != nil {
			r.t.Fatalf("%s@%d: %v", channel, i, err)
		}
		all = append(all, v.AppendBody(nil))
	}
	return all
}

// entry reads an entry; nil if it is not there.
func (r reader) entry(space, key string) (value []byte) {
	r.t.Helper()
	err := r.db.View(r.t.Context(), func(v store.View) error {
		e, _, err := v.State().Get(space, []byte(key))
		value = e.Value
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return value
}
