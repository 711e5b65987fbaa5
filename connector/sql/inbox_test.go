package sql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/service"
)

func newInbox() *Inbox {
	return &Inbox{Table: "penstock_inbox", Retain: penstock.Duration(7 * 24 * time.Hour)}
}

// at makes a batch whose messages have the identities from a number on.
func at(from int, bodies ...string) *penstock.Batch {
	b := new(penstock.Batch)
	for i, text := range bodies {
		m := b.Append()
		m.Body.Reset(jsonview.JSON, []byte(text))
		m.Pos = penstock.Position{Stream: "s", Offset: int64(from + i)}
	}
	return b
}

func TestInboxSinkConforms(t *testing.T) {
	server := service.NewPostgres(t, "fsync=off")
	for mode, c := range map[string]SinkConfig{modeInsert: {}} {
		c.Inbox = newInbox()
		features := conform.SinkFeatures{Continues: true, Knows: true}
		t.Run("sqlite "+mode, func(t *testing.T) {
			conform.Sink(t, conform.SinkHarness{Features: features, Refused: `{"n":"refused"}`, New: func(t testing.TB) conform.SinkMedium {
				f := onSQLite(t)
				m := sinkMedium(t, f, c)
				m.Break = func(t testing.TB) { f.exec(t, "DROP TABLE m") }
				return m
			}})
		})
		t.Run("postgres "+mode, func(t *testing.T) {
			conform.Sink(t, conform.SinkHarness{Features: features, Refused: `{"n":"refused"}`, New: func(t testing.TB) conform.SinkMedium {
				name := fmt.Sprintf("m%d", databases.Add(1))
				server.Exec(t, "CREATE DATABASE "+name)
				proxy := service.NewProxy(t, server.Address())
				m := sinkMedium(t, onPostgres(t, fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s", proxy.Port(), name)), c)
				m.Crash = func(t testing.TB) {
					server.Kill(t)
					server.Start(t)
				}
				m.Break = func(testing.TB) {
					proxy.Refuse(true)
					proxy.Cut()
				}
				return m
			}})
		})
	}
}

// TestInboxModes: what is known changes nothing, whatever the mode: also not what others have written since.
func TestInboxModes(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT DEFAULT 'none')")
		for _, mode := range []string{modeInsert, modeUpsert, modeIgnore} {
			t.Run(mode, func(t *testing.T) {
				f.exec(t, "DELETE FROM t")
				c := SinkConfig{Table: "t", Mode: mode, Inbox: &Inbox{Table: "known_" + mode, Retain: penstock.Duration(time.Hour)}}
				if mode != modeInsert {
					c.Key = []string{"id"}
				}
				s := f.mustSink(t, c, nil)
				for range 2 { // rows that leave a column out are another load
					if err := s.Write(t.Context(), at(0, `{"id":1,"v":"a"}`, `{"id":2}`, `{"id":3,"v":"c"}`)); err != nil {
						t.Fatal(err)
					}
				}
				f.exec(t, "UPDATE t SET v = 'changed' WHERE id = 1")
				if err := s.Write(t.Context(), at(0, `{"id":1,"v":"a"}`)); err != nil {
					t.Fatal(err)
				}
				compare(t, f.rows(t, "SELECT id, v FROM t ORDER BY id"), `{"id":1,"v":"changed"}`, `{"id":2,"v":"none"}`, `{"id":3,"v":"c"}`)
				if mode == modeUpsert {
					if err := s.Write(t.Context(), at(10, `{"id":3,"v":"x"}`, `{"id":3,"v":"y"}`)); err != nil {
						t.Fatal(err)
					}
					compare(t, f.rows(t, "SELECT v FROM t WHERE id = 3"), `{"v":"y"}`)
				}
			})
		}
	})
}

// TestInboxPoison: what a row is refused with leaves no identity behind, and the rows beside it are written once.
func TestInboxPoison(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY CHECK (id <> 13 AND id <> 14 AND id <> 71))")
		s := f.mustSink(t, SinkConfig{Table: "t", Inbox: newInbox()}, nil)
		var bodies []string
		for i := range 100 {
			bodies = append(bodies, fmt.Sprintf(`{"id":%d}`, i))
		}
		for round := range 3 {
			if round == 2 {
				bodies[13], bodies[14], bodies[71] = `{"id":113}`, `{"id":114}`, `{"id":171}`
			}
			err := s.Write(t.Context(), at(0, bodies...))
			var each *penstock.BatchError
			if round < 2 && (!errors.As(err, &each) || len(each.Errs) != 3 || each.Errs[13] == nil || each.Errs[14] == nil || each.Errs[71] == nil) || round == 2 && err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if got, want := len(f.rows(t, "SELECT id FROM t")), []int{97, 97, 100}[round]; got != want {
				t.Fatalf("round %d: %d rows, want %d", round, got, want)
			}
		}
		if n := len(f.rows(t, "SELECT until FROM penstock_inbox")); n != 100 {
			t.Errorf("%d identities", n)
		}
	})
}

