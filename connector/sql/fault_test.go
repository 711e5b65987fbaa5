package sql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// hurry is a clock on which no time has to be waited for: each timer moves it to where it ends.
type hurry struct{ now atomic.Int64 }

func (c *hurry) Now() time.Time { return time.Unix(0, c.now.Load()) }

func (c *hurry) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	fired := make(chan time.Time, 1)
	fired <- time.Unix(0, c.now.Add(int64(d)))
	return fired, func() {}
}

// through is a fixture whose connections go through a proxy.
func through(t testing.TB, address, database string) (*fixture, *service.Proxy) {
	t.Helper()
	p := service.NewProxy(t, address)
	return onPostgres(t, fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s", p.Port(), database)), p
}

// proxied is a fixture on the shared server, and one that stands beside its proxy.
func proxied(t *testing.T) (f, beside *fixture, p *service.Proxy) {
	t.Helper()
	uri := service.Postgres(t)
	beside = onPostgres(t, uri)
	address, database, _ := strings.Cut(strings.SplitN(strings.Split(uri, "?")[0], "@", 2)[1], "/")
	f, p = through(t, address, database)
	return f, beside, p
}

// TestNothingIsLostOrDoubled: a server that crashes and comes back, connections that are cut anywhere, also behind a COMMIT that was sent, and
// sessions that are killed; while a sink writes, and whatever it says is not written is written again. A ledger outside of the
// database knows what was acknowledged. With a plain insert, each row is there exactly once.
func TestNothingIsLostOrDoubled(t *testing.T) {
	server := service.NewPostgres(t, "fsync=off")
	for _, mode := range []string{modeInsert, modeUpsert} {
		t.Run(mode, func(t *testing.T) {
			server.Exec(t, "CREATE DATABASE "+mode)
			beside := onPostgres(t, server.URI(mode))
			beside.exec(t, "CREATE TABLE t (id INTEGER NOT NULL, pass INTEGER NOT NULL)")
			c := SinkConfig{Table: "t"}
			if mode == modeUpsert {
				beside.exec(t, "CREATE UNIQUE INDEX u ON t (id)")
				c.Key = []string{"id"}
			}
			f, proxy := through(t, server.Address(), mode)
			s := f.mustSink(t, c, nil)
			const batches, size = 40, 50
			acknowledged := map[int]int{}
			for b := range batches {
				switch b % 8 {
				case 1: // the connection breaks when the server has got the end of the rows, and perhaps the COMMIT
					proxy.CutWhen(func(sent []byte) bool { return strings.Contains(string(sent), "c\x00\x00\x00\x04") })
				case 3: // in the middle of the rows
					proxy.CutWhen(func(sent []byte) bool { return strings.Contains(string(sent), "d\x00") })
				case 5:
					if b%16 == 5 {
						server.Kill(t)
					} else {
						server.Stop(t)
					}
					server.Start(t)
				case 7: // before anything was sent
					proxy.Cut()
				}
				ids := make([]int, size)
				for i := range ids {
					ids[i] = b*size + i
				}
				for pass := 0; len(ids) > 0; pass++ {
					if pass > 50 {
						t.Fatal("it does not come through")
					}
					var admin sync.WaitGroup
					if b%8 == 2 && pass == 0 { // a session is ended by its administrator, in the middle
						admin.Go(func() {
							server.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+mode+"' AND pid <> pg_backend_pid()")
						})
					}
					bodies := make([]string, len(ids))
					for i, id := range ids {
						bodies[i] = fmt.Sprintf(`{"id":%d,"pass":%d}`, id, pass)
					}
					err := s.Write(t.Context(), conform.Batch(bodies...))
					admin.Wait()
					failed := map[int]error{}
					if err != nil {
						failed = drive.BatchErrors(t, err)
					}
					var again []int
					for i, id := range ids {
						switch err := failed[i]; {
						case err == nil:
							acknowledged[id]++
						case penstock.CodeOf(err).Transient():
							again = append(again, id)
						default:
							t.Fatalf("row %d: %v", id, err)
						}
					}
					ids = again
				}
			}
			for id, n := range acknowledged {
				if n != 1 {
					t.Errorf("row %d was acknowledged %d times", id, n)
				}
			}
			compare(t, beside.rows(t, "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM t"), fmt.Sprintf(`{"n":%d,"ids":%d}`, batches*size, batches*size))
		})
	}
}

