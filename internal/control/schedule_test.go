package control_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/sqlite"
)

// nightly is a queue of two schedules: one at a time of night that a day in spring does not have, and one that is rarely due.
const nightly = `apiVersion: penstock.dev/v1alpha1
kind: JobQueue
metadata: { name: reports }
spec:
  retry: { attempts: 3 }
  pull: { lease: 30s }
  schedule:
    - { cron: "30 2 * * *", timeZone: Europe/Berlin, catchUp: CATCHUP, data: { text: "berlin ${body.scheduled} ${body.count} ${body.missed}" } }
    - { cron: "0 0 1 4 *", timeZone: America/New_York, catchUp: CATCHUP, data: { text: "new-york ${body.scheduled} ${body.count} ${body.missed}" } }
`

// night is a run of nightly, with a clock of its own that begins where the one before stood.
type night struct {
	worker
	clk   *clock
	stop  context.CancelFunc
	abort chan struct{}
	over  chan error
}

func (n *night) begin(catchUp, path string) {
	n.t.Helper()
	now, address := n.clk.Now(), freeAddress(n.t)
	n.clk = newClock()
	n.clk.now = now
	s := &control.Service{Registry: edition.Standard(), Clock: n.clk}
	c := checked(n.t, s, strings.ReplaceAll(nightly, "CATCHUP", catchUp))
	n.at = "http://" + address
	var ctx context.Context
	ctx, n.stop = context.WithCancel(context.Background())
	n.abort, n.over = make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := s.Run(ctx, c, control.RunOptions{Address: address, Store: path, Abort: n.abort})
		n.over <- err
	}()
	n.awaits("/v1alpha1/queues/reports/lease", "no JSON")
}

// until lets the time be at, once somebody waits for just that.
func (n *night) until(at string) {
	n.t.Helper()
	to, err := time.Parse(time.RFC3339, at)
	if err != nil {
		n.t.Fatal(err)
	}
	d := to.Sub(n.clk.Now())
	for {
		select {
		case made := <-n.clk.made:
			if made == d {
				n.clk.advance(d)
				return
			}
		case err := <-n.over:
			n.t.Fatal("the run has ended: ", err)
		}
	}
}

func (n *night) ends() {
	n.t.Helper()
	n.stop()
	if err := <-n.over; err != nil {
		n.t.Error(err)
	}
}

// TestJobsByTheClock: a queue has one job for each instant of its schedules, in their time zones, over a change of the clocks and through runs that end: one at
// the instant itself, and one that is broken off with a job in hand. What becomes of instants at which nothing ran is as catchUp says, also of the first that a
// schedule ever had.
func TestJobsByTheClock(t *testing.T) {
	for catchUp, after := range map[string]struct {
		missed []string
		count  string
	}{
		"none": {nil, "4 4"},
		"last": {[]string{"new-york 2026-04-01T04:00:00Z 1 0 1", "berlin 2026-04-03T00:30:00Z 4 3 1"}, "5 0"},
		"all": {[]string{
			"new-york 2026-04-01T04:00:00Z 1 0 1", "berlin 2026-03-31T00:30:00Z 4 0 1", "berlin 2026-04-01T00:30:00Z 5 0 1", "berlin 2026-04-02T00:30:00Z 6 0 1",
			"berlin 2026-04-03T00:30:00Z 7 0 1",
		}, "8 0"},
	} {
		t.Run(catchUp, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			n := &night{worker: worker{t: t, queue: "reports"}, clk: newClock()}
			n.clk.now = time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC)
			n.begin(catchUp, path)
			n.until("2026-03-28T01:30:00Z")
			n.does("berlin 2026-03-28T01:30:00Z 1 0 1")
			n.ends()

			n.begin(catchUp, path)
			n.until("2026-03-29T01:00:00Z")
			n.does("berlin 2026-03-29T01:00:00Z 2 0 1")
			n.until("2026-03-30T00:30:00Z")
			lost := n.takes(1)
			close(n.abort)
			if err := <-n.over; !errors.Is(err, control.ErrAborted) {
				t.Error(err)
			}

			n.clk.advance(100 * time.Hour)
			n.begin(catchUp, path)
			n.does(append(after.missed, "berlin 2026-03-30T00:30:00Z 3 0 2")...)
			if status := n.completes(lost[0]); status != http.StatusConflict {
				t.Errorf("who had the job before may say that it is done: %d", status)
			}
			n.until("2026-04-04T00:30:00Z")
			n.does("berlin 2026-04-04T00:30:00Z " + after.count + " 1")
			n.ends()

			st, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			if err := st.View(t.Context(), func(v store.View) error {
				l, err := jobs.New(jobs.Config{Name: "reports"}, st.Parts()).Look(v.State())
				if want := int64(4 + len(after.missed)); l.Enqueued != want || l.Completed != want || l.Twins != 0 || l.Unfinished() != 0 {
					t.Errorf("%+v, and not %d jobs", l, want)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}