// TestInboxForgets deletes what is over, and nothing else.
func TestInboxForgets(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id INTEGER)")
		short := f.mustSink(t, SinkConfig{Table: "t", Inbox: &Inbox{Table: "known", Retain: penstock.Duration(time.Millisecond)}}, nil)
		if err := short.Write(t.Context(), at(0, `{"id":1}`, `{"id":2}`)); err != nil {
			t.Fatal(err)
		}
		long := f.mustSink(t, SinkConfig{Table: "t", Inbox: &Inbox{Table: "known", Retain: penstock.Duration(time.Hour)}}, nil)
		if err := long.Write(t.Context(), at(2, `{"id":3}`)); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); len(f.rows(t, "SELECT until FROM known")) > 1; {
			if time.Now().After(deadline) {
				t.Fatal("what is over is not deleted")
			}
			long.(*sink).inbox.nextOut = time.Time{}
			long.(*sink).tidy(t.Context())
		}
		if err := long.Write(t.Context(), at(0, `{"id":1}`, `{"id":2}`, `{"id":3}`)); err != nil {
			t.Fatal(err)
		}
		compare(t, f.rows(t, "SELECT id, count(*) AS n FROM t GROUP BY id ORDER BY id"), `{"id":1,"n":2}`, `{"id":2,"n":2}`, `{"id":3,"n":1}`)
	})
}

// TestInboxIsMade: the table, by whoever may; the error names the statement, which makes it.
func TestInboxIsMade(t *testing.T) {
	never := false
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id INTEGER)", "CREATE TABLE other (id INTEGER)", "CREATE TABLE {main|public|"+f.config.Database.Source+"}.elsewhere (id INTEGER PRIMARY KEY)")
		refused := func(c *Inbox, words string) *penstock.Error {
			t.Helper()
			_, err := f.sinks(t, SinkConfig{Table: "t", Inbox: c}, nil)
			var e *penstock.Error
			if !errors.As(err, &e) || e.Code != penstock.Config || !strings.Contains(err.Error(), words) || !strings.Contains(e.Hint, "CREATE TABLE") {
				t.Fatalf("%v", err)
			}
			return e
		}
		e := refused(&Inbox{Table: "mine", Retain: 1, Create: &never}, "there is no table mine")
		_, statements, _ := strings.Cut(e.Hint, ": ")
		f.exec(t, strings.Split(statements, "; ")...)
		f.mustSink(t, SinkConfig{Table: "t", Inbox: &Inbox{Table: "mine", Retain: 1, Create: &never}}, nil)
		refused(&Inbox{Table: "other", Retain: 1}, "is no inbox")
		refused(&Inbox{Table: "elsewhere", Retain: 1}, "is no inbox")
		f.mustSink(t, SinkConfig{Table: "t", Inbox: &Inbox{Table: f.say("{main|public|" + f.config.Database.Source + "}.named"), Retain: 1}}, nil)
		if f.name != "sqlite" {
			refused(&Inbox{Table: "nowhere.mine", Retain: 1}, "can't be made")
			return
		}
		// In a database beside it, whose name stands elsewhere in the statement.
		f.exec(t, "ATTACH ':memory:' AS beside")
		f.mustSink(t, SinkConfig{Table: "t", Inbox: &Inbox{Table: "beside.inbox", Retain: 1}}, nil)
	})
}