// TestACutBehindTheCommit: the answer is lost, the rows are there, and the sink finds out.
func TestACutBehindTheCommit(t *testing.T) {
	f, beside, proxy := proxied(t)
	beside.exec(t, "CREATE TABLE t (id INTEGER, text TEXT)")
	s := f.mustSink(t, SinkConfig{Table: "t"}, nil)
	proxy.CutWhen(func(sent []byte) bool { return strings.Contains(string(sent), "c\x00\x00\x00\x04") }) // CopyDone; COMMIT stands in the query before it
	if err := s.Write(t.Context(), conform.Batch(`{"id":1}`, `{"id":2}`)); err != nil {
		t.Errorf("the rows are committed, and the sink says: %v", err)
	}
	compare(t, beside.rows(t, "SELECT count(*) AS n FROM t"), `{"n":2}`)
	// In the middle of the rows: none is there, and they are sent again.
	proxy.CutWhen(func(sent []byte) bool { return strings.Contains(string(sent), "COPY") })
	large := `{"id":3,"text":"` + strings.Repeat("x", 200_000) + `"}` // more than the proxy reads at once
	if err := s.Write(t.Context(), conform.Batch(large)); err != nil {
		t.Error(err)
	}
	compare(t, beside.rows(t, "SELECT count(*) AS n FROM t"), `{"n":3}`)
	// Where the server is away from then on, too, whoever tries again may do so.
	proxy.RefuseWhen(func(sent []byte) bool { return strings.Contains(string(sent), "COPY") })
	errs := drive.BatchErrors(t, s.Write(t.Context(), conform.Batch(large)))
	drive.Code(t, errs[0], penstock.Unavailable)
	if !penstock.IsUnsent(errs[0]) {
		t.Error("nothing was written, and the error does not say so")
	}
	compare(t, beside.rows(t, "SELECT count(*) AS n FROM t"), `{"n":3}`)
}

// TestNobodyKnows: the server stays away after a commit that was not answered. That must not be tried again by itself.
func TestNobodyKnows(t *testing.T) {
	f, beside, proxy := proxied(t)
	beside.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
	f.env.Clock = &hurry{}
	insert, upsert := f.mustSink(t, SinkConfig{Table: "t"}, nil), f.mustSink(t, SinkConfig{Table: "t", Key: []string{"id"}}, nil)
	away := func(sent []byte) bool { return strings.Contains(string(sent), "c\x00\x00\x00\x04") }
	proxy.RefuseWhen(away)
	errs := drive.BatchErrors(t, insert.Write(t.Context(), conform.Batch(`{"id":1}`)))
	drive.Code(t, errs[0], penstock.Internal, "can't say whether")
	proxy.Refuse(false)
	proxy.RefuseWhen(away)
	errs = drive.BatchErrors(t, upsert.Write(t.Context(), conform.Batch(`{"id":2}`)))
	drive.Code(t, errs[0], penstock.Unavailable)
	proxy.Refuse(false)
	if err := upsert.Write(t.Context(), conform.Batch(`{"id":2}`)); err != nil {
		t.Errorf("the sink does not come back: %v", err)
	}
	compare(t, beside.rows(t, "SELECT id FROM t WHERE id = 2"), `{"id":2}`)
}

