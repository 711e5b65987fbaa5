//go:build unix

package postgres_test

import (
	"context"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// TestZombie: a process is stopped while it holds the lock of a part, for longer than its lease. Another one is not held up: it takes the part and writes; what the first
// one wanted to write is refused when it goes on. Neither depends on the other's settings: who takes the part puts the sleeper out, however long that one's server-side bounds are; and
// who only wants to write waits until the server has put it out, however patient he is himself.
func TestZombie(t *testing.T) {
	for _, c := range []struct {
		name          string
		sleeper, mine time.Duration // leases, which all that the server bounds is a fraction of
		takes         bool
	}{
		{"who takes the part puts it out", time.Hour, 2 * time.Second, true},
		{"the server puts it out", 2 * time.Second, time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			uri := service.Postgres(t)
			d := open(t, uri, func(o *postgres.Options) { o.Lease = c.mine })
			defer closed(t, d)
			part := store.Home(channel, d.Parts())
			const ttl = 100 * time.Millisecond
			got, err := d.Leases().Take(t.Context(), "child", []int{part}, ttl)
			if err != nil || len(got) != 1 {
				t.Fatal(got, err)
			}
			cmd, out, in := child(t, "hold", uri, strconv.Itoa(part), strconv.FormatInt(got[0].Epoch, 10), c.sleeper.String())
			if !out.Scan() || out.Text() != "holds" {
				t.Fatalf("it says %q", out.Text())
			}
			if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			pass(t, uri, 2*ttl)
			if !c.takes {
				patient, enough := context.WithTimeout(t.Context(), 5*c.sleeper)
				err := d.Submit(store.Small, appendText("patient")).Wait(patient)
				if enough(); err != nil {
					_ = cmd.Process.Kill() // else nothing would end here for long
					t.Fatalf("the server has not put a process that stands still out of the part after five of its leases: %v", err)
				}
			}
			mine, err := d.Leases().Take(t.Context(), "parent", []int{part}, time.Hour)
			if err != nil || len(mine) != 1 {
				t.Fatalf("the part is not taken from a process that stands still: %v, %v", mine, err)
			}
			if err := do(d, appendText("taker")); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Write([]byte("\n")); err != nil {
				t.Fatal(err)
			}
			if !out.Scan() || !strings.HasPrefix(out.Text(), "true") {
				t.Errorf("the zombie's write ended with %q", out.Text())
			}
			want := "taker"
			if !c.takes {
				want = "patient, taker"
			}
			if got := strings.Join(log(t, d), ", "); got != want {
				t.Error(got)
			}
		})
	}
}
