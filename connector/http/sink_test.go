package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
)

// inbox is a server that keeps what it is sent.
type inbox struct {
	mu     sync.Mutex
	bodies []string
	broken bool
}

func (i *inbox) serve(w nethttp.ResponseWriter, r *nethttp.Request) {
	body, err := io.ReadAll(r.Body)
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case err != nil || i.broken:
		w.WriteHeader(nethttp.StatusServiceUnavailable)
	case strings.Contains(string(body), "refuse"):
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(nethttp.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"title":"No","detail":"not \u001b[31mthis\n one"}`)
	default:
		i.bodies = append(i.bodies, string(body))
		w.WriteHeader(nethttp.StatusCreated)
	}
}

func sinking(t testing.TB, conn *ConnectionConfig, c SinkConfig, total bool) *sink {
	t.Helper()
	c.Connection = penstock.ConnectionRef{Name: "server", Config: conn}
	if errs := c.Validate(); len(errs) > 0 {
		t.Fatal(errs)
	}
	env := environment(t)
	env.Total = total
	s, err := newSink(c, env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func opened(t testing.TB, s *sink) *sink {
	t.Helper()
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSinkConforms(t *testing.T) {
	for name, c := range map[string]SinkConfig{"one a request": {Post: text("/in")}, "in batches": {Post: text("/in"), Batch: &SinkBatch{Size: 30, Form: "lines"}}} {
		t.Run(name, func(t *testing.T) {
			harness := conform.SinkHarness{New: func(t testing.TB) conform.SinkMedium {
				in := &inbox{}
				s := serve(t, in.serve)
				return conform.SinkMedium{
					Sink: func(t testing.TB) penstock.Sink { return sinking(t, connection(s.URL), c, true) },
					Written: func(testing.TB) []string {
						var out []string
						for _, b := range in.bodies {
							out = append(out, strings.Split(strings.TrimSuffix(b, "\n"), "\n")...)
						}
						return out
					},
					Break: func(testing.TB) { in.mu.Lock(); in.broken = true; in.mu.Unlock() },
				}
			}}
			if c.Batch == nil {
				harness.Refused = `{"refuse":true}`
			}
			conform.Sink(t, harness)
		})
	}
}

// batch makes messages of "key:value"; those with no key have none.
func batch(messages ...string) *penstock.Batch {
	b := &penstock.Batch{Runtime: &penstock.Runtime{Clock: penstock.SystemClock{}}}
	for _, s := range messages {
		m := b.Append()
		key, _, ok := strings.Cut(s, ":")
		if ok {
			m.Key = key
		}
		m.Body.Reset(jsonview.JSON, []byte(fmt.Sprintf("%q", s)))
	}
	return b
}

// TestSinkKeepsKeysInOrder: many at once, but those of one key one after the other.
func TestSinkKeepsKeysInOrder(t *testing.T) {
	var mu sync.Mutex
	seen, busy := map[string][]string{}, map[string]bool{}
	meet := make(chan struct{})
	waiting := 0
	srv := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		body, _ := io.ReadAll(r.Body)
		key, _, _ := strings.Cut(string(body), ":")
		mu.Lock()
		if busy[key] {
			t.Errorf("two messages of the key %s at once", key)
		}
		busy[key] = true
		seen[key] = append(seen[key], string(body))
		if waiting++; waiting == 8 { // the first of all keys are under way at once, or this test never ends
			close(meet)
		}
		mu.Unlock()
		<-meet
		mu.Lock()
		busy[key] = false
		mu.Unlock()
	})
	s := opened(t, sinking(t, connection(srv.URL), SinkConfig{Post: text("/in"), InFlight: 8}, false))
	var messages []string
	for i := range 160 {
		messages = append(messages, fmt.Sprintf("k%d:%03d", i%8, i))
	}
	if err := s.Write(context.Background(), batch(messages...)); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 8 {
		t.Fatalf("%d keys", len(seen))
	}
	for key, bodies := range seen {
		if len(bodies) != 20 || !slices.IsSorted(bodies) {
			t.Errorf("%s: %v", key, bodies)
		}
	}
}

func TestSinkFailures(t *testing.T) {
	for _, tt := range []struct {
		name     string
		send     []string
		inFlight int
		status   map[string]int // by body; 200 where nothing is said
		want     map[int]penstock.Code
		sent     int // requests that reach the server
	}{
		{"one is refused", []string{"a:1", "a:2", "b:1"}, 4, map[string]int{"a:1": 400}, map[int]penstock.Code{0: penstock.Invalid}, 3},
		{"behind a transient failure its key waits", []string{"a:1", "a:2", "b:1", "a:3", "b:2"}, 4, map[string]int{"a:1": 503}, map[int]penstock.Code{0: penstock.Unavailable, 1: penstock.Unavailable, 3: penstock.Unavailable}, 3},
		{"without a key each stands alone", []string{"1", "2", "3"}, 4, map[string]int{"1": 429}, map[int]penstock.Code{0: penstock.Limited}, 3},
		{"in total order they don't", []string{"1", "2", "3"}, 1, map[string]int{"1": 429}, map[int]penstock.Code{0: penstock.Limited, 1: penstock.Limited, 2: penstock.Limited}, 1},
		{"all fail", []string{"a:1", "b:1"}, 2, map[string]int{"a:1": 404, "b:1": 413}, map[int]penstock.Code{0: penstock.NotFound, 1: penstock.TooLarge}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			sent := 0
			srv := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				sent++
				mu.Unlock()
				if s := tt.status[strings.Trim(string(body), `"`)]; s != 0 {
					w.Header().Set("Retry-After", "7")
					w.WriteHeader(s)
				}
			})
			s := opened(t, sinking(t, connection(srv.URL), SinkConfig{Post: text("/in"), InFlight: tt.inFlight}, tt.inFlight == 1))
			err := s.Write(context.Background(), batch(tt.send...))
			var each *penstock.BatchError
			if !errors.As(err, &each) || len(each.Errs) != len(tt.want) {
				t.Fatalf("%v, want %v", err, tt.want)
			}
			for i, code := range tt.want {
				if penstock.CodeOf(each.Errs[i]) != code {
					t.Errorf("message %d: %v, want %s", i, each.Errs[i], code)
				}
				if code == penstock.Limited && penstock.RetryAfterOf(each.Errs[i]) != 7*time.Second {
					t.Errorf("message %d: Retry-After is lost: %v", i, each.Errs[i])
				}
			}
			if sent != tt.sent {
				t.Errorf("%d requests, want %d", sent, tt.sent)
			}
		})
	}
}

