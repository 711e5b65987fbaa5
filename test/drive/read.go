package drive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
)

// Got is a message that was read, as a copy.
type Got struct {
	Body, Key string
	Meta      map[string]string // as texts
	Pos       penstock.Position
	Err       error // why it can't be read
}

// Read reads n messages, and opens again a source that was disconnected.
func Read(t testing.TB, s penstock.Source, n int) (out []Got) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var b penstock.Batch
	for len(out) < n {
		b.Reset()
		connected, err := readOnce(ctx, s, &b)
		if err != nil {
			t.Fatalf("after %d messages: %v", len(out), err)
		}
		if connected {
			out = append(out, Those(t, &b)...)
		}
	}
	return out
}

// readOnce reads a batch, or opens the source again where it was disconnected.
func readOnce(ctx context.Context, s penstock.Source, b *penstock.Batch) (connected bool, err error) {
	err = s.Read(ctx, b)
	if !errors.Is(err, penstock.ErrDisconnected) {
		return err == nil, err
	}
	if err := s.Open(ctx); err != nil && !errors.Is(err, penstock.ErrDisconnected) {
		return false, err
	}
	return false, nil
}

// Those copies the messages of a batch.
func Those(t testing.TB, b *penstock.Batch) (out []Got) {
	t.Helper()
	for i, m := range b.Msgs {
		g := Got{Key: m.Key, Pos: m.Pos, Meta: map[string]string{}, Err: b.Err(i)}
		if g.Err == nil && m.Body.Format() == jsonview.JSON && m.Body.Parse(jsonview.Limits{}) == nil {
			g.Body = string(m.Body.AppendJSON(nil, 0))
		} else {
			g.Body = string(m.Body.Bytes())
		}
		for _, e := range m.Meta.Entries() {
			text, err := e.Value.AppendText(nil)
			if err != nil {
				t.Fatal(err)
			}
			g.Meta[e.Name] = string(text)
		}
		out = append(out, g)
	}
	return out
}

// SettleAll tells a source that messages are done.
func SettleAll(t testing.TB, s penstock.Source, all ...Got) {
	t.Helper()
	var o []penstock.Outcome
	for _, g := range all {
		o = append(o, penstock.Outcome{Pos: g.Pos})
	}
	if err := s.Settle(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}

// Next reads one batch.
func Next(t testing.TB, s penstock.Source) *penstock.Batch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b := new(penstock.Batch)
	if err := s.Read(ctx, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// Some reads so many messages, or the few more that the last batch has.
func Some(t testing.TB, s penstock.Source, n int) (out []*penstock.Message) {
	t.Helper()
	for len(out) < n {
		out = append(out, Next(t, s).Msgs...)
	}
	return out
}

// Settle tells a source that messages are done.
func Settle(t testing.TB, s penstock.Source, ms ...*penstock.Message) {
	t.Helper()
	var o []penstock.Outcome
	for _, m := range ms {
		o = append(o, penstock.Outcome{Pos: m.Pos})
	}
	if err := s.Settle(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// Bodies are those of messages.
func Bodies(all []Got) (out []string) {
	for _, g := range all {
		out = append(out, g.Body)
	}
	return out
}

// Numbered makes bodies {"n":from} … {"n":to-1}.
func Numbered(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf(`{"n":%d}`, i))
	}
	return out
}

// Batch makes a batch as a flow gives it to a sink: of messages of a stream, from a sequence on.
func Batch(stream string, from int64, bodies ...string) *penstock.Batch {
	b := conform.Batch(bodies...)
	for i, m := range b.Msgs {
		m.Pos = penstock.Position{Stream: stream, Offset: from + int64(i)}
	}
	return b
}

// Compare compares two lists and shows the first difference.
func Compare(t testing.TB, have, want []string) {
	t.Helper()
	for i := range min(len(have), len(want)) {
		if have[i] != want[i] {
			t.Fatalf("the %dth is %.200s, want %.200s", i, have[i], want[i])
		}
	}
	if len(have) != len(want) {
		t.Fatalf("%d, want %d", len(have), len(want))
	}
}

// Code checks the code of an error, and words in it.
func Code(t testing.TB, err error, want penstock.Code, words ...string) {
	t.Helper()
	if penstock.CodeOf(err) != want {
		t.Errorf("the error is %q, want %q: %v", penstock.CodeOf(err), want, err)
		return
	}
	for _, w := range words {
		if err != nil && !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

// BatchErrors gives the errors of a *penstock.BatchError by index.
func BatchErrors(t testing.TB, err error) map[int]error {
	t.Helper()
	var each *penstock.BatchError
	if !errors.As(err, &each) {
		t.Fatalf("%v is no *BatchError", err)
	}
	return each.Errs
}
