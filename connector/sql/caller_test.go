package sql

import (
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/types"
)

// TestColumnsBecomeJSON: a value keeps what it is, to the last digit.
func TestColumnsBecomeJSON(t *testing.T) {
	cases := []struct {
		on, value, want string
		typ             string // of the column, by the schema; "" if there is none
	}{
		{"both", "1", "1", ""},
		{"both", "9223372036854775807", "9223372036854775807", ""},
		{"both", "1.5", "1.5", ""},
		{"both", "NULL", "null", ""},
		{"both", "'it''s \"q\" \\ ü'", `"it's \"q\" \\ ü"`, ""},
		{"both", "'17'", `"17"`, ""},
		{"both", "'17'", "17", "int"},
		{"both", "'x'", `"x"`, "int"},
		{"both", "'12.50'", "12.50", "decimal"},
		{"both", "12", `"12"`, "decimaltext"},
		{"both", "12", `"12"`, "string"},
		{"both", `'{"a": [1]}'`, `{"a": [1]}`, "object"},
		{"both", "'{bad'", `"{bad"`, "object"},
		{"both", "'2026-01-02 03:04:05'", `"2026-01-02T03:04:05Z"`, "time"},
		{"both", "'2026-01-02 03:04:05'", `"2026-01-02 03:04:05"`, ""},

		{"postgres", "true", "true", ""},
		{"postgres", "12345678901234567890.123456789000", "12345678901234567890.123456789000", ""},
		{"postgres", "'NaN'::numeric", `"NaN"`, ""},
		{"postgres", "'-Infinity'::float8", `"-Infinity"`, ""},
		{"postgres", "0.1::float8 + 0.2::float8", "0.30000000000000004", ""},
		{"postgres", "1e300::float8", "1e+300", ""},
		{"postgres", "'2026-01-02 03:04:05.123456+02'::timestamptz", `"2026-01-02T01:04:05.123456Z"`, ""},
		{"postgres", "'2026-01-02 03:04:05'::timestamp", `"2026-01-02T03:04:05Z"`, ""},
		{"postgres", "'infinity'::timestamptz", `"infinity"`, ""},
		{"postgres", "'0044-03-15 BC'::timestamp", `"0044-03-15 00:00:00 BC"`, ""},
		{"postgres", "'2026-01-02'::date", `"2026-01-02"`, ""},
		{"postgres", "'1 day 2 hours'::interval", `"P1DT2H"`, ""},
		{"postgres", `'{"b":1,"a":1.50}'::jsonb`, `{"a": 1.50, "b": 1}`, ""},
		{"postgres", `'{"b":1,  "a":2}'::json`, `{"b":1,  "a":2}`, ""},
		{"postgres", `'\x00ff'::bytea`, `"AP8="`, ""},
		{"postgres", "'6b3f3c1e-0000-0000-0000-000000000001'::uuid", `"6b3f3c1e-0000-0000-0000-000000000001"`, ""},
		{"postgres", "ARRAY[1,NULL,3]", "[1,null,3]", ""},
		{"postgres", `ARRAY['a','b,c','d"e','NULL',NULL,'']`, `["a","b,c","d\"e","NULL",null,""]`, ""},
		{"postgres", "ARRAY[[1,2],[3,4]]", "[[1,2],[3,4]]", ""},
		{"postgres", "'[0:1]={5,6}'::int[]", "[5,6]", ""},
		{"postgres", "ARRAY[]::int[]", "[]", ""},
		{"postgres", "ARRAY['2026-01-02Z'::timestamptz]", `["2026-01-02T00:00:00Z"]`, ""},
		{"postgres", "ARRAY['{\"a\":1}'::jsonb]", `[{"a": 1}]`, ""},
		{"postgres", "'happy'::mood", `"happy"`, ""},
		{"postgres", "ARRAY['happy'::mood]", `["happy"]`, ""},
		{"postgres", "7::positive", "7", ""},
		{"postgres", "ARRAY[7]::positives", "[7]", ""},
		{"postgres", "12.50::numeric", `"12.50"`, "decimaltext"},

		{"sqlite", "x'00ff'", `"AP8="`, ""},
		{"sqlite", "1e300", "1e+300", ""},
		{"sqlite", "1", "true", "bool"},
		{"sqlite", "2", "2", "bool"},
	}
	eachDatabase(t, func(t *testing.T, f *fixture) {
		if f.name == "postgres" {
			f.exec(t, "CREATE TYPE mood AS ENUM ('happy')", "CREATE DOMAIN positive AS int CHECK (VALUE > 0)", "CREATE DOMAIN positives AS int[]")
		}
		for _, c := range cases {
			if c.on != "both" && c.on != f.name {
				continue
			}
			var typ *types.Type
			if c.typ != "" {
				typ = object("v:" + c.typ)
			}
			f.env.Type = typ
			got, err := call(f.asks(t, CallConfig{Query: statementOf("SELECT " + c.value + " AS v")}), "{}")
			if want := `{"v":` + c.want + `}`; err != nil || got != want {
				t.Errorf("%s: %s, %v; want %s", c.value, got, err, want)
			}
		}
	})
}