func TestSinkBatches(t *testing.T) {
	in := &inbox{}
	srv := serve(t, in.serve)
	s := opened(t, sinking(t, connection(srv.URL), SinkConfig{Post: text("/in"), Batch: &SinkBatch{Size: 2, Form: "array"}}, false))
	b := batch("1", "2", "3")
	b.Msgs[1].Body.Reset(jsonview.JSON, []byte(`{"half`))
	err := s.Write(context.Background(), b)
	var each *penstock.BatchError
	if !errors.As(err, &each) || len(each.Errs) != 1 || penstock.CodeOf(each.Errs[1]) != penstock.Invalid {
		t.Fatalf("%v, want message 1 to be invalid", err)
	}
	if want := []string{`["1","3"]`}; !slices.Equal(in.bodies, want) {
		t.Errorf("%v, want %v", in.bodies, want)
	}
	in.broken = true
	if err := s.Write(context.Background(), batch("1", "2", "3", "4", "5")); !errors.As(err, &each) || len(each.Errs) != 5 || !penstock.IsUnsent(each.Errs[4]) || penstock.IsUnsent(each.Errs[0]) {
		t.Errorf("%v, want all five, the last unsent", err)
	}
}

// TestSinkRunsOutOfTime: the step's timeout bounds each request, not the Write.
func TestSinkRunsOutOfTime(t *testing.T) {
	stall := make(chan struct{})
	srv := serve(t, func(_ nethttp.ResponseWriter, r *nethttp.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "slow") {
			<-stall
		}
	})
	t.Cleanup(func() { close(stall) })
	s := sinking(t, connection(srv.URL), SinkConfig{Post: text("/in"), InFlight: 2}, false)
	s.Each(50 * time.Millisecond)
	opened(t, s)
	err := s.Write(context.Background(), batch("1", "slow", "3", "4", "5"))
	var each *penstock.BatchError
	if !errors.As(err, &each) || len(each.Errs) != 1 || penstock.CodeOf(each.Errs[1]) != penstock.Timeout {
		t.Errorf("%v, want message 1 to time out", err)
	}
}

func BenchmarkSink(b *testing.B) {
	srv := serve(b, func(_ nethttp.ResponseWriter, r *nethttp.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	s := opened(b, sinking(b, connection(srv.URL), SinkConfig{Post: text("/in"), InFlight: 64}, false))
	var messages []string
	for i := range 256 {
		messages = append(messages, fmt.Sprintf("%d %s", i, strings.Repeat("x", 250)))
	}
	in := batch(messages...)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += len(in.Msgs) {
		if err := s.Write(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
}
