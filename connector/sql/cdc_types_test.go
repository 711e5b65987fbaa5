package sql

import (
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/types"
)

// TestCDCTypes: a change has each type as a query has it.
func TestCDCTypes(t *testing.T) {
	f := onLogical(t)
	f.exec(t, "CREATE TYPE mood AS ENUM ('glad', 'sad')", "CREATE DOMAIN cents AS bigint", `CREATE TABLE t (id int PRIMARY KEY, s smallint, b bigint, c cents, n numeric, f double precision, o boolean, x text, v varchar(9), p char(3), u uuid, j json, jb jsonb,
	d date, ti time, ts timestamp, tz timestamptz, iv interval, by bytea, ia int[], ta text[], e mood, ea mood[], ip inet)`)
	s := opened(t, f.cdc(t, CDCConfig{Tables: []string{"t"}}))
	row := `(1, -7, 9223372036854775807, 12, 12345678901234567890.123456789, 1.5e300, true, E'a"b\\c\nü', 'v', 'p', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a" : [1, 2]}', '{"a":1.50}',
	'2026-11-23', '17:20', '2026-11-23 17:20:39.5', '2026-11-23 17:20:39+02', '1 day 2 hours', '\x00ff', '{1,NULL,3}', '{"a b",NULL,"c\"d"}', 'sad', '{glad,sad}', '10.0.0.1')`
	f.exec(t, "INSERT INTO t VALUES "+row, "INSERT INTO t (id, n, f) VALUES (2, 'NaN', '-Infinity')")
	all := take(t, s, 2)
	for i, g := range all {
		want := f.rows(t, "SELECT * FROM t ORDER BY id")[i]
		if body := `{"operation":"create","before":null,"after":` + want + `}`; g.body != body {
			t.Errorf("got\n%s\nwant\n%s", g.body, body)
		}
	}
	if !strings.Contains(all[0].body, `"n":12345678901234567890.123456789`) || !strings.Contains(all[1].body, `"n":"NaN"`) {
		t.Error(all[0].body)
	}
}

// TestCDCSchemaDecides: a schema beside the source says how a column is written.
func TestCDCSchemaDecides(t *testing.T) {
	f := onLogical(t)
	f.exec(t, "CREATE TABLE t (id int PRIMARY KEY, n numeric)", "INSERT INTO t VALUES (1, 1.50)")
	f.env.Type = &types.Type{Kind: types.Object, Fields: []types.Field{{Name: "after", Type: object("id:string", "n:decimaltext")}}}
	s := opened(t, f.cdc(t, CDCConfig{Tables: []string{"t"}, Snapshot: snapshotInitial}))
	wants(t, take(t, s, 1), `{"operation":"read","before":null,"after":{"id":"1","n":"1.50"}}`)
	f.exec(t, "UPDATE t SET n = 2.5")
	wants(t, take(t, s, 1), `{"operation":"update","before":null,"after":{"id":"1","n":"2.5"}}`)
}

// TestCDCIdentity: what the old row is known by, and values that were not sent since they did not change.
func TestCDCIdentity(t *testing.T) {
	f := onLogical(t)
	f.exec(t, "CREATE TABLE t (a int, b text, doc text, PRIMARY KEY (b, a))", "ALTER TABLE t ALTER doc SET STORAGE EXTERNAL", "INSERT INTO t VALUES (1, 'x', repeat('d', 5000))",
		"CREATE TABLE w (a int, doc text)", "ALTER TABLE w ALTER doc SET STORAGE EXTERNAL", "ALTER TABLE w REPLICA IDENTITY FULL", "INSERT INTO w VALUES (1, repeat('d', 5000))")
	s := opened(t, f.cdc(t, CDCConfig{Tables: []string{"t", "w"}}))
	f.exec(t, "UPDATE t SET a = 2", "UPDATE w SET a = 2", "DELETE FROM t", "DELETE FROM w")
	all := take(t, s, 4)
	doc := `"doc":"` + strings.Repeat("d", 5000) + `"`
	wants(t, all,
		`{"operation":"update","before":{"a":1,"b":"x"},"after":{"a":2,"b":"x"},"unchanged":["doc"]}`,
		`{"operation":"update","before":{"a":1,`+doc+`},"after":{"a":2,`+doc+`}}`,
		`{"operation":"delete","before":{"a":2,"b":"x"},"after":null}`,
		`{"operation":"delete","before":{"a":2,`+doc+`},"after":null}`)
	if all[0].key != `[2,"x"]` || all[1].key != "" {
		t.Errorf("keys %q, %q", all[0].key, all[1].key)
	}
}

