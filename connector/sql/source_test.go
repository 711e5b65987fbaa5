package sql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
)

// reads makes a source that ends when everything was read.
func (f *fixture) reads(t testing.TB, c SourceConfig, from ...penstock.Position) (penstock.Source, error) {
	t.Helper()
	c.Connection, c.Every = f.ref, max(c.Every, 1)
	if c.Batch == 0 {
		c.Batch = 3
	}
	env := f.env
	env.Once, env.Resumes = true, true
	s, err := newSource(c, env)
	if err == nil {
		err = s.(penstock.Positioned).Resume(t.Context(), from)
	}
	if err == nil {
		err = s.Open(t.Context())
	}
	return s, err
}

// drain reads to the end.
func drain(t testing.TB, s penstock.Source, most int) (bodies []string, last penstock.Position) {
	t.Helper()
	for {
		var b penstock.Batch
		err := s.Read(t.Context(), &b)
		for _, m := range b.Msgs {
			bodies, last = append(bodies, conform.Text(t, m.Body)), m.Pos
			if len(bodies) == most {
				return bodies, last
			}
		}
		if errors.Is(err, io.EOF) {
			return bodies, last
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTies: rows of one watermark are all read, wherever a poll or a run ends between them, and rows that are changed are read again.
func TestTies(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		for i, c := range []struct{ watermark, key string }{
			{"{INTEGER|bigint}", "INTEGER"}, {"{TIMESTAMP|timestamptz|datetime(6)}", "{TEXT|TEXT|varchar(40)}"}, {"{REAL|float8|double}", "{TEXT|uuid|char(36)}"}, {"{TEXT|numeric|decimal(20,5)}", "{BLOB|text|varchar(40)}"}, {"{DATE|date}", "INTEGER"},
		} {
			if strings.Contains(c.key, "BLOB") && f.name == "sqlite" {
				continue
			}
			table := fmt.Sprintf("t%d", i)
			f.exec(t, "CREATE TABLE "+table+" (at "+c.watermark+", id "+c.key+" PRIMARY KEY)")
			var want []string
			for n := range 20 {
				at, id := fmt.Sprint(n/7), fmt.Sprint(n)
				if strings.Contains(c.watermark, "TIME") {
					at = fmt.Sprintf("'2026-01-02 03:04:05.00000%d{Z|Z|}'", n/7)
				} else if strings.Contains(c.watermark, "DATE") {
					at = fmt.Sprintf("'2026-01-0%d'", n/7+1)
				} else if strings.Contains(c.watermark, "REAL") {
					at = fmt.Sprintf("0.1 + %d * 0.1", n/7)
				}
				switch {
				case strings.Contains(c.key, "uuid"):
					id = fmt.Sprintf("'6b3f3c1e-0000-0000-0000-0000000000%02d'", n)
				case strings.Contains(c.key, "TEXT|TEXT"), strings.Contains(c.key, "text"):
					id = fmt.Sprintf("'k%02d'", n)
				}
				f.exec(t, fmt.Sprintf("INSERT INTO %s VALUES (%s, %s)", table, at, id))
			}
			f.exec(t, "INSERT INTO "+table+" VALUES (NULL, {99|"+map[bool]string{true: "99", false: "'6b3f3c1e-0000-0000-0000-000000000099'"}[c.key == "INTEGER"]+"})") // never read
			want = f.rows(t, "SELECT * FROM "+table+" WHERE at IS NOT NULL ORDER BY at, id")
			config := SourceConfig{Table: table, Watermark: "at", Key: "id"}
			for stop := 1; stop <= 20; stop++ {
				s, err := f.reads(t, config)
				if err != nil {
					t.Fatal(err)
				}
				first, pos := drain(t, s, stop)
				again, err := f.reads(t, config, pos)
				if err != nil {
					t.Fatal(err)
				}
				rest, next := drain(t, again, -1)
				compare(t, append(first, rest...), want...)
				if stop < 20 && next.Stream == pos.Stream && !f.env.Clock.Now().IsZero() {
					t.Errorf("another run numbers the rows anew, in the same stream %s", pos.Stream)
				}
			}
		}
	})
}

func TestAChangedRowIsReadAgain(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, version INTEGER)", "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
		s, err := f.reads(t, SourceConfig{Query: statementOf("SELECT id, version FROM t WHERE id < 10"), Watermark: "version", Key: "id"})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := drain(t, s, -1)
		compare(t, got, `{"id":1,"version":1}`, `{"id":2,"version":2}`, `{"id":3,"version":3}`)
		f.exec(t, "UPDATE t SET version = 4 WHERE id = 1", "DELETE FROM t WHERE id = 3", "INSERT INTO t VALUES (4, 4), (11, 9)")
		got, _ = drain(t, s, -1)
		compare(t, got, `{"id":1,"version":4}`, `{"id":4,"version":4}`)
	})
}

