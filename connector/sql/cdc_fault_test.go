package sql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// replica is what somebody has who applies every message, in their order, and each only once: it refuses what can't be.
type replica struct{ rows map[string]string }

func (r *replica) apply(t testing.TB, g got) {
	t.Helper()
	var d jsonview.Doc
	d.Reset(jsonview.JSON, []byte(g.body))
	if err := d.Parse(jsonview.Limits{}); err != nil {
		t.Fatal(err)
	}
	after := string(d.AppendJSON(nil, d.Field(0, "after", nil)))
	_, there := r.rows[g.key]
	switch op := d.Str(d.Field(0, "operation", nil), nil); op {
	case "create", "read":
		if there {
			t.Fatalf("%s is there already: %s", g.key, g.body)
		}
		r.rows[g.key] = after
	case "update":
		if !there {
			t.Fatalf("%s is not there: %s", g.key, g.body)
		}
		r.rows[g.key] = after
	case "delete":
		if !there {
			t.Fatalf("%s is not there: %s", g.key, g.body)
		}
		delete(r.rows, g.key)
	case "truncate":
		clear(r.rows)
	}
}

func (r *replica) same(t testing.TB, f *fixture, table string) {
	t.Helper()
	want := map[string]string{}
	for _, row := range f.rows(t, "SELECT id, n FROM "+table) {
		var d jsonview.Doc
		d.Reset(jsonview.JSON, []byte(row))
		if err := d.Parse(jsonview.Limits{}); err != nil {
			t.Fatal(err)
		}
		want[string(d.Raw(d.Field(0, "id", nil)))] = row
	}
	if len(want) != len(r.rows) {
		t.Errorf("%d rows, want %d", len(r.rows), len(want))
	}
	for id, row := range want {
		if r.rows[id] != row {
			t.Fatalf("row %s is %s, want %s", id, r.rows[id], row)
		}
	}
}

