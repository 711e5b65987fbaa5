package sql

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

const (
	pgColumns = `SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid, a.attnotnull,
	a.atthasdef OR a.attidentity = 'd', a.attgenerated <> '' OR a.attidentity = 'a', t.typcategory
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

	// Only these may decide a conflict: whole, valid, not deferred.
	pgUnique = `SELECT i.indexrelid, a.attname
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1])
WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY 1`

	pgLike = `SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables
WHERE lower(tablename) = lower($1) AND schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 LIMIT 5`
)

// table implements database.
func (p *postgres) table(ctx context.Context, name []string) (*table, error) {
	var t *table
	err := p.again(ctx, func(c *pgx.Conn) error {
		t = &table{quoted: quoteAll(name, "."), dialect: postgresDialect}
		ask := func(query, arg string) ([][][]byte, error) {
			res := c.PgConn().ExecParams(ctx, query, [][]byte{[]byte(arg)}, nil, nil, nil).Read()
			return res.Rows, res.Err
		}
		cols, err := ask(pgColumns, t.quoted)
		if err != nil {
			return err
		}
		if len(cols) == 0 {
			like, err := ask(pgLike, name[len(name)-1])
			if err != nil {
				return err
			}
			for _, l := range like {
				t.like = append(t.like, string(l[0]))
			}
			return nil
		}
		for _, r := range cols {
			col := column{name: string(r[0]), typ: string(r[1]), notNull: isTrue(r[3]), preset: isTrue(r[4]), computed: isTrue(r[5])}
			oid, err := strconv.ParseUint(string(r[2]), 10, 32)
			if err != nil {
				return err
			}
			if col.pg, err = p.types.of(ctx, c, uint32(oid)); err != nil {
				return err
			}
			col.class = pgClass(col.pg, r[6])
			t.columns = append(t.columns, col)
		}
		uniques, err := ask(pgUnique, t.quoted)
		last := ""
		for _, u := range uniques {
			if string(u[0]) != last {
				last = string(u[0])
				t.unique = append(t.unique, nil)
			}
			t.unique[len(t.unique)-1] = append(t.unique[len(t.unique)-1], string(u[1]))
		}
		return err
	})
	return t, err
}

func isTrue(text []byte) bool { return len(text) == 1 && text[0] == 't' }

// pgClass tells what a type takes, by what it is made of and its category (pg_type.typcategory).
func pgClass(t pgType, category []byte) class {
	if t.elem != 0 {
		return classArray
	}
	switch t.oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		return classInt
	case pgtype.Float4OID, pgtype.Float8OID:
		return classFloat
	case pgtype.NumericOID:
		return classNumeric
	case pgtype.BoolOID:
		return classBool
	case pgtype.ByteaOID:
		return classBytes
	case pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.DateOID, pgtype.TimeOID, pgtype.TimetzOID:
		return classTime
	case pgtype.IntervalOID:
		return classInterval
	case pgtype.JSONOID, pgtype.JSONBOID:
		return classJSON
	}
	if len(category) == 1 && category[0] == 'S' {
		return classText
	}
	return classOther
}
