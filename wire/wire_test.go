package wire_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"penstock.dev/penstock/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slow is the near end of a pipe whose writes wait to be let through, and are counted.
type slow struct {
	net.Conn
	gate chan struct{}
	mu   sync.Mutex
	sent [][]byte
}

func (s *slow) Write(p []byte) (int, error) {
	<-s.gate
	s.mu.Lock()
	s.sent = append(s.sent, bytes.Clone(p))
	s.mu.Unlock()
	return len(p), nil
}

func (s *slow) writes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, p := range s.sent {
		out = append(out, string(p))
	}
	return out
}

func newSlow(t *testing.T) *slow {
	near, far := net.Pipe()
	t.Cleanup(func() { _ = far.Close() })
	return &slow{Conn: near, gate: make(chan struct{})}
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(w, text); n != len(text) || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
}

// TestGathers: what is written while something is being sent goes out together, in order, and Close sends what is left.
func TestGathers(t *testing.T) {
	s := newSlow(t)
	w := wire.New(s)
	write(t, w, "a")
	s.gate <- struct{}{} // it is being sent alone, unless more was written before it began
	for _, text := range []string{"b", "c", "d", "e"} {
		write(t, w, text)
	}
	close(s.gate)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := s.writes()
	if strings.Join(got, "") != "abcde" || len(got) > 3 { // a, perhaps b, the rest
		t.Fatalf("%q", got)
	}
	if _, err := w.Write([]byte("f")); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

// TestKeepsWhatItIsGiven: the memory of a Write is the caller's again when it returns.
func TestKeepsWhatItIsGiven(t *testing.T) {
	s := newSlow(t)
	w := wire.New(s)
	p := []byte("abc")
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	copy(p, "xyz")
	close(s.gate)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := s.writes(); len(got) != 1 || got[0] != "abc" {
		t.Fatalf("%q", got)
	}
}

// TestWaitsForRoom: who writes more than there is room for waits until something was sent, or the connection is closed.
func TestWaitsForRoom(t *testing.T) {
	for name, closes := range map[string]bool{"sent": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			s := newSlow(t)
			w := wire.New(s)
			large := strings.Repeat("x", wire.Room+1)
			failed := make(chan error, 1)
			go func() {
				for {
					if _, err := w.Write([]byte(large)); err != nil {
						failed <- err
						return
					}
				}
			}()
			if !closes {
				for range 3 {
					s.gate <- struct{}{}
				}
			}
			go close(s.gate)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-failed; !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
			for i, p := range s.writes() {
				if len(p) > 3*len(large) {
					t.Errorf("write %d has %d bytes", i, len(p))
				}
			}
		})
	}
}

// TestAFailureIsTold: what fails when it is sent fails the Writes behind it.
func TestAFailureIsTold(t *testing.T) {
	near, far := net.Pipe()
	w := wire.New(near)
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		_, err = w.Write([]byte("a"))
	}
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
	if w.Ended() != nil {
		t.Fatalf("nothing was read: %v", w.Ended())
	}
	if _, err := w.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || !errors.Is(w.Ended(), io.EOF) {
		t.Fatalf("%v, %v", err, w.Ended())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReads: what the other side writes is read, whatever the sizes of the pieces.
func TestReads(t *testing.T) {
	near, far := net.Pipe()
	w := wire.New(near)
	go func() {
		for _, text := range []string{"ab", "c", "", "defgh"} {
			_, _ = io.WriteString(far, text)
		}
		_ = far.Close()
	}()
	got, err := io.ReadAll(w)
	if string(got) != "abcdefgh" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWhatAWriteCosts holds a Write on a connection that is warm to allocating nothing.
func TestWhatAWriteCosts(t *testing.T) {
	s := newSlow(t)
	close(s.gate)
	w := wire.New(quick{s})
	p := make([]byte, 100)
	for range 1000 {
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = w.Write(p) }); n >= 1 {
		t.Errorf("%v allocations", n)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// quick forgets what is written.
type quick struct{ net.Conn }

func (quick) Write(p []byte) (int, error) { return len(p), nil }
