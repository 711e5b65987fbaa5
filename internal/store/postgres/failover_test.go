package postgres_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// both is the connection to whichever of two servers takes writes.
func both(a, b *service.PostgresServer) string {
	return "postgres://postgres@" + a.Address() + "," + b.Address() + "/postgres?sslmode=disable"
}

// says asks a server until it gives an answer.
func says(t *testing.T, s *service.PostgresServer, query, answer string) {
	t.Helper()
	until(t, query+" is "+answer, func() bool {
		c, err := pgx.Connect(t.Context(), s.URI("postgres"))
		if err != nil {
			return false
		}
		defer c.Close(context.Background())
		var got string
		return c.QueryRow(t.Context(), query).Scan(&got) == nil && got == answer
	})
}

// TestFailOver: the server dies under load, and its synchronous standby takes its place. The store goes on there: all that was acknowledged is there, and what was on its way is learnt.
func TestFailOver(t *testing.T) {
	primary := service.NewPostgres(t, "fsync=off", "full_page_writes=off") // no machine dies
	standby := primary.NewStandby(t)
	primary.Exec(t, "ALTER SYSTEM SET synchronous_standby_names = '*'")
	primary.Reload(t)
	says(t, primary, "SHOW synchronous_standby_names", "*")
	primary.Exec(t, "CHECKPOINT") // by the process that has commits wait from then on
	says(t, primary, "SELECT count(*)::text FROM pg_stat_replication WHERE sync_state = 'sync'", "1")
	d := open(t, both(primary, standby), func(o *postgres.Options) { o.Lease = time.Minute })
	defer closed(t, d)
	l, stop := load(t, d, 3)
	defer stop()
	l.more(t, 100)
	primary.Kill(t)
	standby.Promote(t)
	l.more(t, 100)
	stop()
	l.holds(t, log(t, d))
}

// TestFailOverToOneThatIsBehind: the standby that takes the server's place has not got all that was acknowledged. The store says so, and does not go on as if nothing were.
func TestFailOverToOneThatIsBehind(t *testing.T) {
	primary := service.NewPostgres(t, "fsync=off", "full_page_writes=off") // no machine dies
	standby := primary.NewStandby(t)
	d := open(t, both(primary, standby), func(o *postgres.Options) { o.Lease = time.Minute })
	defer closed(t, d)
	if err := do(d, appendText("both have it")); err != nil {
		t.Fatal(err)
	}
	says(t, standby, "SELECT max(seq)::text FROM penstock.writer", "1")
	standby.Stop(t)
	if err := do(d, appendText("one has it")); err != nil {
		t.Fatal(err)
	}
	primary.Kill(t)
	standby.Start(t)
	standby.Promote(t)
	err := do(d, appendText("after"))
	if penstock.CodeOf(err) != penstock.Unavailable || !strings.Contains(err.Error(), "knows 1 commits of this process, and 2 were acknowledged") {
		t.Errorf("what was acknowledged is lost, and the store says: %v", err)
	}
	if err := do(d, appendText("later")); err == nil {
		t.Error("the store goes on")
	}
}

// hears counts the messages of the channel that a store is told of, from its beginning on.
func hears(d *postgres.DB) (told func() int64, cancel func()) {
	var next atomic.Int64
	cancel = d.Notify(channel, func(g store.Segment) { next.Store(g.End()) })
	return next.Load, cancel
}

// TestFailOverThatLosesWhatWasRead: the standby that takes the server's place lacks what another process has written, and this one has read. It notices, although it has lost nothing
// of its own, and although there are as many messages again as it has read.
func TestFailOverThatLosesWhatWasRead(t *testing.T) {
	primary := service.NewPostgres(t, "fsync=off", "full_page_writes=off") // no machine dies
	standby := primary.NewStandby(t)
	reads := open(t, both(primary, standby), func(o *postgres.Options) { o.Lease, o.Poll = time.Minute, 20*time.Millisecond })
	defer closed(t, reads)
	told, cancel := hears(reads)
	defer cancel()
	other := open(t, primary.URI("postgres"), nil)
	if err := do(other, appendText("both have it")); err != nil {
		t.Fatal(err)
	}
	says(t, standby, "SELECT max(seq)::text FROM penstock.writer", "1")
	standby.Stop(t)
	if err := do(other, appendText("one has it")); err != nil {
		t.Fatal(err)
	}
	until(t, "what is lost was read", func() bool { return told() == 2 })
	closed(t, other)
	primary.Kill(t)
	standby.Start(t)
	standby.Promote(t)
	third := open(t, standby.URI("postgres"), nil)
	defer closed(t, third)
	for range 3 {
		if err := do(third, appendText("in its place")); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	until(t, "the store ends", func() bool {
		err = do(reads, func(tx store.Tx) error {
			_, err := tx.Log().Bounds(channel)
			return err
		})
		return err != nil
	})
	if penstock.CodeOf(err) != penstock.Unavailable || !strings.Contains(err.Error(), "did not wait for a standby") {
		t.Errorf("what was read is lost, and the store says: %v", err)
	}
	if n := told(); n != 2 {
		t.Errorf("%d messages were told, of which one is in the place of another", n)
	}
}

// TestAChannelThatIsShorter: the server is taken back to an older copy of its disk, which knows this process, but not all that it has read.
func TestAChannelThatIsShorter(t *testing.T) {
	uri := service.Postgres(t)
	reads, other := open(t, uri, func(o *postgres.Options) { o.Poll = 20 * time.Millisecond }), open(t, uri, nil)
	defer closed(t, reads)
	defer closed(t, other)
	told, cancel := hears(reads)
	defer cancel()
	for range 2 {
		if err := do(other, appendText("read")); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "it was read", func() bool { return told() == 2 })
	c, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(t.Context(), "BEGIN; DELETE FROM penstock.segment WHERE base = 1; UPDATE penstock.channel SET next = 1, seq = 1; COMMIT"); err != nil {
		t.Fatal(err)
	}
	until(t, "the store ends", func() bool {
		err = reads.View(t.Context(), func(store.View) error { return nil })
		return err != nil
	})
	if penstock.CodeOf(err) != penstock.Unavailable || !strings.Contains(err.Error(), "the server has 1 messages of channel log, and 2 were read from it") {
		t.Errorf("what was read is lost, and the store says: %v", err)
	}
}
