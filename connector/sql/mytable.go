package sql

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"penstock.dev/penstock/types"
)

var mysqlDialect = dialect{
	types: map[types.Kind]string{types.Int: "bigint", types.Uint: "bigint unsigned", types.Double: "double", types.Decimal: "decimal(38,10)", types.Bool: "boolean", types.String: "varchar(255)", types.Bytes: "longblob",
		types.Timestamp: "datetime(6)", types.Duration: "varchar(64)", types.List: "json", types.Map: "json", types.Object: "json"},
	alter:    "ALTER TABLE %s MODIFY COLUMN %s %s",
	anyIndex: true,
}

const (
	myColumns = `SELECT column_name, column_type, data_type, is_nullable = 'NO', coalesce(column_default, 'NULL') <> 'NULL' OR extra LIKE '%auto_increment%' OR extra LIKE '%DEFAULT_GENERATED%',
	extra LIKE '%GENERATED%' AND extra NOT LIKE '%DEFAULT_GENERATED%'
FROM information_schema.columns WHERE table_schema = coalesce(?, database()) AND BINARY table_name = BINARY ? ORDER BY ordinal_position`

	// Sorted and sifted here: MariaDB 10.11 has ended twice in the sort of a query of this table with a subquery and an ORDER BY (create_sort_index).
	myUnique = `SELECT index_name, coalesce(column_name, ''), seq_in_index, sub_part IS NOT NULL OR column_name IS NULL
FROM information_schema.statistics WHERE table_schema = coalesce(?, database()) AND BINARY table_name = BINARY ? AND non_unique = 0`

	myEngine = `SELECT coalesce(t.engine, ''), coalesce(e.transactions, 'YES') FROM information_schema.tables t LEFT JOIN information_schema.engines e ON e.engine = t.engine
WHERE t.table_schema = coalesce(?, database()) AND BINARY t.table_name = BINARY ?`

	myChecks = `SELECT check_clause FROM information_schema.check_constraints WHERE constraint_schema = coalesce(?, database()) AND BINARY table_name = BINARY ?`

	myLike = `SELECT table_name FROM information_schema.tables WHERE table_schema = coalesce(?, database()) AND lower(table_name) = lower(?) LIMIT 5`
)

// table implements database.
func (p *mariadb) table(ctx context.Context, name []string) (*table, error) {
	t := &table{quoted: quoteAll(name, "."), dialect: mysqlDialect}
	var schema any
	bare, maria := name[0], false
	if len(name) == 2 {
		schema, bare = name[0], name[1]
	}
	err := p.ask(ctx, myColumns, []any{schema, bare}, func(scan func(...any) error) error {
		var c column
		var data string
		if err := scan(&c.name, &c.typ, &data, &c.notNull, &c.preset, &c.computed); err != nil {
			return err
		}
		c.class = myClass(strings.ToLower(data), strings.ToLower(c.typ))
		t.columns = append(t.columns, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(t.columns) == 0 {
		return t, p.ask(ctx, myLike, []any{schema, bare}, func(scan func(...any) error) error {
			var like string
			err := scan(&like)
			t.like = append(t.like, like)
			return err
		})
	}
	// MariaDB's JSON is a long text with a check.
	err = p.ask(ctx, "SELECT version() LIKE '%MariaDB%'", nil, func(scan func(...any) error) error { return scan(&maria) })
	if err == nil && maria {
		err = p.ask(ctx, myChecks, []any{schema, bare}, func(scan func(...any) error) error {
			var clause string
			err := scan(&clause)
			for i := range t.columns {
				if c := &t.columns[i]; strings.NewReplacer("`", "", `"`, "").Replace(clause) == "json_valid("+c.name+")" {
					c.class, c.typ = classJSON, "json"
				}
			}
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	if t.unique, err = p.unique(ctx, schema, bare); err != nil {
		return nil, err
	}
	return t, p.ask(ctx, myEngine, []any{schema, bare}, func(scan func(...any) error) error {
		var engine, transactions string
		err := scan(&engine, &transactions)
		if transactions != "YES" {
			t.plain = engine
		}
		return err
	})
}

// unique gives the columns of each unique index, in the order of the indexes' names. One of a part of a column, or of an expression, tells no rows apart
// by the columns alone: it is left out.
func (p *mariadb) unique(ctx context.Context, schema any, bare string) (out [][]string, err error) {
	type part struct {
		index, column string
		seq           int
		partial       bool
	}
	var parts []part
	err = p.ask(ctx, myUnique, []any{schema, bare}, func(scan func(...any) error) error {
		var c part
		err := scan(&c.index, &c.column, &c.seq, &c.partial)
		parts = append(parts, c)
		return err
	})
	slices.SortFunc(parts, func(a, b part) int { return cmp.Or(strings.Compare(a.index, b.index), a.seq-b.seq) })
	for len(parts) > 0 {
		n := slices.IndexFunc(parts, func(c part) bool { return c.index != parts[0].index })
		if n < 0 {
			n = len(parts)
		}
		if index := parts[:n]; !slices.ContainsFunc(index, func(c part) bool { return c.partial }) {
			columns := make([]string, n)
			for i, c := range index {
				columns[i] = c.column
			}
			out = append(out, columns)
		}
		parts = parts[n:]
	}
	return out, err
}

// ask runs a query of our own.
func (p *mariadb) ask(ctx context.Context, query string, args []any, row func(scan func(...any) error) error) error {
	for try := 0; ; try++ {
		res, err := p.db.QueryContext(ctx, query, args...)
		if err != nil && try == 0 && brokenMySQL(ctx, err) {
			continue
		}
		if err != nil {
			return p.failure(ctx, err, true)
		}
		for err == nil && res.Next() {
			err = row(res.Scan)
		}
		return p.failure(ctx, errors.Join(err, res.Err(), res.Close()), false)
	}
}

// myClass tells what a column takes.
func myClass(data, whole string) class {
	switch data {
	case "tinyint":
		if strings.HasPrefix(whole, "tinyint(1)") {
			return classAny // which is what boolean is: it takes numbers, too
		}
		return classInt
	case "smallint", "mediumint", "int", "bigint", "year", "bit":
		return classInt
	case "float", "double":
		return classFloat
	case "decimal":
		return classNumeric
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		return classText
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return classBytes
	case "datetime", "timestamp", "date", "time":
		return classTime
	case "json":
		return classJSON
	}
	return classOther
}