// TestAStatementWhoseAnswerIsLost: it may have had its effect, and the error must not say that it had none.
func TestAStatementWhoseAnswerIsLost(t *testing.T) {
	f, beside, proxy := proxied(t)
	beside.exec(t, "CREATE TABLE t (id INTEGER)")
	insert := f.asks(t, CallConfig{Exec: statementOf("INSERT INTO t VALUES (${id})")})
	proxy.CutWhen(func(sent []byte) bool { return strings.Contains(string(sent), "B\x00") }) // Bind, Execute, Sync
	_, err := call(insert, `{"id":1}`)
	drive.Code(t, err, penstock.Unavailable)
	if penstock.IsUnsent(err) {
		t.Error("the statement was sent, and the error says that it was not")
	}
	proxy.Refuse(true)
	proxy.Cut()
	_, err = call(insert, `{"id":2}`)
	if err == nil {
		_, err = call(insert, `{"id":2}`)
	}
	drive.Code(t, err, penstock.Unavailable)
	proxy.Refuse(false)
}

// TestQuestionsAreAskedAgain: a server that was started anew breaks the connections in the pool; nobody who asks notices.
func TestQuestionsAreAskedAgain(t *testing.T) {
	server := service.NewPostgres(t, "fsync=off")
	f := onPostgres(t, server.URI("postgres"))
	f.exec(t, "CREATE TABLE t AS SELECT 7 AS n")
	asked := f.asks(t, CallConfig{Query: statementOf("SELECT n FROM t WHERE n = ${n}")})
	for _, stop := range []func(testing.TB){func(testing.TB) {}, server.Stop, server.Kill} {
		if stop(t); server.Running() == false {
			_, err := call(asked, `{"n":7}`) // sessions outlive a server that was killed, for a moment
			if err != nil {
				drive.Code(t, err, penstock.Unavailable)
			}
			if err != nil && !penstock.IsUnsent(err) {
				t.Errorf("nobody listens, and the error does not say that nothing was sent: %v", err)
			}
			server.Start(t)
		}
		if got, err := call(asked, `{"n":7}`); err != nil || got != `{"n":7}` {
			t.Errorf("%s, %v", got, err)
		}
	}
}