// TestDeclaredColumnsOfSQLite: what a column was declared as says what is in it.
func TestDeclaredColumnsOfSQLite(t *testing.T) {
	f := onSQLite(t)
	f.exec(t, "CREATE TABLE t (b BOOLEAN, d DATE, at TIMESTAMP, j JSON, n NUMERIC)", `INSERT INTO t VALUES (1, '2026-01-02', '2026-01-02 03:04:05+02:00', '{"a":1}', '12.50')`)
	got, err := call(f.asks(t, CallConfig{Query: statementOf("SELECT * FROM t")}), "{}")
	if want := `{"b":true,"d":"2026-01-02","at":"2026-01-02T01:04:05Z","j":{"a":1},"n":12.5}`; err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

// TestValuesAreBoundAsWhatTheyAre: and never read as SQL.
func TestValuesAreBoundAsWhatTheyAre(t *testing.T) {
	decimal, err := penstock.ParseDecimal("12345678901234567890.50")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.FixedZone("", 7200))
	list := func(vs ...penstock.Value) penstock.Value { return penstock.ListValue(&penstock.List{Elems: vs}) }
	text := penstock.StringValue
	object := penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{{Key: text("a"), Value: penstock.IntValue(1)}}})
	cases := []struct {
		on, expr string
		value    penstock.Value
		want     string
	}{
		{"both", "{|CAST(|CAST(}\x00{| AS text)| AS char)}", text("x'; DROP TABLE t; --"), `"x'; DROP TABLE t; --"`},
		{"both", "{|CAST(|CAST(}\x00{| AS text)| AS char)}", text(`$1 ? :a ${x} \' "`), `"$1 ? :a ${x} \\' \""`},
		{"both", "{|CAST(|CAST(}\x00{| AS text)| AS char)}", text(""), `""`},
		{"both", "{|CAST(|CAST(}\x00{| AS text)| AS char)}", penstock.Null, "null"},
		{"both", "{|CAST(|CAST(}\x00{| AS text)| AS char)}", penstock.Absent, "null"},
		{"both", "{|CAST(|CAST(}\x00{| AS text)| AS char)}", penstock.OptionalValue(text("o")), `"o"`},
		{"both", "\x00 + 1", penstock.IntValue(41), "42"},
		{"both", "{|CAST(|CAST(}\x00{| AS text)| AS char)}", object, `"{\"a\":1}"`},
		{"sqlite", "\x00", penstock.BoolValue(true), "1"},
		{"sqlite", "\x00", penstock.DoubleValue(0.1), "0.1"},
		{"sqlite", "\x00", penstock.DecimalValue(decimal), `"12345678901234567890.50"`},
		{"sqlite", "\x00", penstock.TimestampValue(at), `"2026-01-02T01:04:05.0000006Z"`},
		{"sqlite", "\x00", penstock.BytesValue([]byte{0, 255}), `"AP8="`},
		{"sqlite", "(SELECT count(*) FROM json_each(\x00))", list(penstock.IntValue(1), text("a")), "2"},

		{"postgres", "\x00::boolean", penstock.BoolValue(true), "true"},
		{"postgres", "\x00::float8", penstock.DoubleValue(0.1), "0.1"},
		{"postgres", "\x00::numeric", penstock.DecimalValue(decimal), "12345678901234567890.50"},
		{"postgres", "\x00::timestamptz", penstock.TimestampValue(at), `"2026-01-02T01:04:05.000001Z"`},
		{"postgres", "\x00::bytea", penstock.BytesValue([]byte{0, 255}), `"AP8="`},
		{"postgres", "\x00::bytea", text("AP8="), `"AP8="`},
		{"postgres", "\x00::jsonb", object, `{"a": 1}`},
		{"postgres", "\x00::jsonb", text(`{"a": 1}`), `"{\"a\": 1}"`},
		{"postgres", "\x00::jsonb", penstock.IntValue(7), "7"},
		{"postgres", "\x00::interval", penstock.DurationValue(90 * time.Minute), `"PT1H30M"`},
		{"postgres", "3 = ANY(\x00::int[])", list(penstock.IntValue(1), penstock.IntValue(3)), "true"},
		{"postgres", "\x00::text[]", list(text(`a"b\c`), penstock.Null, text("NULL"), text("{}")), `["a\"b\\c",null,"NULL","{}"]`},
		{"postgres", "\x00::int[]", list(list(penstock.IntValue(1)), list(penstock.IntValue(2))), "[[1],[2]]"},
		{"postgres", "\x00::uuid", text("6b3f3c1e-0000-0000-0000-000000000001"), `"6b3f3c1e-0000-0000-0000-000000000001"`},
	}
	eachDatabase(t, func(t *testing.T, f *fixture) {
		for _, c := range cases {
			if c.on != "both" && c.on != f.name {
				continue
			}
			query := penstock.Template{Source: c.expr, Program: constant{"SELECT " + f.say(c.expr) + " AS v", []penstock.Value{c.value}}}
			got, err := call(f.asks(t, CallConfig{Query: query}), "{}")
			if want := `{"v":` + c.want + `}`; err != nil || got != want {
				t.Errorf("%s of %v: %s, %v; want %s", c.expr, c.value, got, err, want)
			}
		}
	})
}

