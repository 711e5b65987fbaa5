package conform

import (
	"context"
	"errors"
	"testing"

	"penstock.dev/penstock"
)

// writeAt writes messages that have the identities from a number on.
func writeAt(t testing.TB, s penstock.Sink, from int64, bodies []string) {
	t.Helper()
	for len(bodies) > 0 {
		n := min(len(bodies), 100)
		if err := s.Write(context.Background(), batchAt(from, bodies[:n]...)); err != nil {
			t.Fatal(err)
		}
		from, bodies = from+int64(n), bodies[n:]
	}
}

// identities gives n that nobody has.
func identities(n int) (from int64) { return made.Add(int64(n)) - int64(n) }

// knows gives a sink everything twice, in other batches, and some of it as it would be after a change of the flow: it is the
// identity that counts.
func (h SinkHarness) knows(t *testing.T) {
	if !h.Features.Knows {
		t.Skip("the sink does not declare Knows")
	}
	m := h.New(t)
	s := h.open(t, m)
	want := numbered(300)
	from := identities(len(want))
	writeAt(t, s, from, want[:200])
	flush(t, s)
	writeAt(t, s, from+50, want[50:250])
	writeAt(t, s, from, []string{`{"n":"another"}`})
	writeAt(t, s, from, want)
	both := batchAt(identities(1), `{"n":"twice"}`)
	both.Msgs = append(both.Msgs, both.Msgs[0]) // in one batch
	if err := s.Write(context.Background(), both); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	closeSink(t, s)
	h.written(t, m, append(append([]string(nil), want...), `{"n":"twice"}`))
}

// knowsFromOthers is given everything again by a run that follows one that crashed: what was durable, though nobody had noted it, and what was not.
func (h SinkHarness) knowsFromOthers(t *testing.T) {
	if !h.Features.Knows {
		t.Skip("the sink does not declare Knows")
	}
	m := h.New(t)
	want := numbered(600)
	from := identities(len(want))
	for i := range 4 {
		s := h.open(t, m)
		writeAt(t, s, from, want[:150*(i+1)])
		if m.Crash != nil && i < 2 {
			m.Crash(t)
			continue
		}
		closeSink(t, s)
	}
	h.written(t, m, want)
}

// knowsFailures: a message that failed was not written, so that it is not known.
func (h SinkHarness) knowsFailures(t *testing.T) {
	if !h.Features.Knows || h.Refused == "" {
		t.Skip("the sink does not declare Knows, or refuses nothing")
	}
	m := h.New(t)
	s := h.open(t, m)
	from := identities(3)
	err := s.Write(context.Background(), batchAt(from, `{"n":1}`, h.Refused, `{"n":3}`))
	var each *penstock.BatchError
	if !errors.As(err, &each) || each.Errs[1] == nil {
		t.Fatal(err)
	}
	writeAt(t, s, from, []string{`{"n":1}`, `{"n":2}`, `{"n":3}`})
	flush(t, s)
	closeSink(t, s)
	if m.Written == nil {
		return
	}
	same(t, m.Written(t), []string{`{"n":1}`, `{"n":3}`, `{"n":2}`}, true)
}
