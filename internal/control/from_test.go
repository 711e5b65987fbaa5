package control

import (
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/run"
)

// still is a clock that stands still.
type still struct {
	penstock.Clock
	now time.Time
}

func (s still) Now() time.Time { return s.now }

func TestFrom(t *testing.T) {
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	s := &Service{Clock: still{now: now}}
	at := func(n int64) *int64 { return &n }
	for _, tc := range []struct {
		text string
		want run.From
		err  string
	}{
		{text: ""},
		{text: "start", want: run.From{Start: true}},
		{text: "2h", want: run.From{Time: now.Add(-2 * time.Hour)}},
		{text: "7d", want: run.From{Time: now.Add(-7 * 24 * time.Hour)}},
		{text: "0", want: run.From{Position: at(0)}},
		{text: "1234", want: run.From{Position: at(1234)}},
		{text: "2026-11-01T12:00:00Z", want: run.From{Time: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}},
		{text: "2026-11-01", want: run.From{Time: time.Date(2026, 11, 1, 0, 0, 0, 0, time.Local)}},
		{text: "-5", err: "no place to begin at"},
		{text: "-2h", err: "no place to begin at"},
		{text: "yesterday", err: "no place to begin at"},
		{text: "beginning", err: "write start"},
	} {
		got, err := s.from(&plan.Plan{Durable: true}, tc.text)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) || penstock.CodeOf(err) != penstock.Config {
				t.Errorf("%q: %v", tc.text, err)
			}
			continue
		}
		same := got.Start == tc.want.Start && got.Time.Equal(tc.want.Time) && (got.Position == nil) == (tc.want.Position == nil)
		if err != nil || !same || got.Position != nil && *got.Position != *tc.want.Position {
			t.Errorf("%q: %+v, %v", tc.text, got, err)
		}
	}
	if _, err := s.from(&plan.Plan{}, "2h"); err == nil || !strings.Contains(err.Error(), "keep no positions") {
		t.Errorf("%v", err)
	}
	if _, err := s.from(&plan.Plan{}, ""); err != nil {
		t.Errorf("%v", err)
	}
}

func TestRateIsThatOfTheLastSeconds(t *testing.T) {
	clk := &moved{now: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)}
	var read int64
	l := newLive(clk, &session{r: &crew{}}, func() *run.Summary {
		return &run.Summary{Flows: []run.FlowSummary{{Name: "a", Read: read, Unsettled: 7}}}
	}, func() {})
	for range 20 { // ten a second for twenty seconds
		l.sample()
		clk.now = clk.now.Add(time.Second)
		read += 10
	}
	if f := l.Flows()[0]; f.Rate != 10 || f.Read != 200 || f.Unsettled != 7 || f.State != "running" {
		t.Errorf("%+v", f)
	}
	for range 10 { // then none
		l.sample()
		clk.now = clk.now.Add(time.Second)
	}
	l.Stop()
	if f := l.Flows()[0]; f.Rate != 0 || f.State != "draining" || !l.Stopping() {
		t.Errorf("%+v", f)
	}
	if len(l.samples) > maxSamples {
		t.Errorf("%d samples are kept", len(l.samples))
	}
}

// moved is a clock that is moved.
type moved struct {
	penstock.Clock
	now time.Time
}

func (m *moved) Now() time.Time { return m.now }