func TestExec(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)")
		insert := f.asks(t, CallConfig{Exec: statementOf("INSERT INTO t VALUES (${id}, 0)")})
		for _, c := range []struct{ exec, body, want string }{
			{"", `{"id": 1}`, `{"rowsAffected":1}`},
			{"", `{"id": 2}`, `{"rowsAffected":1}`},
			{"UPDATE t SET n = n + ${by}", `{"by": 2}`, `{"rowsAffected":2}`},
			{"UPDATE t SET n = n + 1 WHERE id = ${id} RETURNING id, n", `{"id": 2}`, `{"rowsAffected":1,"rows":[{"id":2,"n":3}]}`},
			{"UPDATE t SET n = n + 1 WHERE id = ${id} RETURNING id, n", `{"id": 9}`, `{"rowsAffected":0,"rows":[]}`},
			{"DELETE FROM t WHERE id = ${id}", `{"id": 9}`, `{"rowsAffected":0}`},
			{"CREATE TABLE u (a INTEGER)", `{}`, `{"rowsAffected":0}`},
			{"DELETE FROM t", `{}`, `{"rowsAffected":2}`},
		} {
			if strings.Contains(c.exec, "RETURNING") && f.name == "mysql" {
				continue // which has it with INSERT and DELETE only
			}
			asked := insert
			if c.exec != "" {
				asked = f.asks(t, CallConfig{Exec: statementOf(c.exec)})
			}
			if got, err := call(asked, c.body); err != nil || got != c.want {
				t.Errorf("%s with %s: %s, %v; want %s", c.exec, c.body, got, err, c.want)
			}
		}
		if _, err := call(insert, `{"id": 5}`); err != nil {
			t.Fatal(err)
		}
		_, err := call(insert, `{"id": 5}`)
		drive.Code(t, err, penstock.Conflict)
		if !penstock.IsUnsent(err) {
			t.Error("a statement that the database refused has had no effect, and the error does not say so")
		}
	})
}

func TestRows(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1), (2), (3)")
		query := statementOf("SELECT id FROM t WHERE id > ${n} ORDER BY id")
		many := f.asks(t, CallConfig{Query: query, Rows: "many", MaxRows: 2})
		for body, want := range map[string]string{`{"n":1}`: `[{"id":2},{"id":3}]`, `{"n":3}`: "[]"} {
			if got, err := call(many, body); err != nil || got != want {
				t.Errorf("%s: %s, %v; want %s", body, got, err, want)
			}
		}
		_, err := call(many, `{"n":0}`)
		drive.Code(t, err, penstock.TooLarge, "more than 2 rows", "maxRows")
		_, err = call(f.asks(t, CallConfig{Query: query}), `{"n":1}`)
		drive.Code(t, err, penstock.Unprocessable, "more than one row", "LIMIT 1")
	})
}