// TestExactPositions: with a watermark that is unique a position is a row, whoever reads it.
func TestExactPositions(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id BIGINT PRIMARY KEY)", "INSERT INTO t VALUES (-5), (0), (7), (9223372036854775806)")
		s, err := f.reads(t, SourceConfig{Table: "t", Watermark: "id"})
		if err != nil {
			t.Fatal(err)
		}
		_, pos := drain(t, s, 3)
		if pos != (penstock.Position{Stream: "table t", Offset: 7, Next: 8}) {
			t.Errorf("%+v", pos)
		}
		again, err := f.reads(t, SourceConfig{Table: "t", Watermark: "id"}, pos)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := drain(t, again, -1)
		compare(t, got, `{"id":9223372036854775806}`)
	})
}

// TestLateRows: with settle, rows that appear in time are read in their order, though others with higher watermarks were there before.
func TestLateRows(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		clock := &hurry{}
		f.env.Clock = clock
		f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (5)")
		s, err := newSource(SourceConfig{Connection: f.ref, Table: "t", Watermark: "id", Batch: 10, Every: penstock.Duration(time.Second), Settle: penstock.Duration(10 * time.Second)}, f.env)
		if err == nil {
			err = s.Open(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		// The bound is 5 for ten seconds before anything is read; 3 appears meanwhile, and 9 does not belong to it yet.
		late := s.(*source)
		if moved, left, err := late.advance(t.Context()); moved || left != 10*time.Second || err != nil {
			t.Fatal(moved, left, err)
		}
		f.exec(t, "INSERT INTO t VALUES (3), (9)")
		var b penstock.Batch
		if err := s.Read(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range b.Msgs {
			got = append(got, conform.Text(t, m.Body))
		}
		compare(t, got, `{"id":3}`, `{"id":5}`)
		if now := clock.Now().Sub(time.Unix(0, 0)); now < 10*time.Second {
			t.Errorf("they were read after %s", now)
		}
		b.Reset()
		if err := s.Read(t.Context(), &b); err != nil || len(b.Msgs) != 1 || conform.Text(t, b.Msgs[0].Body) != `{"id":9}` {
			t.Errorf("%d messages, %v", len(b.Msgs), err)
		}
		if now := clock.Now().Sub(time.Unix(0, 0)); now < 20*time.Second {
			t.Errorf("9 was read after %s", now)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Read(ctx, &b); !errors.Is(err, context.Canceled) {
			t.Errorf("a run that is over reads on: %v", err)
		}
	})
}

// TestOnceWithSettle: a run that is to end reads what was there when it began, after the time to settle.
func TestOnceWithSettle(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		clock := &hurry{}
		f.env.Clock = clock
		f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
		read := func(want ...string) {
			s, err := f.reads(t, SourceConfig{Table: "t", Watermark: "id", Settle: penstock.Duration(time.Second)})
			if err != nil {
				t.Fatal(err)
			}
			got, _ := drain(t, s, -1)
			compare(t, got, want...)
		}
		read()
		f.exec(t, "INSERT INTO t VALUES (1), (2), (3), (4), (5)")
		read(`{"id":1}`, `{"id":2}`, `{"id":3}`, `{"id":4}`, `{"id":5}`)
	})
}

// TestStreamsAreForgotten: once a run has a position of its own, those of runs before are not needed.
func TestStreamsAreForgotten(t *testing.T) {
	f := onSQLite(t)
	f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER)", "INSERT INTO t VALUES (1, 1), (2, 1), (3, 2)")
	config := SourceConfig{Table: "t", Watermark: "at", Key: "id"}
	one, err := f.reads(t, config)
	if err != nil {
		t.Fatal(err)
	}
	_, pos := drain(t, one, 1)
	two, err := f.reads(t, config, penstock.Position{Stream: "table other since 1"}, pos)
	if err != nil {
		t.Fatal(err)
	}
	forget := two.(penstock.Forgetter)
	rest, last := drain(t, two, -1)
	compare(t, rest, `{"id":2,"at":1}`, `{"id":3,"at":2}`)
	if over := forget.Over(); len(over) > 0 {
		t.Errorf("nothing is settled, and %q is over", over)
	}
	if err := two.Settle(t.Context(), []penstock.Outcome{{Pos: last}}); err != nil {
		t.Fatal(err)
	}
	compare(t, forget.Over(), "table other since 1", pos.Stream)
	if over := forget.Over(); len(over) > 0 {
		t.Errorf("%q twice", over)
	}
}

