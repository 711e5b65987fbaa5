//go:build unix

package postgres_test

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// TestZombie: a process is stopped while it holds the lock of a part, for longer than its lease. Another one takes the part and writes; what the first
// one wanted to write is refused when it goes on.
func TestZombie(t *testing.T) {
	uri := service.Postgres(t)
	d := open(t, uri, func(o *postgres.Options) { o.Lease = 2 * time.Second })
	defer closed(t, d)
	part := store.Home(channel, d.Parts())
	const ttl = 100 * time.Millisecond
	got, err := d.Leases().Take(t.Context(), "child", []int{part}, ttl)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	cmd, out, in := child(t, "hold", uri, strconv.Itoa(part), strconv.FormatInt(got[0].Epoch, 10))
	if !out.Scan() || out.Text() != "holds" {
		t.Fatalf("it says %q", out.Text())
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	pass(t, uri, 2*ttl)
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
	if got := strings.Join(log(t, d), ", "); got != "taker" {
		t.Error(got)
	}
}
