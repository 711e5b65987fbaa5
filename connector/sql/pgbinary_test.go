package sql

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// cells are JSON values that are tried with every type, beside those of the type's own.
var cells = []string{
	`0`, `-0`, `1`, `-1`, `7.0`, `0.5`, `-12.3400`, `100000000`, `32767`, `32768`, `-32768`, `2147483647`, `2147483648`, `-2147483649`, `999999999999999999`, `9223372036854775807`, `9223372036854775808`,
	`-9223372036854775808`, `1e3`, `1.5E-3`, `1e400`, `12345678901234567890.000000000001`, `0.00001`, `10000`, `9999.9999`, `0.00`, `123456.7890`, `1e-7`, `3.4028236e38`,
	`true`, `false`, `null`, `""`, `" "`, `"t"`, `"yes"`, `" 12 "`, `"12"`, `"-7"`, `"+7"`, `"0x10"`, `"1_000"`, `"12.50"`, `".5"`, `"5."`, `"."`, `"-"`, `"1.2.3"`, `"NaN"`, `"Infinity"`, `"٣"`,
	`"a\tb\\N\n\"é😀\r"`, `"\\N"`, `"\\."`, `"a\u0000b"`, `"long long long long"`, `"trailing   "`, `[1,2]`, `{"a":[1,{"b":"\\"}]}`, `[]`,
	`"2026-01-02"`, `"2026-02-30"`, `"2024-02-29"`, `"1900-02-29"`, `"0001-01-01"`, `"0000-01-01"`, `"9999-12-31"`, `"10000-01-01"`, `"2026-01-02T03:04:05Z"`, `"2026-01-02 03:04:05Z"`, `"2026-01-02T03:04:05.1Z"`,
	`"2026-01-02T03:04:05.123456Z"`, `"2026-01-02T03:04:05.1234567Z"`, `"2026-01-02T03:04:05.999999999Z"`, `"2026-01-02T03:04:05+05:30"`, `"2026-01-02T03:04:05-12:00"`, `"2026-01-02T03:04:05+15:59"`,
	`"2026-01-02T03:04:05"`, `"2026-01-02T24:00:00Z"`, `"2026-01-02T23:59:60Z"`, `"2026-01-02T25:00:00Z"`, `"1969-12-31T23:59:59.999999Z"`, `"0001-01-01T00:00:00Z"`, `"1999-12-31T23:59:59.5-00:01"`, `"2026-01-02T03:04:05.Z"`,
	`"2026-13-01T00:00:00Z"`, `"2026-01-02T03:04:05z"`, `"infinity"`,
	`"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`, `"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"`, `"a0eebc999c0b4ef8bb6d6bb9bd380a11"`, `"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"`, `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g"`,
}

// TestBinaryIsText: what is written in binary format is what the server makes of the text, value by value and type by type; also what it refuses, and why.
func TestBinaryIsText(t *testing.T) {
	f := onPostgres(t, service.Postgres(t))
	f.exec(t, "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)", "SET TIME ZONE 'Europe/Berlin'")
	f.config.Session = []string{"SET TIME ZONE 'Europe/Berlin'"}
	types := []string{"text", "varchar(5)", "char(5)", "smallint", "integer", "bigint", "real", "double precision", "numeric", "numeric(8,2)", "boolean", "timestamptz", "timestamptz(2)", "timestamp", "timestamp(0)",
		"date", "uuid", "json", "jsonb", "positive"}
	rows := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // data of a test
	more := make([]string, 0, 200)
	for range cap(more) {
		n := fmt.Sprintf("%d", rows.Uint64()>>rows.IntN(60))
		switch cut := rows.IntN(len(n) + 1); {
		case rows.IntN(2) == 0:
		case cut == 0:
			n = "0." + strings.Repeat("0", rows.IntN(9)) + n
		case cut < len(n):
			n = n[:cut] + "." + n[cut:]
		}
		if rows.IntN(3) == 0 {
			n = "-" + n
		}
		more = append(more, n)
	}
	for i, typ := range types {
		var bodies []string
		all := cells
		if strings.HasPrefix(typ, "numeric") || typ == "double precision" || typ == "real" {
			all = append(append([]string(nil), cells...), more...)
		}
		for k, v := range all {
			bodies = append(bodies, fmt.Sprintf(`{"id":%d,"v":%s}`, k, v))
		}
		var got [2][]string
		for k, binary := range []bool{true, false} {
			table := fmt.Sprintf("t%d_%d", i, k)
			f.exec(t, "CREATE TABLE "+table+" (id integer, v "+typ+")")
			s := f.mustSink(t, SinkConfig{Table: table}, nil).(*sink)
			l := s.loader.(*pgLoader)
			if l.forms == nil {
				t.Fatalf("%s has no binary form", typ)
			}
			if !binary {
				l.forms = nil
			}
			failed := map[int]error{}
			for at, body := range bodies { // each alone: a value that needs text is none for others
				if err := s.Write(t.Context(), conform.Batch(body)); err != nil {
					failed[at] = drive.BatchErrors(t, err)[0]
				}
			}
			got[k] = f.rows(t, "SELECT id, v::text AS v FROM "+table+" ORDER BY id")
			for at := range bodies {
				if err := failed[at]; err != nil {
					got[k] = append(got[k], fmt.Sprintf("%s: %s %v", bodies[at], penstock.CodeOf(err), err))
				}
			}
		}
		for k := range max(len(got[0]), len(got[1])) {
			if k >= len(got[0]) || k >= len(got[1]) || got[0][k] != got[1][k] {
				t.Errorf("%s:\n--- binary\n%s\n--- text\n%s", typ, strings.Join(got[0][min(k, len(got[0])):], "\n"), strings.Join(got[1][min(k, len(got[1])):], "\n"))
				break
			}
		}
	}
}