// TestInboxOfAStranger: a user who may write rows, and make no tables.
func TestInboxOfAStranger(t *testing.T) {
	uri := service.Postgres(t)
	f := onPostgres(t, uri)
	f.exec(t, "CREATE TABLE t (id INTEGER)", "CREATE ROLE stranger LOGIN", "GRANT INSERT, SELECT ON t TO stranger", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	t.Cleanup(func() {
		for _, text := range []string{"DROP OWNED BY stranger", "DROP ROLE stranger"} {
			if _, err := f.db(t).run(context.Background(), newStatement(text), nil, nil); err != nil {
				t.Error(err)
			}
		}
	})
	as := onPostgres(t, strings.Replace(uri, "postgres://postgres@", "postgres://stranger@", 1))
	_, err := as.sinks(t, SinkConfig{Table: "t", Inbox: newInbox()}, nil)
	var e *penstock.Error
	if !errors.As(err, &e) || e.Code != penstock.Config || !strings.Contains(e.Hint, "CREATE TABLE") {
		t.Fatalf("%v", err)
	}
	_, statements, _ := strings.Cut(e.Hint, ": ")
	f.exec(t, strings.Split(statements, "; ")...)
	f.exec(t, "GRANT INSERT, SELECT, DELETE ON penstock_inbox TO stranger")
	s := as.mustSink(t, SinkConfig{Table: "t", Inbox: newInbox()}, nil)
	for range 2 {
		if err := s.Write(t.Context(), at(0, `{"id":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, f.rows(t, "SELECT id FROM t"), `{"id":1}`)
}

// TestInboxesSideBySide has several write the same at once, as a run does that was taken for dead and the one that follows it: each row is there once.
func TestInboxesSideBySide(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id INTEGER)")
		const writers, messages = 4, 400
		var sinks []penstock.Sink
		var mu sync.Mutex
		var made sync.WaitGroup
		for range writers { // also the table is made by all at once
			made.Go(func() {
				s, err := f.sinks(t, SinkConfig{Table: "t", Inbox: newInbox()}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				sinks = append(sinks, s)
				mu.Unlock()
			})
		}
		made.Wait()
		var wg sync.WaitGroup
		for w, s := range sinks {
			wg.Go(func() {
				for from := 0; from < messages; from += 20 {
					start := (from + 100*w) % messages
					var bodies []string
					for i := range 20 {
						bodies = append(bodies, fmt.Sprintf(`{"id":%d}`, start+i))
					}
					b := at(start, bodies...)
					if w%2 == 1 {
						slices.Reverse(b.Msgs)
					}
					for try := 0; ; try++ {
						err := s.Write(context.WithoutCancel(t.Context()), b)
						if err == nil {
							break
						}
						if try > 20 {
							t.Error(err)
							break
						}
					}
				}
			})
		}
		wg.Wait()
		compare(t, f.rows(t, "SELECT count(*) AS n, count(DISTINCT id) AS d FROM t"), fmt.Sprintf(`{"n":%d,"d":%d}`, messages, messages))
	})
}

// TestInboxSpaces: equal positions of two deployments are two messages.
func TestInboxSpaces(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id INTEGER)")
		for _, space := range []string{"", "eu", "us", "eu"} {
			c := newInbox()
			c.Space = space
			if err := f.mustSink(t, SinkConfig{Table: "t", Inbox: c}, nil).Write(t.Context(), at(0, `{"id":1}`)); err != nil {
				t.Fatal(err)
			}
		}
		compare(t, f.rows(t, "SELECT count(*) AS n FROM t"), `{"n":3}`)
	})
}

// TestInboxSpec is what check hears.
func TestInboxSpec(t *testing.T) {
	if s := (&SinkConfig{Inbox: newInbox()}).SpecFor(penstock.Spec{}); s.Rewrite != penstock.RewriteKnown || s.Known.Within != 7*24*time.Hour || s.Known.By == "" {
		t.Errorf("%+v", s)
	}
	if s := (&SinkConfig{Inbox: newInbox(), Key: []string{"id"}}).SpecFor(penstock.Spec{}); s.Rewrite != penstock.RewriteSame {
		t.Errorf("%+v", s)
	}
	if errs := (&SinkConfig{Table: "t", Inbox: &Inbox{Table: "a.b.c"}}).Validate(); len(errs) != 1 {
		t.Errorf("%v", errs)
	}
}

func TestIdentities(t *testing.T) {
	seen := map[identity]string{}
	var last identity
	for _, text := range []string{
		"\x00orders/to:from@orders/0:17", "\x00orders/to:from@orders/0:18", "\x00orders/to:from@orders/1:17", "\x00orders/to:from.3@orders/0:17", "\x00orders/to:from.~a@orders/0:17",
		"eu\x00orders/to:from@orders/0:17", "\x00orders/to2:from@orders/0:17", "\x00orders/to:from#INV-17", "\x00orders/to:from#INV-18", "\x00orders/to:from#a@b:17", "\x00orders/to:from#a@b:18",
		"\x00orders/to:from@s:18446744073709551615", "\x00orders/to:from@s:18446744073709551616", "\x00orders/to:from@s:-1", "\x00~98ab", "\x00orders/to:from%RUN-1-2", "\x00",
	} {
		id := identityOf([]byte(text), strings.IndexByte(text, 0)+1)
		if other, there := seen[id]; there {
			t.Errorf("%q is %q", text, other)
		}
		seen[id] = text
	}
	for i := range 1000 { // neighbours stay neighbours
		id := identityOf(fmt.Appendf(nil, "\x00orders/to:from@orders/0:%d", i+250), 1)
		if i > 0 && string(id[:]) <= string(last[:]) {
			t.Fatalf("%d is not behind the one before it", i)
		}
		last = id
	}
}
