package sql

import (
	"strconv"

	"penstock.dev/penstock"
)

// polls are the statements of a source. Each row of theirs ends with four columns more: the watermark and the key, as texts, and what
// kind of value each is, where that matters; the highest watermark comes with its kind.
type polls struct {
	all  [2][2]*statement // by whether they go on behind a row, and whether up to a bound
	top  *statement
	kind func(text, kind string) penstock.Value
}

// next is the statement for the rows behind a row, and up to a bound.
func (p *polls) next(behind, bounded bool) *statement {
	i, j := 0, 0
	if behind {
		i = 1
	}
	if bounded {
		j = 1
	}
	return p.all[i][j]
}

// value is a watermark or key to compare with.
func (p *polls) value(text, kind string) penstock.Value { return p.kind(text, kind) }

// newPolls makes the statements; text and kind write a column as a text, and what kind of value it has.
func newPolls(query, watermark, key string, limit int, text, kind func(column string) string) *polls {
	w, k := "q."+quote(watermark), "q."+quote(key)
	from := " FROM (" + query + "\n) q WHERE " + w + " IS NOT NULL"
	mark := string(rune(parameter))
	p := &polls{top: newStatement("SELECT " + text("max("+w+")") + ", " + kind("max("+w+")") + from)}
	for i := range p.all {
		for j := range p.all[i] {
			sql := "SELECT q.*, " + text(w) + ", " + kind(w) + ", " + text(k) + ", " + kind(k) + from
			switch {
			case i == 1 && key == watermark:
				sql += " AND " + w + " > " + mark
			case i == 1:
				sql += " AND (" + w + ", " + k + ") > (" + mark + ", " + mark + ")"
			}
			if j == 1 {
				sql += " AND " + w + " <= " + mark
			}
			sql += " ORDER BY " + w
			if key != watermark {
				sql += ", " + k
			}
			p.all[i][j] = newStatement(sql + " LIMIT " + strconv.Itoa(limit))
		}
	}
	return p
}

// polls implements database. PostgreSQL reads its own text back as whatever it is compared with.
func (*postgres) polls(query, watermark, key string, limit int) *polls {
	p := newPolls(query, watermark, key, limit, func(c string) string { return c + "::text" }, func(string) string { return "''::text" })
	p.kind = func(text, _ string) penstock.Value { return penstock.StringValue(text) }
	return p
}

// polls implements database.
func (*lite) polls(query, watermark, key string, limit int) *polls {
	p := newPolls(query, watermark, key, limit,
		func(c string) string {
			return "CASE typeof(" + c + ") WHEN 'real' THEN printf('%!.17g', " + c + ") ELSE CAST(" + c + " AS TEXT) END"
		},
		func(c string) string { return "typeof(" + c + ")" })
	p.kind = func(text, kind string) penstock.Value {
		switch kind {
		case "integer":
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				return penstock.IntValue(n)
			}
		case "real":
			if f, err := strconv.ParseFloat(text, 64); err == nil {
				return penstock.DoubleValue(f)
			}
		}
		return penstock.StringValue(text)
	}
	return p
}
