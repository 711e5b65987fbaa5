package sql

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

// mariadb is a pool of connections to a server of MySQL or MariaDB. Its sessions speak standard SQL as the other databases do: names in "…" or `…`, texts in '…'
// without backslashes, all times in UTC; and what does not fit a column is an error.
type mariadb struct {
	db *sql.DB
	at string // for errors: the Connection and the server
}

const mySession = "SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,ONLY_FULL_GROUP_BY', time_zone = '+00:00'"

func newMySQL(c *ConnectionConfig, name string, env penstock.Env) (*mariadb, error) {
	var texts [3]string
	for i, t := range []penstock.Template{c.Host, c.Database, c.User} {
		var err error
		if texts[i], err = fixed(t, env); err != nil {
			return nil, err
		}
	}
	host := cmp.Or(texts[0], "localhost")
	cfg := mysql.NewConfig()
	cfg.User, cfg.DBName = cmp.Or(texts[2], "root"), texts[1]
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(host, strconv.Itoa(cmp.Or(c.Port, 3306)))
	if strings.HasPrefix(host, "/") {
		cfg.Net, cfg.Addr = "unix", host
	}
	cfg.Timeout = c.ConnectTimeout.Std()
	cfg.ClientFoundRows = true
	cfg.Collation = "utf8mb4_general_ci"
	cfg.ConnectionAttributes = "program_name:penstock"
	cfg.Logger = &mysql.NopLogger{}
	// The password and certificates are read for each connection: they change while penstock runs.
	err := cfg.Apply(mysql.BeforeConnect(func(_ context.Context, cfg *mysql.Config) (err error) {
		cfg.Passwd = c.Password.Reveal()
		cfg.TLS, err = tlsConfig(&c.TLS, host)
		return err
	}))
	if err != nil {
		return nil, config(name, err.Error(), "")
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, config(name, err.Error(), "")
	}
	statements := []string{mySession}
	if c.StatementTimeout > 0 { // in the words of either; each leaves those of the other out
		statements = append(statements, fmt.Sprintf("SET @penstock = 0 /*M!100101 , SESSION max_statement_time = %g */ /*!50708 , SESSION max_execution_time = %d */", c.StatementTimeout.Std().Seconds(), c.StatementTimeout.Std().Milliseconds()))
	}
	db := sql.OpenDB(session{connector, append(statements, c.Session...)})
	db.SetMaxOpenConns(max(c.Pool.Max, 1))
	db.SetMaxIdleConns(max(c.Pool.Max, 1))
	db.SetConnMaxIdleTime(c.Pool.Idle.Std())
	db.SetConnMaxLifetime(c.Pool.Lifetime.Std())
	return &mariadb{db: db, at: "connection " + name + " (" + cfg.Addr + ")"}, nil
}

// Close implements database.
func (p *mariadb) Close() error { return p.db.Close() }

// check implements database. Some statements (those that define things) can't be prepared: they are seen when they run.
func (p *mariadb) check(ctx context.Context, s *statement) error {
	st, err := p.db.PrepareContext(ctx, s.question)
	if err == nil {
		return st.Close()
	}
	var e *mysql.MySQLError
	if errors.As(err, &e) && e.Number == 1295 {
		return nil
	}
	return p.failure(ctx, err, true)
}

// run implements database.
func (p *mariadb) run(ctx context.Context, s *statement, args []penstock.Value, out *rows) (affected int64, err error) {
	values := make([]any, len(args))
	for i, v := range args {
		if values[i], err = myValue(v); err != nil {
			return 0, &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: fmt.Sprintf("value %d", i+1), Err: err}
		}
	}
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return 0, p.failure(ctx, err, true)
	}
	defer func() { _ = conn.Close() }() // back to the pool
	for try := 0; ; try++ {
		res, err := conn.QueryContext(ctx, s.question, values...)
		if err == nil {
			err = takeMySQL(res, out)
			err = errors.Join(err, res.Close())
		}
		if err == nil {
			break
		}
		if try == 0 && !s.writes && brokenMySQL(ctx, err) { // the connection lay in the pool while the server was started anew
			_ = conn.Close()
			if conn, err = p.db.Conn(ctx); err != nil {
				return 0, p.failure(ctx, err, true)
			}
			if out != nil {
				out.reset(out.text)
			}
			continue
		}
		return 0, p.failure(ctx, err, false)
	}
	if s.changes {
		if err := conn.QueryRowContext(ctx, "SELECT ROW_COUNT()").Scan(&affected); err != nil {
			return 0, p.failure(ctx, err, false)
		}
		affected = max(affected, 0)
	}
	return affected, nil
}