// TestCDCSchemaChanges: columns come, go and change their type while changes are read.
func TestCDCSchemaChanges(t *testing.T) {
	f := onLogical(t)
	f.exec(t, "CREATE TABLE t (id int PRIMARY KEY, a text)")
	s := opened(t, f.cdc(t, CDCConfig{Tables: []string{"t"}}))
	f.exec(t, "INSERT INTO t VALUES (1, 'x')", "ALTER TABLE t ADD more numeric DEFAULT 1.5", "INSERT INTO t VALUES (2, 'y')", "ALTER TABLE t ALTER a TYPE jsonb USING to_jsonb(a)", "INSERT INTO t VALUES (3, '[1]', 2)",
		"ALTER TABLE t DROP a", "ALTER TABLE t RENAME more TO less", "DELETE FROM t")
	wants(t, take(t, s, 6),
		`{"operation":"create","before":null,"after":{"id":1,"a":"x"}}`,
		`{"operation":"create","before":null,"after":{"id":2,"a":"y","more":1.5}}`,
		`{"operation":"create","before":null,"after":{"id":3,"a":[1],"more":2}}`,
		`{"operation":"delete","before":{"id":1},"after":null}`,
		`{"operation":"delete","before":{"id":2},"after":null}`,
		`{"operation":"delete","before":{"id":3},"after":null}`)
}

// TestCDCPoison: a value that is no JSON fails its own message only.
func TestCDCPoison(t *testing.T) {
	f := onLogical(t)
	f.exec(t, "CREATE TABLE t (id int PRIMARY KEY, j json)")
	for _, snapshot := range []string{snapshotInitial, snapshotNever} {
		f.exec(t, "TRUNCATE t")
		c := CDCConfig{Slot: "poison_" + snapshot, Tables: []string{"t"}, Snapshot: snapshot}
		insert := func() { f.exec(t, `INSERT INTO t VALUES (1, '{}'), (2, '{"a":1,"a":2}'), (3, 'null')`) }
		if snapshot == snapshotInitial {
			insert()
		}
		s := opened(t, f.cdc(t, c))
		if snapshot == snapshotNever {
			insert()
		}
		all := take(t, s, 3)
		if all[0].err != nil || all[2].err != nil {
			t.Error(all[0].err, all[2].err)
		}
		drive.Code(t, all[1].err, penstock.Unprocessable, "table public.t, column j")
		if !strings.Contains(all[1].body, `"j":"{\"a\":1,\"a\":2}"`) || all[1].key != "2" {
			t.Errorf("%+v", all[1])
		}
	}
}

// TestCDCOtherTables: a publication has tables that nobody asked for.
func TestCDCOtherTables(t *testing.T) {
	f := onLogical(t)
	f.exec(t, "CREATE SCHEMA s", "CREATE TABLE s.a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY)", "INSERT INTO s.a VALUES (0)", "INSERT INTO b VALUES (0)", "CREATE PUBLICATION everything FOR ALL TABLES")
	s := opened(t, f.cdc(t, CDCConfig{Publication: "everything", Tables: []string{"s.a"}, Snapshot: snapshotInitial}))
	f.exec(t, "INSERT INTO b VALUES (1)", "WITH x AS (INSERT INTO b VALUES (2)) INSERT INTO s.a VALUES (1)")
	all := take(t, s, 2)
	if all[0].table != "s.a" || all[1].table != "s.a" || all[1].key != "1" {
		t.Errorf("%+v", all)
	}
}

// TestCDCGoesOn: another process goes on where one stopped, in the rows and in the changes.
func TestCDCGoesOn(t *testing.T) {
	f := onLogical(t)
	f.env.State = &entries{}
	f.exec(t, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 3000)")
	c := CDCConfig{Slot: "goes_on", Tables: []string{"t"}, Snapshot: snapshotInitial}
	end := func(s *cdcSource) {
		t.Helper()
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	resume := func(from ...penstock.Position) *cdcSource {
		t.Helper()
		s := f.cdc(t, c)
		if err := s.Resume(t.Context(), from); err != nil {
			t.Fatal(err)
		}
		return opened(t, s)
	}
	s := resume()
	part := take(t, s, 100)
	settle(t, s, part[:100]...)
	end(s)
	s = resume(part[99].pos) // not all rows were settled: they come again
	all := take(t, s, 3000)
	if len(all) != 3000 || all[0].pos.Stream == part[0].pos.Stream {
		t.Fatal("the rows did not come again, as others")
	}
	f.exec(t, "INSERT INTO t SELECT generate_series(5001, 5010)")
	settle(t, s, all...)
	if over := s.Over(); len(over) > 0 && over[0] == all[0].pos.Stream {
		t.Error("the stream of the rows is over")
	}
	changes := take(t, s, 10)
	settle(t, s, changes[:4]...)
	end(s)
	s = resume(all[2999].pos, changes[3].pos)
	rest := take(t, s, 6)
	for i, g := range rest {
		if g.body != changes[4+i].body || g.pos != changes[4+i].pos {
			t.Errorf("%+v, want %+v", g, changes[4+i])
		}
	}
	settle(t, s, rest...)
	end(s)
	f.exec(t, "DELETE FROM t WHERE id = 5001")
	s = resume(all[2999].pos, rest[5].pos)
	wants(t, take(t, s, 1), `{"operation":"delete","before":{"id":5001},"after":null}`)
	end(s)
	f.exec(t, "SELECT pg_drop_replication_slot('goes_on')")
	s = f.cdc(t, c)
	if err := s.Resume(t.Context(), []penstock.Position{rest[5].pos}); err != nil {
		t.Fatal(err)
	}
	drive.Code(t, s.Open(t.Context()), penstock.Config, "the replication slot is gone", "--from start")
}