// TestBinaryAndText: rows of a Write some of which need the text arrive all, in their order, and so do upserts.
func TestBinaryAndText(t *testing.T) {
	f := onPostgres(t, service.Postgres(t))
	for _, mode := range []string{modeInsert, modeUpsert, modeIgnore} {
		f.exec(t, "CREATE TABLE "+mode+"_t (no bigserial, id integer PRIMARY KEY, at timestamptz, note text DEFAULT 'none')")
		c := SinkConfig{Table: mode + "_t", Mode: mode}
		if mode != modeInsert {
			c.Key = []string{"id"}
		}
		s := f.mustSink(t, c, nil)
		var bodies []string
		for i := range 30 {
			switch {
			case i%7 == 3:
				bodies = append(bodies, fmt.Sprintf(`{"id":%d,"at":"2026-01-02 03:04:05.1234567+00"}`, i)) // more than microseconds
			case i%5 == 4:
				bodies = append(bodies, fmt.Sprintf(`{"id":%d,"at":"2026-01-02T03:04:05.123457Z","note":"a\tb"}`, i))
			default:
				bodies = append(bodies, fmt.Sprintf(`{"id":%d,"at":"2026-01-02T03:04:05.123457Z"}`, i))
			}
		}
		if err := s.Write(t.Context(), conform.Batch(bodies...)); err != nil {
			t.Fatal(err)
		}
		compare(t, f.rows(t, "SELECT count(*) AS n, count(*) FILTER (WHERE note = 'none') AS preset, count(DISTINCT at) AS times, sum(CASE WHEN no = id + 1 THEN 0 ELSE 1 END) AS moved FROM "+mode+"_t"),
			`{"n":30,"preset":25,"times":1,"moved":0}`)
	}
}

// TestBinaryAllocates nothing for a row.
func TestBinaryAllocates(t *testing.T) {
	l := &pgLoader{s: &sink{mode: modeUpsert}}
	d := conform.Doc(`{"id":7,"amount":-12345.6700,"name":"Ann","at":"2026-01-02T03:04:05.5Z","ok":true,"ratio":0.25,"body":{"a":[1,2]}}`)
	if err := d.Parse(jsonview.Limits{}); err != nil {
		t.Fatal(err)
	}
	var into []target
	var nodes []jsonview.Node
	for i, c := range []string{"id", "amount", "name", "at", "ok", "ratio", "body"} {
		into = append(into, target{column: &column{name: c, pg: pgType{oid: []uint32{pgtype.Int4OID, pgtype.NumericOID, pgtype.TextOID, pgtype.TimestamptzOID, pgtype.BoolOID, pgtype.Float8OID, pgtype.JSONBOID}[i]}}})
		nodes = append(nodes, d.Field(0, c, nil))
	}
	l.forms = formsOf(into)
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := l.addBinary(buf, d, into, nodes); !ok {
			t.Fatal("it is not written")
		}
	}); n > 0 {
		t.Errorf("%g allocations", n)
	}
}

// FuzzBinary: what is written of a text is what it says.
func FuzzBinary(f *testing.F) {
	for _, v := range cells {
		f.Add(strings.Trim(v, `"`))
	}
	types := pgtype.NewMap()
	f.Fuzz(func(t *testing.T, text string) {
		if b, ok := appendNumeric(nil, text); ok {
			var got pgtype.Numeric
			want, err := penstock.ParseDecimal(text)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if err := types.Scan(pgtype.NumericOID, pgtype.BinaryFormatCode, b, &got); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			written, err := got.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			back, err := penstock.ParseDecimal(string(written))
			if err != nil || back.Cmp(want) != 0 {
				t.Fatalf("%q is written as %s, %v", text, written, err)
			}
		}
		if b, ok := appendInt(nil, formInt8, text); ok {
			if got := fmt.Sprint(int64(binary.BigEndian.Uint64(b))); got != strings.TrimLeft(text, "0") && strings.Trim(text, "-0") != "" && !strings.HasPrefix(text, "-0") && !strings.HasPrefix(text, "0") {
				t.Fatalf("%q is written as %s", text, got)
			}
		}
		if b, ok := appendInstant(nil, formTimestamptz, text); ok {
			want, err := time.Parse(time.RFC3339Nano, strings.Replace(text, " ", "T", 1))
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if got := time.UnixMicro(int64(binary.BigEndian.Uint64(b))).Add(epochSeconds * time.Second); !got.Equal(want) {
				t.Fatalf("%q is written as %s", text, got.UTC())
			}
		}
		if b, ok := appendInstant(nil, formDate, text); ok {
			want, err := time.Parse(time.DateOnly, text)
			if got := int(int32(binary.BigEndian.Uint32(b))) + epochDays; err != nil || int64(got)*86400 != want.Unix() {
				t.Fatalf("%q is written as day %d, %v", text, got, err)
			}
		}
	})
}