// busy changes a table until it is told to stop, in several sessions; errors of a server that is away are its lot.
func busy(t testing.TB, f *fixture, table string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for who := range 3 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := 1000000*(who+1) + i
				text := fmt.Sprintf("BEGIN; INSERT INTO %[1]s VALUES (%[2]d, 0); UPDATE %[1]s SET n = n + 1 WHERE id %% 97 = %[3]d AND id < 100000; DELETE FROM %[1]s WHERE id = %[2]d - 2; COMMIT", table, id, i%97)
				if i%5 == 0 {
					text = strings.Replace(text, "COMMIT", "ROLLBACK", 1)
				}
				db, err := connect(f.ref, f.env)
				if err != nil {
					return
				}
				_ = db.(*postgres).simple(ctx, text)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// simple runs several statements.
func (p *postgres) simple(ctx context.Context, text string) error {
	c, err := p.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	_, err = c.Conn().PgConn().Exec(ctx, text).ReadAll()
	return err
}

// TestCDCSnapshotIsExact: rows are read while three sessions change them, and changes follow: a replica that refuses whatever comes twice or is missing is the
// table in the end.
func TestCDCSnapshotIsExact(t *testing.T) {
	f := onLogical(t)
	f.exec(t, "CREATE TABLE r (id int PRIMARY KEY, n int)", "INSERT INTO r SELECT i, 0 FROM generate_series(1, 20000) i")
	stop := busy(t, f, "r")
	s := opened(t, f.cdc(t, CDCConfig{Tables: []string{"r"}, Snapshot: snapshotInitial}))
	r := &replica{rows: map[string]string{}}
	for range 30 {
		for _, g := range take(t, s, 500) {
			r.apply(t, g)
		}
	}
	for _, g := range take(t, s, 20000) { // well into the changes
		r.apply(t, g)
	}
	stop()
	f.exec(t, "INSERT INTO r VALUES (-1, 0)")
	for r.rows["-1"] == "" {
		for _, g := range take(t, s, 1) {
			r.apply(t, g)
		}
	}
	r.same(t, f, "r")
}

// TestCDCServerDies: the server is stopped at once and killed, in the middle of the rows and of the changes.
func TestCDCServerDies(t *testing.T) {
	t.Parallel()
	server := service.LogicalPostgres(t)
	t.Cleanup(func() { server.Stop(t) })
	f := onPostgres(t, server.URI("postgres"))
	f.exec(t, "CREATE TABLE r (id int PRIMARY KEY, n int)", "INSERT INTO r SELECT i, 0 FROM generate_series(1, 30000) i")
	s := opened(t, f.cdc(t, CDCConfig{Tables: []string{"r"}, Snapshot: snapshotInitial}))
	first := take(t, s, 1000)
	server.Kill(t)
	server.Start(t)
	r := &replica{rows: map[string]string{}}
	stream := first[0].pos.Stream
	for again := false; !again || len(r.rows) < 30000; {
		for _, g := range take(t, s, 1) {
			if !again && g.pos.Stream != stream { // the rows come again, whole, as another snapshot
				again = true
			}
			if again {
				r.apply(t, g)
				settle(t, s, g)
			}
		}
	}
	stop := busy(t, f, "r")
	for i := range 4 {
		for _, g := range take(t, s, 3000) {
			r.apply(t, g)
		}
		if i == 1 {
			server.Stop(t)
		} else {
			server.Kill(t)
		}
		server.Start(t)
	}
	stop()
	f.exec(t, "INSERT INTO r VALUES (-1, 0)")
	for r.rows["-1"] == "" {
		for _, g := range take(t, s, 1) {
			r.apply(t, g)
		}
	}
	r.same(t, f, "r")
}

// TestCDCHugeTransaction reads a transaction that no memory would hold, and rows of a megabyte.
func TestCDCHugeTransaction(t *testing.T) {
	f := onLogical(t)
	f.exec(t, "CREATE TABLE h (id int PRIMARY KEY, text text)")
	s := opened(t, f.cdc(t, CDCConfig{Tables: []string{"h"}}))
	const n = 300_000
	f.exec(t, fmt.Sprintf("INSERT INTO h SELECT i, repeat('x', 200) FROM generate_series(1, %d) i", n), "INSERT INTO h SELECT -i, repeat('y', 1000000) FROM generate_series(1, 40) i")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var b penstock.Batch
	count := 0
	var most uint64
	var last penstock.Position
	for count < n+40 {
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			t.Fatal(err)
		}
		if size := b.Arena().Bytes(); size > 4<<20 {
			t.Fatalf("a batch of %d bytes", size)
		}
		for _, m := range b.Msgs {
			if m.Pos.Stream == last.Stream && m.Pos.Offset <= last.Offset {
				t.Fatalf("%+v behind %+v", m.Pos, last)
			}
			last = m.Pos
		}
		count += len(b.Msgs)
		if count%50_000 < len(b.Msgs) {
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			most = max(most, stats.HeapInuse)
		}
	}
	if most > 128<<20 {
		t.Errorf("%d MiB in use", most>>20)
	}
	settle(t, s, got{pos: last})
	f.confirmed(t, s.config.Slot, s.sureNow())
}

