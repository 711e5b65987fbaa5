package sql

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
)

func TestShapes(t *testing.T) {
	for text, want := range map[string]shape{
		"SELECT 1":                                              {reads: true},
		"select 1;\n -- the end":                                {reads: true},
		"WITH a AS (SELECT 1) SELECT * FROM a":                  {reads: true},
		"(SELECT 1) UNION (SELECT 2)":                           {reads: true},
		"VALUES (1)":                                            {reads: true},
		"TABLE t":                                               {reads: true},
		"SELECT * FROM t FOR UPDATE":                            {reads: true},
		"SELECT * FROM t FOR NO KEY UPDATE":                     {reads: true},
		"SELECT replace(a, 'x', 'y') FROM t":                    {reads: true},
		"SELECT 'DELETE; INSERT'":                               {reads: true},
		"SELECT $$ DELETE; $$, $t$ ; $t$":                       {reads: true},
		"SELECT /* ; DELETE */ 1 -- ; UPDATE":                   {reads: true},
		`SELECT "delete" FROM t`:                                {reads: true},
		"SELECT ${'; DELETE'} + ${{'a': '}'}['a']}":             {reads: true},
		"EXPLAIN DELETE FROM t":                                 {reads: true},
		"PRAGMA table_info(t)":                                  {reads: true},
		"WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a": {changes: true},
		"INSERT INTO t VALUES (1)":                              {changes: true},
		"REPLACE INTO t VALUES (1)":                             {changes: true},
		"UPDATE t SET a = replace(a, 'x', 'y')":                 {changes: true},
		"DELETE FROM t":                                         {changes: true},
		"MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE": {changes: true},
		"CREATE TABLE t (a int)":                                {},
		"CALL p()":                                              {},
		"SELECT 1; SELECT 2":                                    {reads: true, several: true},
		"DELETE FROM t; DELETE FROM u":                          {changes: true, several: true},
		"":                                                      {},
		"SELECT 'open":                                          {reads: true},
		"SELECT ${open":                                         {reads: true},
		"SELECT $":                                              {reads: true},
	} {
		if got := shapeOf(text); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

func TestParametersAreNumbered(t *testing.T) {
	s := newStatement("a \x00, \x00\x00")
	if s.dollar != "a $1, $2$3" || s.marks != "a ?1, ?2?3" || s.params != 3 {
		t.Errorf("%+v", s)
	}
}

// FuzzShape: no text brings it down.
func FuzzShape(f *testing.F) {
	for _, s := range []string{"SELECT $a$ ; $a$", "'", "${", "$", "--", "/*", "$a", "\"", ";"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, text string) { shapeOf(text) })
}

// FuzzArray: what is read of an array is JSON, and a list that is written as an array is read back the same.
func FuzzArray(f *testing.F) {
	for _, s := range []string{`{1,2}`, `{"a\"b",NULL}`, `{{1},{2}}`, `[0:1]={1,2}`, `{`, `{}`, `{,}`, `{"a`, `{a}}`, `["a", null, ["b"]]`, `[[1,2],[3,4]]`} {
		f.Add(s)
	}
	strs := pgType{oid: pgtype.TextArrayOID, elem: pgtype.TextOID, sep: ','}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		if out, err := strs.append(nil, []byte(text), nil); err == nil && !jsonview.Valid(out) {
			t.Fatalf("%q is read as %s", text, out)
		}
		var list []string
		if json.Unmarshal([]byte(text), &list) != nil || strings.Contains(text, "null") {
			return
		}
		d := conform.Doc(text)
		if d.Parse(jsonview.Limits{}) != nil {
			return
		}
		written, err := strs.appendList(nil, penstock.NodeValue(d, 0))
		if err != nil {
			t.Fatal(err)
		}
		back, err := strs.append(nil, written, nil)
		var again []string
		if err != nil || json.Unmarshal(back, &again) != nil || !slices.Equal(list, again) {
			t.Fatalf("%q is written as %s and read as %s, %v", list, written, back, err)
		}
	})
}

// FuzzTime: whatever a database writes for a time, what is made of it is JSON.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-01-02 03:04:05", "2026-01-02 03:04:05.123456+00", "2026-01-02T03:04:05-03:30", "infinity", "0044-03-15 00:00:00 BC", "2026-01-02 03:04:05+0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if out := appendTime(nil, text); utf8.ValidString(text) && !jsonview.Valid(out) {
			t.Fatalf("%q is %s", text, out)
		}
	})
}