// TestASourceGoesOn: across restarts of the server, and connections that are cut.
func TestASourceGoesOn(t *testing.T) {
	f, beside, proxy := proxied(t)
	beside.exec(t, "CREATE TABLE t AS SELECT n AS id, n / 10 AS at FROM generate_series(0, 999) n")
	env := f.env
	env.Once = true
	s, err := newSource(SourceConfig{Connection: f.ref, Table: "t", Watermark: "at", Key: "id", Every: 1, Batch: 70}, env)
	if err == nil {
		err = s.Open(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for round := 0; ; round++ {
		if round%3 == 1 {
			proxy.CutWhen(func(sent []byte) bool { return strings.Contains(string(sent), "B\x00") })
		}
		var b penstock.Batch
		err := s.Read(t.Context(), &b)
		for _, m := range b.Msgs {
			if got := conform.Text(t, m.Body); got != fmt.Sprintf(`{"id":%d,"at":%d}`, seen, seen/10) {
				t.Fatalf("row %d is %s", seen, got)
			}
			seen++
		}
		switch {
		case errors.Is(err, io.EOF):
			if seen != 1000 {
				t.Errorf("%d rows", seen)
			}
			return
		case errors.Is(err, penstock.ErrDisconnected):
			if err := s.Open(t.Context()); err != nil && !errors.Is(err, penstock.ErrDisconnected) {
				t.Fatal(err)
			}
		case err != nil:
			t.Fatal(err)
		}
	}
}

// TestWhoGivesUpIsHeard: a caller that is cancelled, or whose time is over, ends the server's work, too.
func TestWhoGivesUpIsHeard(t *testing.T) {
	f := onPostgres(t, service.Postgres(t))
	c, err := f.caller(CallConfig{Query: statementOf("SELECT pg_sleep(60), ${n}::int AS n")})
	if err == nil {
		err = c.Open(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	b := conform.Batch(`{"n":1}`)
	for _, want := range []penstock.Code{penstock.Timeout, penstock.Cancelled} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if want == penstock.Cancelled {
			ctx, cancel = context.WithCancel(t.Context())
			cancel()
		}
		err := c.Call(ctx, b.Frame(b.Msgs[0]), b.NewMessage())
		cancel()
		drive.Code(t, err, want)
	}
	for range 200 {
		if got := f.rows(t, "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60), $1%' AND state = 'active' AND pid <> pg_backend_pid()"); got[0] == `{"n":0}` {
			return
		}
	}
	t.Error("the server works on for nobody")
}

func TestStatementTimeout(t *testing.T) {
	f := onPostgres(t, service.Postgres(t))
	f.config.StatementTimeout = penstock.Duration(20 * time.Millisecond)
	_, err := call(f.asks(t, CallConfig{Query: statementOf("SELECT pg_sleep(60)")}), "{}")
	drive.Code(t, err, penstock.Timeout, "statementTimeout")
}

// TestThePoolHasAnEnd: more callers than connections wait for one another.
func TestThePoolHasAnEnd(t *testing.T) {
	f := onPostgres(t, service.Postgres(t))
	f.config.Pool.Max = 2
	asked := f.asks(t, CallConfig{Query: statementOf("SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'penstock' AND datname = current_database()")})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 10 {
				if got, err := call(asked, "{}"); err != nil || got != `{"n":1}` && got != `{"n":2}` {
					t.Errorf("%s, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCodes(t *testing.T) {
	for state, want := range map[string]penstock.Code{
		"23505": penstock.Conflict, "23P01": penstock.Conflict, "23502": penstock.Unprocessable, "23503": penstock.Unprocessable, "23514": penstock.Unprocessable,
		"22P02": penstock.Unprocessable, "22003": penstock.Unprocessable, "21000": penstock.Unprocessable, "P0001": penstock.Unprocessable,
		"40001": penstock.Unavailable, "40P01": penstock.Unavailable, "57P01": penstock.Unavailable, "57P03": penstock.Unavailable, "08006": penstock.Unavailable, "53300": penstock.Unavailable,
		"55P03": penstock.Unavailable, "25006": penstock.Unavailable, "57014": penstock.Timeout, "42P01": penstock.Config, "42703": penstock.Config, "42601": penstock.Config,
		"3D000": penstock.Config, "42501": penstock.Forbidden, "28P01": penstock.Unauthenticated, "54000": penstock.TooLarge, "XX000": penstock.Internal, "": penstock.Internal,
	} {
		if got := codeOf(state); got != want {
			t.Errorf("%s is %s, want %s", state, got, want)
		}
	}
}

// TestANumberIsGivenOutAgain: a crash takes a transaction back before anything of it was written down, and another one gets its number and is
// committed. That must not be taken for the first.
func TestANumberIsGivenOutAgain(t *testing.T) {
	server := service.NewPostgres(t, "wal_writer_delay=10s", "bgwriter_delay=10s", "autovacuum=off")
	beside := onPostgres(t, server.URI("postgres"))
	beside.exec(t, "CREATE TABLE t (id INTEGER)", "CREATE TABLE other (id BIGINT)")
	f, proxy := through(t, server.Address(), "postgres")
	s := f.mustSink(t, SinkConfig{Table: "t"}, nil)
	before := beside.rows(t, "SELECT txid_current() AS id")[0]
	proxy.CutWhen(func(sent []byte) bool {
		if !strings.Contains(string(sent), "c\x00\x00\x00\x04") {
			return false
		}
		server.Kill(t) // the end of the rows, and the COMMIT behind it, are not even there
		server.Start(t)
		for range 5 { // whose numbers the transactions of others get, which are committed
			server.Exec(t, "INSERT INTO other SELECT txid_current()")
		}
		return true
	})
	errs := drive.BatchErrors(t, s.Write(t.Context(), conform.Batch(`{"id":1}`)))
	drive.Code(t, errs[0], penstock.Unavailable, "nothing was written")
	t.Log("a transaction before:", before, "those after the crash:", beside.rows(t, "SELECT min(id) AS id FROM other"))
	compare(t, beside.rows(t, "SELECT count(*) AS n FROM t"), `{"n":0}`)
	if err := s.Write(t.Context(), conform.Batch(`{"id":1}`)); err != nil {
		t.Error(err)
	}
	compare(t, beside.rows(t, "SELECT id FROM t"), `{"id":1}`)
}