// TestWrongStatementsAreFoundAtTheStart: before a message is asked about.
func TestWrongStatementsAreFoundAtTheStart(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
		for _, c := range []struct{ query, want string }{
			{"SELECT * FROM nothing WHERE id = ${id}", "nothing"},
			{"SELECT nothing FROM t WHERE id = ${id}", "nothing"},
			{"SELEC id FROM t", "SELEC"},
		} {
			asked, err := f.caller(CallConfig{Query: statementOf(c.query)})
			if err == nil {
				err = asked.Open(t.Context())
			}
			drive.Code(t, err, penstock.Config, c.want)
		}
		_, err := call(f.asks(t, CallConfig{Query: statementOf("SELECT 1 AS a, 2 AS a")}), "{}")
		drive.Code(t, err, penstock.Config, "two columns")
	})
}

// TestTheTableChangesUnderAStatement: one that the server has prepared goes on.
func TestTheTableChangesUnderAStatement(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
		asked := f.asks(t, CallConfig{Query: statementOf("SELECT * FROM t WHERE id = ${id}")})
		for _, c := range []struct{ change, want string }{{"", `{"id":1}`}, {"ADD COLUMN more TEXT", `{"id":1,"more":null}`}, {"DROP COLUMN more", `{"id":1}`}} {
			if c.change != "" {
				f.exec(t, "ALTER TABLE t "+c.change)
			}
			if got, err := call(asked, `{"id":1}`); err != nil || got != c.want {
				t.Errorf("%s: %s, %v; want %s", c.change, got, err, c.want)
			}
		}
	})
}

func TestCallConfigIsChecked(t *testing.T) {
	query, exec := statementOf("SELECT ${id}"), statementOf("DELETE FROM t")
	for _, c := range []struct {
		config CallConfig
		want   string
	}{
		{CallConfig{Query: query}, ""},
		{CallConfig{Exec: exec}, ""},
		{CallConfig{Exec: exec, Idempotent: true}, ""},
		{CallConfig{Query: statementOf("WITH a AS (SELECT 1) SELECT * FROM a FOR UPDATE;  -- all; of it")}, ""},
		{CallConfig{Query: statementOf("SELECT replace(a, 'DELETE; ', ${x}) FROM t")}, ""},
		{CallConfig{}, "set `query`"},
		{CallConfig{Query: query, Exec: exec}, "set `query`"},
		{CallConfig{Query: exec}, "say `exec`"},
		{CallConfig{Query: statementOf("WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a")}, "say `exec`"},
		{CallConfig{Query: statementOf("SELECT 1; SELECT 2")}, "more than one statement"},
		{CallConfig{Exec: statementOf("DELETE FROM t; DELETE FROM u")}, "more than one statement"},
		{CallConfig{Query: query, Idempotent: true}, "`idempotent`"},
	} {
		errs := c.config.Validate()
		if c.want == "" && len(errs) == 0 || c.want != "" && len(errs) == 1 && strings.Contains(errs[0].Error(), c.want) {
			continue
		}
		t.Errorf("%s%s: %v, want %q", c.config.Query.Source, c.config.Exec.Source, errs, c.want)
	}
	for _, c := range []struct {
		config     CallConfig
		idempotent bool
		typ        string
	}{
		{CallConfig{Query: query, Rows: "one"}, true, "optional({a?: int})"},
		{CallConfig{Query: query, Rows: "many"}, true, "list({a?: int})"},
		{CallConfig{Exec: exec}, false, "{rowsAffected: int, rows?: list({a?: int})}"},
		{CallConfig{Exec: exec, Idempotent: true}, true, "{rowsAffected: int, rows?: list({a?: int})}"},
	} {
		if got := c.config.SpecFor(penstock.Spec{}).Idempotent; got != c.idempotent {
			t.Errorf("%+v: idempotent %v", c.config, got)
		}
		if got := c.config.ReplyType(object("a:int")).String(); got != c.typ {
			t.Errorf("%+v gives %s, want %s", c.config, got, c.typ)
		}
	}
}