// brokenMySQL says that an error is that of a connection which has broken.
func brokenMySQL(ctx context.Context, err error) bool {
	var e *mysql.MySQLError
	var known *penstock.Error
	return ctx.Err() == nil && !errors.As(err, &e) && !errors.As(err, &known) && !errors.Is(err, errMoreRows) && !errors.Is(err, errLarge)
}

// takeMySQL reads a result. Of the texts behind each row the second and the fourth are the name of a column's type.
func takeMySQL(res *sql.Rows, out *rows) error {
	names, err := res.Columns()
	if err != nil {
		return err
	}
	if len(names) == 0 || out == nil {
		for res.Next() {
		}
		return res.Err()
	}
	declared, err := res.ColumnTypes()
	if err != nil {
		return err
	}
	if err := out.columns(names); err != nil {
		return err
	}
	kinds := make([]string, len(names))
	for i, d := range declared {
		kinds[i] = d.DatabaseTypeName()
	}
	cells, into := make([]any, len(names)), make([]any, len(names))
	for i := range cells {
		into[i] = &cells[i]
	}
	shown := len(names) - out.hidden
	for res.Next() {
		if err := res.Scan(into...); err != nil {
			return err
		}
		if err := out.begin(); err != nil {
			return err
		}
		for i, cell := range cells {
			if i >= shown {
				out.extra = append(out.extra, hiddenMySQL(cell, kinds[i], (i-shown)%2 == 1))
				continue
			}
			out.key(i)
			if out.text, err = appendMySQL(out.text, cell, kinds[i], out.wants[i]); err != nil {
				return &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: "column " + names[i], Err: err}
			}
		}
		out.end()
	}
	return res.Err()
}

func hiddenMySQL(cell any, kind string, isKind bool) []byte {
	if isKind {
		return []byte(kind)
	}
	switch v := cell.(type) {
	case nil:
		return nil
	case []byte:
		return append([]byte{}, v...)
	}
	return fmt.Append(nil, cell)
}

// appendMySQL appends a cell as JSON. It comes as a number of Go, or as the server's text.
func appendMySQL(dst []byte, cell any, kind string, want *types.Type) ([]byte, error) {
	switch v := cell.(type) {
	case nil:
		return append(dst, "null"...), nil
	case int64:
		if kindOf(want) == types.Bool && (v == 0 || v == 1) {
			return strconv.AppendBool(dst, v == 1), nil
		}
		return appendNumber(dst, strconv.AppendInt(nil, v, 10), want), nil
	case uint64:
		return appendNumber(dst, strconv.AppendUint(nil, v, 10), want), nil
	case float32:
		return appendNumber(dst, strconv.AppendFloat(nil, float64(v), 'g', -1, 32), want), nil
	case float64:
		if k := kindOf(want); k == types.Decimal || k == types.String {
			return appendNumber(dst, appendFloat(nil, v), want), nil
		}
		return appendFloat(dst, v), nil
	case string:
		return appendMySQL(dst, []byte(v), kind, want)
	case []byte:
		return appendMyText(dst, v, kind, want)
	}
	return dst, fmt.Errorf("a value of type %T", cell)
}

func appendMyText(dst, text []byte, kind string, want *types.Type) ([]byte, error) {
	switch kind {
	case "DECIMAL", "TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT", "YEAR", "UNSIGNED TINYINT", "UNSIGNED SMALLINT", "UNSIGNED MEDIUMINT", "UNSIGNED INT", "UNSIGNED BIGINT":
		return appendNumber(dst, text, want), nil
	case "BIT":
		n := uint64(0)
		for _, c := range text {
			n = n<<8 | uint64(c)
		}
		if kindOf(want) == types.Bool && n <= 1 {
			return strconv.AppendBool(dst, n == 1), nil
		}
		return appendNumber(dst, strconv.AppendUint(nil, n, 10), want), nil
	case "JSON":
		return appendText(dst, text, &types.Type{Kind: types.Union}), nil
	case "DATETIME", "TIMESTAMP":
		if i := bytes.IndexByte(text, '.'); i > 0 { // it has as many digits as the column
			text = bytes.TrimRight(bytes.TrimRight(text, "0"), ".")
		}
		return appendTime(dst, string(text)), nil
	case "BLOB", "BINARY", "VARBINARY", "TINYBLOB", "MEDIUMBLOB", "LONGBLOB", "GEOMETRY":
		return appendBytes(dst, text), nil
	}
	return appendText(dst, text, want), nil
}