// TestSourcesAreLookedAt: what can't be read without loss is refused.
func TestSourcesAreLookedAt(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, updated_at {TIMESTAMP|timestamptz|datetime(6)}, grp INTEGER)",
			"INSERT INTO t VALUES (1, 1, '2026-01-01', 1), (2, 2, '2026-01-01', 1), (3, 2, '2026-01-01', 1), (4, 3, '2026-01-01', 1)")
		kept := penstock.Position{Stream: "table t since 1", Mark: `{"w":"1","k":"1","by":"n, id"}`}
		for _, c := range []struct {
			name   string
			config SourceConfig
			from   []penstock.Position
			want   []string
		}{
			{"no table", SourceConfig{Table: "nothing", Watermark: "id"}, nil, []string{"nothing"}},
			{"no column", SourceConfig{Table: "t", Watermark: "nothing", Key: "id"}, nil, []string{"no column nothing"}},
			{"almost", SourceConfig{Table: "t", Watermark: "updatedAt", Key: "id"}, nil, []string{"no column updatedAt", "updated_at"}},
			{"a time alone", SourceConfig{Table: "t", Watermark: "updated_at"}, nil, []string{"two rows may have the same", "name a `key`"}},
			{"no index", SourceConfig{Table: "t", Watermark: "n"}, nil, []string{"no unique index", "name a `key`"}},
			{"not in the query", SourceConfig{Query: statementOf("SELECT id FROM t"), Watermark: "n"}, nil, []string{"watermark and key"}},
			{"a bad query", SourceConfig{Query: statementOf("SELECT * FROM nothing"), Watermark: "n"}, nil, []string{"nothing"}},
			{"another watermark", SourceConfig{Table: "t", Watermark: "updated_at", Key: "id"}, []penstock.Position{kept}, []string{"was read by n, id", "by updated_at, id"}},
			{"no key any more", SourceConfig{Table: "t", Watermark: "id"}, []penstock.Position{kept}, []string{"was read by a watermark and a key"}},
			{"a key now", SourceConfig{Table: "t", Watermark: "n", Key: "id"}, []penstock.Position{{Stream: "table t", Offset: 1}}, []string{"was read by a watermark alone"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				_, err := f.reads(t, c.config, c.from...)
				drive.Code(t, err, penstock.Config, c.want...)
			})
		}
		for _, c := range []struct {
			config SourceConfig
			read   int
			want   string
		}{
			{SourceConfig{Query: statementOf("SELECT * FROM t"), Watermark: "n", Key: "grp"}, 2, "two rows have the same n, grp"},
			{SourceConfig{Query: statementOf("SELECT * FROM t"), Watermark: "n", Key: "grp", Batch: 2}, 2, "two rows have the same n, grp"},
			{SourceConfig{Query: statementOf("SELECT * FROM t"), Watermark: "n"}, 2, "two rows have the same n"},
			{SourceConfig{Query: statementOf("SELECT * FROM t"), Watermark: "updated_at"}, 0, "no whole number"},
		} {
			s, err := f.reads(t, c.config)
			if err != nil {
				t.Fatal(err)
			}
			var b penstock.Batch
			if c.read > 0 {
				if err := s.Read(t.Context(), &b); err != nil || len(b.Msgs) != c.read {
					t.Errorf("%d messages, %v; want %d", len(b.Msgs), err, c.read)
				}
				b.Reset()
			}
			for range 2 {
				drive.Code(t, s.Read(t.Context(), &b), penstock.Config, c.want)
			}
		}
	})
}

func TestSourceConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		config SourceConfig
		want   string
	}{
		{SourceConfig{Table: "t"}, ""},
		{SourceConfig{Query: statementOf("SELECT * FROM t;")}, ""},
		{SourceConfig{}, "set `table`"},
		{SourceConfig{Table: "t", Query: statementOf("SELECT 1")}, "set `table`"},
		{SourceConfig{Table: "t; --"}, "no name"},
		{SourceConfig{Query: statementOf("DELETE FROM t RETURNING *")}, "only reads"},
		{SourceConfig{Query: statementOf("SELECT 1; SELECT 2")}, "more than one"},
	} {
		errs := c.config.Validate()
		if c.want == "" && len(errs) == 0 || c.want != "" && len(errs) == 1 && strings.Contains(errs[0].Error(), c.want) {
			continue
		}
		t.Errorf("%+v: %v, want %q", c.config, errs, c.want)
	}
	ref := penstock.ConnectionRef{Name: "shop"}
	from := &SourceConfig{Connection: ref, Table: "t"}
	for sink, want := range map[*SinkConfig]bool{{Connection: ref, Table: "t"}: true, {Connection: ref, Table: "u"}: false, {Connection: penstock.ConnectionRef{Name: "other"}, Table: "t"}: false} {
		if got := from.Overlaps(sink, penstock.Env{}) != nil; got != want {
			t.Errorf("%+v overlaps: %v", sink, got)
		}
	}
}