// TestCDCOperatorsFaults: what stands in the way is said, with the fix.
func TestCDCOperatorsFaults(t *testing.T) {
	f := onLogical(t)
	f.exec(t, "CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE nokey (id int)", "CREATE PUBLICATION empty")
	no := false
	open := func(t *testing.T, f *fixture, c CDCConfig) error {
		t.Helper()
		s := f.cdc(t, c)
		err := s.Open(t.Context())
		if cerr := s.Close(t.Context()); cerr != nil {
			t.Error(cerr)
		}
		return err
	}
	t.Run("table is not there", func(t *testing.T) {
		drive.Code(t, open(t, f, CDCConfig{Tables: []string{"A"}}), penstock.Config, "there is no table A", "there is public.a")
	})
	t.Run("no key", func(t *testing.T) {
		drive.Code(t, open(t, f, CDCConfig{Tables: []string{"nokey"}}), penstock.Config, "REPLICA IDENTITY FULL")
		if left := f.rows(t, "SELECT 1 AS x FROM pg_publication_tables WHERE tablename = 'nokey'"); len(left) > 0 {
			t.Error("it was published all the same")
		}
	})
	t.Run("publication is not there", func(t *testing.T) {
		drive.Code(t, open(t, f, CDCConfig{Publication: "nosuch"}), penstock.Config, "there is no such publication", "CREATE PUBLICATION")
	})
	t.Run("publication lacks a table", func(t *testing.T) {
		drive.Code(t, open(t, f, CDCConfig{Publication: "empty", Tables: []string{"a"}, Create: &no}), penstock.Config, "it lacks public.a", `ALTER PUBLICATION "empty" ADD TABLE public.a`)
	})
	t.Run("slot is not there", func(t *testing.T) {
		f.exec(t, "CREATE PUBLICATION p FOR TABLE a")
		drive.Code(t, open(t, f, CDCConfig{Publication: "p", Create: &no}), penstock.Config, "no such slot", "pg_create_logical_replication_slot")
	})
	t.Run("no right", func(t *testing.T) {
		f.exec(t, "DROP ROLE IF EXISTS weak", "CREATE ROLE weak LOGIN", "GRANT SELECT ON a TO weak")
		weak := onPostgres(t, strings.Replace("postgres://postgres@"+logical.server.Address()+"/"+databaseName(t, f), "postgres@", "weak@", 1))
		drive.Code(t, open(t, weak, CDCConfig{Publication: "p"}), penstock.Forbidden, "may not replicate", "ALTER ROLE weak REPLICATION")
	})
	t.Run("slot is used", func(t *testing.T) {
		opened(t, f.cdc(t, CDCConfig{Slot: "used", Tables: []string{"a"}}))
		second := *f
		second.env.Clock = &hurry{}
		drive.Code(t, open(t, &second, CDCConfig{Slot: "used", Tables: []string{"a"}}), penstock.Unavailable, "is active for PID", "another process reads the slot")
	})
	t.Run("wrong plugin", func(t *testing.T) {
		f.exec(t, "SELECT pg_create_logical_replication_slot('other_plugin', 'test_decoding')")
		drive.Code(t, open(t, f, CDCConfig{Slot: "other_plugin", Tables: []string{"a"}}), penstock.Config, "test_decoding")
	})
	t.Run("slot is older than the publication", func(t *testing.T) {
		f.exec(t, "SELECT pg_create_logical_replication_slot('older', 'pgoutput')", "INSERT INTO a VALUES (77)", "CREATE PUBLICATION older FOR TABLE a")
		s := opened(t, f.cdc(t, CDCConfig{Slot: "older"}))
		s.config.Publication = "older"
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		drive.Code(t, s.Read(ctx, new(penstock.Batch)), penstock.Config, "begin anew")
	})
	t.Run("slot is dropped", func(t *testing.T) {
		s := opened(t, f.cdc(t, CDCConfig{Slot: "dropped", Tables: []string{"a"}}))
		f.exec(t, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'dropped'")
		for range 500 {
			db := f.db(t).(*postgres)
			if db.simple(t.Context(), "SELECT pg_drop_replication_slot('dropped')") == nil {
				break
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := s.Read(ctx, new(penstock.Batch))
		if !errors.Is(err, penstock.ErrDisconnected) {
			t.Fatal(err)
		}
		drive.Code(t, s.Open(ctx), penstock.Config, "the replication slot is gone", "--from start")
	})
	t.Run("wal_level", func(t *testing.T) {
		f := onPostgres(t, service.Postgres(t))
		f.exec(t, "CREATE TABLE a (id int PRIMARY KEY)")
		drive.Code(t, open(t, f, CDCConfig{Tables: []string{"a"}}), penstock.Config, "wal_level is replica", "ALTER SYSTEM SET wal_level = logical")
	})
	t.Run("sqlite", func(t *testing.T) {
		drive.Code(t, open(t, onSQLite(t), CDCConfig{Tables: []string{"a"}}), penstock.Config, "no PostgreSQL server")
	})
}

func databaseName(t testing.TB, f *fixture) string {
	t.Helper()
	name := f.rows(t, "SELECT current_database() AS d")[0]
	return strings.TrimSuffix(strings.TrimPrefix(name, `{"d":"`), `"}`)
}

// TestCDCSlotIsLost: the server throws away log that the slot needs.
func TestCDCSlotIsLost(t *testing.T) {
	t.Parallel()
	server := service.LogicalPostgres(t, "max_slot_wal_keep_size=1MB", "min_wal_size=32MB", "max_wal_size=32MB")
	t.Cleanup(func() { server.Stop(t) })
	f := onPostgres(t, server.URI("postgres"))
	f.exec(t, "CREATE TABLE a (id int PRIMARY KEY, text text)")
	s := f.cdc(t, CDCConfig{Slot: "lost", Tables: []string{"a"}})
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		f.exec(t, "SELECT pg_switch_wal()", "INSERT INTO a SELECT (random() * 1e9)::int, repeat('x', 1000) FROM generate_series(1, 100) ON CONFLICT DO NOTHING")
	}
	f.exec(t, "CHECKPOINT")
	drive.Code(t, s.Open(t.Context()), penstock.Config, "the server has removed log", "pg_drop_replication_slot('lost')")
}

// TestCDCLagIsLogged: what the server has to keep is said before it becomes too much.
func TestCDCLagIsLogged(t *testing.T) {
	f := onLogical(t)
	var log bytes.Buffer
	f.env.Logger = slog.New(slog.NewTextHandler(&log, nil))
	f.exec(t, "CREATE TABLE a (id int PRIMARY KEY, text text)")
	s := opened(t, f.cdc(t, CDCConfig{Tables: []string{"a"}, WarnLag: 1 << 20}))
	f.exec(t, "INSERT INTO a SELECT i, repeat('x', 1000) FROM generate_series(1, 2000) i")
	s.lookAtLag()
	if !strings.Contains(log.String(), "keeps much of its log for the slot") {
		t.Error(log.String())
	}
}

// TestCDCIdleSlotMovesOn: a table that nothing happens to does not hold the log while others change.
func TestCDCIdleSlotMovesOn(t *testing.T) {
	f := onLogical(t)
	f.exec(t, "CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE other (id int)")
	s := opened(t, f.cdc(t, CDCConfig{Tables: []string{"a"}}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Read(ctx, new(penstock.Batch)) }()
	f.exec(t, "INSERT INTO other SELECT generate_series(1, 10000)")
	at, err := f.db(t).(*postgres).walEnd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.confirmed(t, s.config.Slot, at)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) && !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// TestCDCTakesOver: who comes next waits for the slot, and goes on behind what was settled.
func TestCDCTakesOver(t *testing.T) {
	f := onLogical(t)
	f.exec(t, "CREATE TABLE a (id int PRIMARY KEY)")
	c := CDCConfig{Slot: "takes_over", Tables: []string{"a"}}
	old := opened(t, f.cdc(t, c))
	f.exec(t, "INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (2)")
	all := take(t, old, 2)
	settle(t, old, all[0])
	next := f.cdc(t, c)
	open := make(chan error, 1)
	go func() { open <- next.Open(context.Background()) }()
	f.confirmed(t, c.Slot, old.sureNow())
	if err := old.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-open; err != nil {
		t.Fatal(err)
	}
	defer func() { _ = next.Close(context.Background()) }()
	wants(t, take(t, next, 1), all[1].body)
}