// myTime is how a point in time is written: in UTC, without a zone.
const myTime = "2006-01-02 15:04:05.999999"

// myValue is a value as it is bound.
func myValue(v penstock.Value) (any, error) {
	v = v.Load(nil)
	switch v.Kind() {
	case penstock.KindNull, penstock.KindAbsent:
		return nil, nil
	case penstock.KindOptional:
		return myValue(v.Optional())
	case penstock.KindBool:
		return v.Bool(), nil
	case penstock.KindInt:
		return v.Int(), nil
	case penstock.KindUint:
		return v.Uint(), nil
	case penstock.KindDouble:
		return v.Double(), nil
	case penstock.KindBytes:
		return v.Bytes(), nil
	case penstock.KindTimestamp:
		return v.Timestamp().Format(myTime), nil
	}
	text, err := v.AppendText(nil)
	return string(text), err
}

// polls implements database.
func (*mariadb) polls(query, watermark, key string, limit int) *polls {
	p := newPolls(query, watermark, key, limit, func(c string) string { return "CAST(" + c + " AS CHAR)" }, func(c string) string { return c })
	p.kind = func(text, kind string) penstock.Value {
		if strings.HasSuffix(kind, "INT") || kind == "integer" { // compared with a text, a number would be taken for a double
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				return penstock.IntValue(n)
			}
			if n, err := strconv.ParseUint(text, 10, 64); err == nil {
				return penstock.UintValue(n)
			}
		}
		return penstock.StringValue(text)
	}
	return p
}

// myNumbers are what the server's errors mean, where the class of their SQLSTATE does not say it (MySQL: Server Error Message Reference; MariaDB: Error Codes).
var myNumbers = map[uint16]penstock.Code{
	1213: penstock.Unavailable, 1205: penstock.Unavailable, // deadlock, a lock that is held too long
	1020: penstock.Unavailable,                                                                                                                                             // the row has changed
	1040: penstock.Unavailable, 1203: penstock.Unavailable, 1226: penstock.Unavailable, 1041: penstock.Unavailable, 1037: penstock.Unavailable, 1038: penstock.Unavailable, // too many connections, too little memory
	1053: penstock.Unavailable, 1077: penstock.Unavailable, 1079: penstock.Unavailable, 1317: penstock.Unavailable, 1927: penstock.Unavailable, 3169: penstock.Unavailable, // shutting down, killed
	1290: penstock.Unavailable, 1792: penstock.Unavailable, 1836: penstock.Unavailable, // read-only: a replica, or the primary has moved
	1021: penstock.Unavailable, 1114: penstock.Unavailable, 1028: penstock.Unavailable, 1030: penstock.Unavailable, // the disk is full
	1412: penstock.Unavailable, 1615: penstock.Unavailable, // the table has changed
	3024: penstock.Timeout, 1969: penstock.Timeout,
	1062: penstock.Conflict, 1022: penstock.Conflict, 1169: penstock.Conflict, 1586: penstock.Conflict,
	1153: penstock.TooLarge, 1301: penstock.TooLarge,
	1044: penstock.Unauthenticated, 1045: penstock.Unauthenticated, 1698: penstock.Unauthenticated, 1130: penstock.Unauthenticated, 1129: penstock.Unauthenticated, 1251: penstock.Unauthenticated, 1820: penstock.Unauthenticated, 1862: penstock.Unauthenticated,
	1142: penstock.Forbidden, 1143: penstock.Forbidden, 1227: penstock.Forbidden, 1370: penstock.Forbidden, 1345: penstock.Forbidden,
	1049: penstock.Config, 1054: penstock.Config, 1146: penstock.Config, 1064: penstock.Config, 1136: penstock.Config, 1305: penstock.Config, 1193: penstock.Config, 1231: penstock.Config, 1665: penstock.Config,
	1048: penstock.Unprocessable, 1216: penstock.Unprocessable, 1217: penstock.Unprocessable, 1264: penstock.Unprocessable, 1265: penstock.Unprocessable, 1292: penstock.Unprocessable, 1364: penstock.Unprocessable, 1366: penstock.Unprocessable, 1367: penstock.Unprocessable,
	1406: penstock.Unprocessable, 1411: penstock.Unprocessable, 1451: penstock.Unprocessable, 1452: penstock.Unprocessable, 1690: penstock.Unprocessable, 3140: penstock.Unprocessable, 3819: penstock.Unprocessable, 4025: penstock.Unprocessable, 1365: penstock.Unprocessable,
	1644: penstock.Unprocessable, // SIGNAL
}

var myHints = map[uint16]string{
	1045: "check user and password", 1698: "check user and password", 1044: "GRANT the user what it needs", 1142: "GRANT the user what it needs", 1143: "GRANT the user what it needs",
	1049: "check `database`, or make it: CREATE DATABASE", 1146: "check the table's name; the tables of others are theirs to make", 1054: "check the column's name", 1064: `check the statement: names stand in "…", texts in '…'`,
	1040: "the server has no connection left: lower `pool: { max }`, or raise max_connections", 1290: "this server only reads: it is a replica, or the primary has moved", 1836: "this server only reads: it is a replica, or the primary has moved",
	1114: "the server's disk is full", 1021: "the server's disk is full", 1153: "raise max_allowed_packet of the server", 1205: "somebody holds the lock for long: end that transaction, or raise innodb_lock_wait_timeout",
	3024: "raise `statementTimeout`, or look at the query's plan", 1969: "raise `statementTimeout`, or look at the query's plan", 1130: "the server does not let this machine in: CREATE USER … @'%'",
	1665: "SET binlog_format = ROW on the server",
}

// myCode maps an error of the server.
func myCode(e *mysql.MySQLError) penstock.Code {
	if c, ok := myNumbers[e.Number]; ok {
		return c
	}
	if state := string(e.SQLState[:]); state != "HY000" && state != "\x00\x00\x00\x00\x00" {
		return codeOf(state)
	}
	return penstock.Internal
}

// failure makes an Error of what the driver says. connecting says that nothing was asked yet.
func (p *mariadb) failure(ctx context.Context, err error, connecting bool) error {
	if err == nil {
		return nil
	}
	var known *penstock.Error
	if errors.As(err, &known) || errors.Is(err, errMoreRows) || errors.Is(err, errLarge) {
		return err
	}
	if ctx.Err() != nil {
		return &penstock.Error{Code: penstock.CodeOf(context.Cause(ctx)), Op: "sql", Path: p.at, Err: context.Cause(ctx), Unsent: connecting}
	}
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		code := myCode(e)
		return &penstock.Error{Code: code, Op: "sql", Path: p.at, Err: errors.New(myMessage(e)), Hint: myHints[e.Number], Unsent: e.Number != 1053 && e.Number != 1927}
	}
	out := &penstock.Error{Code: penstock.Unavailable, Op: "sql", Path: p.at, Err: err, Unsent: connecting || errors.Is(err, driver.ErrBadConn)}
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		out.Hint = "the server's certificate is not trusted: give the authority that it comes from in `tls: { ca }`, and the name in it in `serverName`"
	case errors.Is(err, mysql.ErrNoTLS):
		out.Code, out.Hint = penstock.Config, "the server has no TLS: give it a certificate, or say `tls: { mode: disable }`"
	case errors.Is(err, mysql.ErrPktTooLarge):
		out.Code = penstock.TooLarge
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, io.ErrUnexpectedEOF):
		out.Err = errors.New("the connection was lost")
	case connecting:
		out.Hint = "see that the server runs and can be reached"
	}
	return out
}

// myMessage is what the server says, without the values of a row that it quotes.
func myMessage(e *mysql.MySQLError) string {
	text := e.Message
	for _, mark := range []string{"Duplicate entry '", "value: '", "value '"} {
		before, rest, ok := strings.Cut(text, mark)
		if !ok {
			continue
		}
		end := strings.LastIndex(rest, "' for ")
		if end < 0 {
			end = strings.LastIndexByte(rest, '\'')
		}
		if end >= 0 {
			text = before + mark + "…" + rest[end:]
		}
	}
	return fmt.Sprintf("%s (error %d)", text, e.Number)
}

// myInstant writes the text of a point in time as a column takes it: without its zone, in UTC.
func myInstant(text string) string {
	if len(text) < len("2006-01-02T15:04:05Z") || text[10] != 'T' {
		return text
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return text
	}
	return at.UTC().Format(myTime)
}
