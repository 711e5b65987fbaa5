package sql

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func TestMySQLSinkConforms(t *testing.T) {
	t.Parallel()
	server := service.NewMariaDB(t, "innodb-flush-log-at-trx-commit=2")
	inbox := SinkConfig{Inbox: newInbox()}
	for mode, c := range map[string]SinkConfig{modeInsert: {}, modeUpsert: {Key: []string{"n"}}, modeIgnore: {Key: []string{"n"}, Mode: modeIgnore}, "inbox": inbox} {
		t.Run(mode, func(t *testing.T) {
			conform.Sink(t, conform.SinkHarness{
				New: func(t testing.TB) conform.SinkMedium {
					proxy := service.NewProxy(t, server.Address())
					f := onMariaDB(t, proxy.Port(), server.Database(t))
					// The key is a text: JSON is one, and can't be a key.
					f.exec(t, `CREATE TABLE m (seq INTEGER PRIMARY KEY AUTO_INCREMENT, n varchar(200) UNIQUE CHECK (n <> 'refused'), text TEXT)`)
					c.Connection, c.Table = f.ref, "m"
					m := conform.SinkMedium{
						Sink: func(t testing.TB) penstock.Sink {
							s, err := newSink(c, f.env)
							if err != nil {
								t.Fatal(err)
							}
							return s
						},
						Written: func(t testing.TB) (out []string) {
							for _, r := range f.rows(t, "SELECT n, text FROM m ORDER BY seq") {
								r = strings.Replace(r, `,"text":null`, "", 1)
								if head, rest, _ := strings.Cut(r, `"n":"`); len(rest) > 0 && rest[0] >= '0' && rest[0] <= '9' { // the suite has numbers
									number, tail, _ := strings.Cut(rest, `"`)
									r = head + `"n":` + number + tail
								}
								out = append(out, r)
							}
							return out
						},
						Break: func(testing.TB) {
							proxy.Refuse(true)
							proxy.Cut()
						},
					}
					if mode == modeUpsert || mode == "inbox" {
						m.Crash = func(t testing.TB) {
							server.Kill(t)
							server.Start(t)
						}
					}
					return m
				},
				Features: conform.SinkFeatures{Continues: true, Knows: mode == "inbox"},
				Refused:  `{"n":"refused"}`,
			})
		})
	}
}

// TestMySQLNothingIsLostOrDoubled: a server that is killed and comes back, connections that are cut anywhere, also behind a COMMIT that was sent. With an inbox, and by a key,
// each row is there exactly once, whatever the sink was told and told again.
func TestMySQLNothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	server := service.NewMariaDB(t, "innodb-flush-log-at-trx-commit=2")
	for _, mode := range []string{"inbox", modeUpsert} {
		t.Run(mode, func(t *testing.T) {
			name := server.Database(t)
			beside := onMariaDB(t, server.Port(), name)
			beside.exec(t, "CREATE TABLE t (id INTEGER NOT NULL, pass INTEGER NOT NULL)")
			c := SinkConfig{Table: "t"}
			if mode == modeUpsert {
				beside.exec(t, "CREATE UNIQUE INDEX u ON t (id)")
				c.Key = []string{"id"}
			} else {
				c.Inbox = newInbox()
			}
			proxy := service.NewProxy(t, server.Address())
			s := onMariaDB(t, proxy.Port(), name).mustSink(t, c, nil)
			const batches, size = 40, 50
			acknowledged := map[int]int{}
			for b := range batches {
				switch b % 8 {
				case 1:
					proxy.CutWhen(func(sent []byte) bool { return strings.Contains(string(sent), "\x03COMMIT") })
				case 3:
					proxy.CutWhen(func(sent []byte) bool { return strings.Contains(string(sent), "INSERT INTO \"t\"") })
				case 5:
					server.Kill(t)
					server.Start(t)
				case 7:
					proxy.Cut()
				}
				ids := make([]int, size)
				for i := range ids {
					ids[i] = b*size + i
				}
				for pass := 0; len(ids) > 0; pass++ {
					if pass > 50 {
						t.Fatal("it does not come through")
					}
					batch := conform.Batch(bodiesOf(ids, pass)...)
					for i, m := range batch.Msgs {
						m.Pos = penstock.Position{Stream: "s", Offset: int64(ids[i])}
					}
					failed := map[int]error{}
					if err := s.Write(t.Context(), batch); err != nil {
						failed = drive.BatchErrors(t, err)
					}
					var again []int
					for i, id := range ids {
						switch err := failed[i]; {
						case err == nil:
							acknowledged[id]++
						case penstock.CodeOf(err).Transient():
							again = append(again, id)
						default:
							t.Fatalf("row %d: %v", id, err)
						}
					}
					ids = again
				}
			}
			for id, n := range acknowledged {
				if n != 1 {
					t.Errorf("row %d was acknowledged %d times", id, n)
				}
			}
			compare(t, beside.rows(t, "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM t"), fmt.Sprintf(`{"n":%d,"ids":%d}`, batches*size, batches*size))
		})
	}
}

func bodiesOf(ids []int, pass int) (out []string) {
	for _, id := range ids {
		out = append(out, fmt.Sprintf(`{"id":%d,"pass":%d}`, id, pass))
	}
	return out
}

// TestMySQLNobodyKnows: a COMMIT that was not answered must not be tried again by itself where that could write a row twice.
func TestMySQLNobodyKnows(t *testing.T) {
	server, name := service.MariaDB(t)
	proxy := service.NewProxy(t, server.Address())
	f, beside := onMariaDB(t, proxy.Port(), name), onMariaDB(t, server.Port(), name)
	beside.exec(t, "CREATE TABLE t (id INTEGER)")
	s := f.mustSink(t, SinkConfig{Table: "t"}, nil)
	proxy.CutWhen(func(sent []byte) bool { return strings.Contains(string(sent), "\x03COMMIT") })
	drive.Code(t, drive.BatchErrors(t, s.Write(t.Context(), conform.Batch(`{"id":1}`)))[0], penstock.Internal, "can't say whether", "inbox: {}")
	proxy.CutWhen(func(sent []byte) bool { return strings.Contains(string(sent), "INSERT INTO") })
	err := drive.BatchErrors(t, s.Write(t.Context(), conform.Batch(`{"id":2}`)))[0]
	drive.Code(t, err, penstock.Unavailable)
	if !penstock.IsUnsent(err) {
		t.Error("nothing was written, and the error does not say so")
	}
	if err := s.Write(t.Context(), conform.Batch(`{"id":2}`)); err != nil {
		t.Errorf("the sink does not come back: %v", err)
	}
	compare(t, beside.rows(t, "SELECT count(*) AS n FROM t WHERE id = 2"), `{"n":1}`)
	insert := f.asks(t, CallConfig{Exec: statementOf("INSERT INTO t VALUES (${id})")})
	proxy.CutWhen(func(sent []byte) bool { return len(sent) > 4 && sent[4] == 0x17 }) // COM_STMT_EXECUTE
	if _, err := call(insert, `{"id":3}`); penstock.IsUnsent(err) || !penstock.CodeOf(err).Transient() {
		t.Errorf("the statement was sent, and its answer lost: %v", err)
	}
}

// TestMySQLFaults: what the server refuses, and what of it may be tried again.
func TestMySQLFaults(t *testing.T) {
	server, name := service.MariaDB(t)
	f := onMariaDB(t, server.Port(), name)
	f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, v varchar(3) NOT NULL, n INTEGER UNSIGNED)", "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)", "CREATE TABLE old (id INTEGER) ENGINE = MyISAM", "CREATE TABLE two (id INTEGER PRIMARY KEY AUTO_INCREMENT, mail varchar(50) UNIQUE)")
	exec := func(text string) error {
		st := newStatement(text)
		st.writes = true
		_, err := f.db(t).run(t.Context(), st, nil, nil)
		return err
	}
	for text, want := range map[string]penstock.Code{
		"INSERT INTO t VALUES (1, 'x', 1)": penstock.Conflict, "INSERT INTO t VALUES (3, 'long', 1)": penstock.Unprocessable, "INSERT INTO t VALUES (3, NULL, 1)": penstock.Unprocessable,
		"INSERT INTO t VALUES (3, 'x', -1)": penstock.Unprocessable, "INSERT INTO t (id) VALUES (3)": penstock.Unprocessable, "SELEC": penstock.Config, "SELECT * FROM nothing": penstock.Config,
		"SELECT nothing FROM t": penstock.Config, "SELECT * FROM mysql_no.t": penstock.Config, "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'": penstock.Unprocessable,
	} {
		drive.Code(t, exec(text), want)
	}
	if err := exec("INSERT INTO t VALUES (1, 'secret', 1)"); strings.Contains(fmt.Sprint(err), "secret") {
		t.Errorf("the error has the row in it: %v", err)
	}
	t.Run("no transactions", func(t *testing.T) {
		_, err := f.sinks(t, SinkConfig{Table: "old"}, nil)
		drive.Code(t, err, penstock.Config, "MyISAM", "ENGINE = InnoDB")
	})
	t.Run("another unique index", func(t *testing.T) {
		_, err := f.sinks(t, SinkConfig{Table: "two", Key: []string{"id"}}, nil)
		drive.Code(t, err, penstock.Config, "another unique index is on mail")
		f.mustSink(t, SinkConfig{Table: "two", Key: []string{"mail"}, Columns: penstock.DataTree{}}, object("mail:string!"))
	})
	t.Run("access", func(t *testing.T) {
		server.Exec(t, "CREATE OR REPLACE USER shop@'127.0.0.1' IDENTIFIED BY 'one'")
		c := onMariaDB(t, server.Port(), name)
		c.config.User = penstock.Template{Source: "shop"}
		c.config.Password = penstock.NewSecret("two")
		drive.Code(t, c.db(t).check(t.Context(), newStatement("SELECT 1")), penstock.Unauthenticated, "check user and password")
		c = onMariaDB(t, server.Port(), name)
		c.config.User, c.config.Password = penstock.Template{Source: "shop"}, penstock.NewSecret("one")
		drive.Code(t, c.db(t).check(t.Context(), newStatement("SELECT 1")), penstock.Unauthenticated, "GRANT")
		server.Exec(t, "GRANT SELECT ON "+name+".two TO shop@'127.0.0.1'")
		drive.Code(t, c.db(t).check(t.Context(), newStatement("DELETE FROM two")), penstock.Forbidden)
	})
	t.Run("nobody listens", func(t *testing.T) {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		err = onMariaDB(t, port, name).db(t).check(t.Context(), newStatement("SELECT 1"))
		drive.Code(t, err, penstock.Unavailable, "see that the server runs")
		if !penstock.IsUnsent(err) {
			t.Error("nothing was sent")
		}
	})
	t.Run("a lock that is held", func(t *testing.T) {
		held, err := f.db(t).(*mariadb).db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := held.ExecContext(t.Context(), "UPDATE t SET n = 7 WHERE id = 1"); err != nil {
			t.Fatal(err)
		}
		other := onMariaDB(t, server.Port(), name)
		other.config.Session = []string{"SET SESSION innodb_lock_wait_timeout = 1"}
		s := other.mustSink(t, SinkConfig{Table: "t", Key: []string{"id"}}, nil)
		drive.Code(t, drive.BatchErrors(t, s.Write(t.Context(), conform.Batch(`{"id":1,"v":"z"}`)))[0], penstock.Unavailable, "innodb_lock_wait_timeout")
		if err := held.Rollback(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("slow", func(t *testing.T) {
		c := onMariaDB(t, server.Port(), name)
		c.config.StatementTimeout = penstock.Duration(20 * time.Millisecond)
		_, err := call(c.asks(t, CallConfig{Query: statementOf("SELECT sleep(60) AS v")}), "{}")
		drive.Code(t, err, penstock.Timeout, "statementTimeout")
	})
}

// TestMySQLDeadlocks: writers that stand in each other's way come through by trying again.
func TestMySQLDeadlocks(t *testing.T) {
	server, name := service.MariaDB(t)
	f := onMariaDB(t, server.Port(), name)
	f.exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)")
	var wg sync.WaitGroup
	for who := range 4 {
		own := onMariaDB(t, server.Port(), name)
		s := own.mustSink(t, SinkConfig{Table: "t", Key: []string{"id"}}, nil)
		wg.Go(func() {
			for i := range 60 {
				var bodies []string
				for j := range 20 {
					bodies = append(bodies, fmt.Sprintf(`{"id":%d,"n":%d}`, (j*(who*2+1)+i)%20, who))
				}
				for {
					err := s.Write(t.Context(), conform.Batch(bodies...))
					if err == nil {
						break
					}
					var each *penstock.BatchError
					if !errors.As(err, &each) {
						t.Error(err)
						return
					}
					for _, e := range each.Errs {
						if !penstock.CodeOf(e).Transient() || !penstock.IsUnsent(e) {
							t.Error(e)
							return
						}
					}
				}
			}
		})
	}
	wg.Wait()
	compare(t, f.rows(t, "SELECT count(*) AS n FROM t"), `{"n":20}`)
}

// TestMySQLCells: what only this database has.
func TestMySQLCells(t *testing.T) {
	server, name := service.MariaDB(t)
	f := onMariaDB(t, server.Port(), name)
	f.exec(t, `CREATE TABLE t (id bigint unsigned PRIMARY KEY, b bit(10), o bit(1), y year, d decimal(30,10), f float, e enum('glad', 'sad'), s set('a', 'b'), t time(3), dt datetime(3), ts timestamp(6), da date, j json, v varbinary(9), x mediumtext)`,
		`INSERT INTO t VALUES (18446744073709551615, b'1000000001', 1, 2026, 12345678901234567890.5, 0.1, 'sad', 'a,b', '-01:02:03.5', '2026-11-23 17:20:39.25', '2026-11-23 17:20:39.123456', '2026-11-23', '{"a": [1]}', x'00ff', 'it''s "x\y"')`)
	want := `{"id":18446744073709551615,"b":513,"o":1,"y":2026,"d":12345678901234567890.5000000000,"f":0.1,"e":"sad","s":"a,b","t":"-01:02:03.500","dt":"2026-11-23T17:20:39.25Z","ts":"2026-11-23T17:20:39.123456Z","da":"2026-11-23","j":"{\"a\": [1]}","v":"AP8=","x":"it's \"x\\y\""}`
	compare(t, f.rows(t, "SELECT * FROM t"), want)
	// The same with values bound, which comes in another form; and a schema says what the texts are.
	asked := f.asks(t, CallConfig{Query: statementOf("SELECT * FROM t WHERE id = ${id}")})
	if got, err := call(asked, `{"id":18446744073709551615}`); err != nil || got != want {
		t.Errorf("%s, %v", got, err)
	}
	f.env.Type = object("o:bool", "j:object", "d:decimaltext")
	asked = f.asks(t, CallConfig{Query: statementOf("SELECT o, j, d FROM t WHERE id = ${id}")})
	if got, err := call(asked, `{"id":18446744073709551615}`); err != nil || got != `{"o":true,"j":{"a": [1]},"d":"12345678901234567890.5000000000"}` {
		t.Errorf("%s, %v", got, err)
	}
	// And back.
	f.env.Type = nil
	s := f.mustSink(t, SinkConfig{Table: "t", Key: []string{"id"}}, nil)
	if err := s.Write(t.Context(), conform.Batch(`{"id":18446744073709551614,"b":513,"o":true,"y":2026,"d":0.1,"f":2.5,"e":"glad","s":"b","t":"10:00:00","dt":"2026-11-23T18:20:39.25+01:00","ts":"2026-11-23T17:20:39Z","da":"2026-11-23","j":{"a":1},"v":"AP8=","x":12.50}`)); err != nil {
		t.Fatal(err)
	}
	compare(t, f.rows(t, "SELECT b, o, d, dt, ts, j, v, x FROM t WHERE id = 18446744073709551614"), `{"b":513,"o":1,"d":0.1000000000,"dt":"2026-11-23T17:20:39.25Z","ts":"2026-11-23T17:20:39Z","j":"{\"a\":1}","v":"AP8=","x":"12.50"}`)
	errs := drive.BatchErrors(t, s.Write(t.Context(), conform.Batch(`{"id":1,"e":"angry"}`, `{"id":2,"dt":"tomorrow"}`, `{"id":3,"j":"x"}`, `{"id":-1}`, `{"id":"7; DROP TABLE t"}`)))
	for _, i := range []int{0, 1, 3, 4} {
		drive.Code(t, errs[i], penstock.Unprocessable)
	}
	if len(errs) != 4 {
		t.Errorf("%v", errs)
	}
}

// TestMySQLNames: names and values can't become statements.
func TestMySQLNames(t *testing.T) {
	server, name := service.MariaDB(t)
	f := onMariaDB(t, server.Port(), name)
	f.exec(t, "CREATE TABLE `a``b\"c; DROP` (`id` INTEGER PRIMARY KEY, `va\"l``ue` TEXT)")
	table := "\"a`b\"\"c; DROP\""
	s := f.mustSink(t, SinkConfig{Table: table, Key: []string{"id"}}, nil)
	evil := "\\' OR 1=1; -- \" `"
	if err := s.Write(t.Context(), conform.Batch(`{"id":1,"va\"l`+"`"+`ue":`+strconv.Quote(evil)+`}`)); err != nil {
		t.Fatal(err)
	}
	r := &rows{}
	if _, err := f.db(t).run(t.Context(), newStatement(`SELECT * FROM `+quote("a`b\"c; DROP")), nil, r); err != nil {
		t.Fatal(err)
	}
	compare(t, []string{string(r.row(0))}, `{"id":1,"va\"l`+"`"+`ue":`+strconv.Quote(evil)+`}`)
}

// TestMySQLTLS: a server with a certificate, verified, and one without any.
func TestMySQLTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	server := service.NewMariaDBTLS(t, []byte(cert), []byte(key))
	plain, name := service.MariaDB(t)
	ask := func(port int, database string, tls TLS) error {
		f := onMariaDB(t, port, database)
		f.config.TLS = tls
		db, err := connect(f.ref, f.env)
		if err != nil {
			return err
		}
		r := &rows{}
		_, err = db.run(t.Context(), newStatement("SELECT variable_value <> '' AS v FROM information_schema.session_status WHERE variable_name = 'SSL_CIPHER'"), nil, r)
		if err == nil && tls.Mode != "disable" && !slices.Equal([]string{string(r.row(0))}, []string{`{"v":1}`}) {
			t.Error("it is not encrypted")
		}
		return err
	}
	other, _ := certificate(t)
	secure := server.Database(t)
	drive.Code(t, ask(server.Port(), secure, TLS{Mode: "verify", CA: penstock.NewSecret(cert)}), "")
	drive.Code(t, ask(server.Port(), secure, TLS{Mode: "require"}), "")
	drive.Code(t, ask(server.Port(), secure, TLS{CA: penstock.NewSecret(other)}), penstock.Unavailable, "not trusted")
	drive.Code(t, ask(server.Port(), secure, TLS{CA: penstock.NewSecret(cert), ServerName: "db.example.com"}), penstock.Unavailable, "not trusted")
	drive.Code(t, ask(plain.Port(), name, TLS{Mode: "require"}), penstock.Config, "tls: { mode: disable }")
}

func TestMySQLCodes(t *testing.T) {
	for number, want := range map[uint16]penstock.Code{1213: penstock.Unavailable, 1205: penstock.Unavailable, 1062: penstock.Conflict, 1045: penstock.Unauthenticated, 1142: penstock.Forbidden, 1146: penstock.Config, 1406: penstock.Unprocessable, 3024: penstock.Timeout, 9999: penstock.Internal} {
		if got := myCode(&mysql.MySQLError{Number: number}); got != want {
			t.Errorf("%d is %s, want %s", number, got, want)
		}
	}
	if got := myCode(&mysql.MySQLError{Number: 9999, SQLState: [5]byte{'4', '0', '0', '0', '1'}}); got != penstock.Unavailable {
		t.Error(got)
	}
}

// TestUniqueIndexesOfMariaDB: columns stand in the index's order, and an index that tells no rows apart by them is left out.
func TestUniqueIndexesOfMariaDB(t *testing.T) {
	s, database := service.MariaDB(t)
	f := onMariaDB(t, s.Port(), database)
	f.exec(t, "CREATE TABLE t (a INTEGER PRIMARY KEY, b varchar(50), c INTEGER, d INTEGER, UNIQUE z (d, c), UNIQUE front (b(10), c), UNIQUE k (c, d, a), INDEX plain (c))")
	table, err := f.db(t).table(t.Context(), []string{"t"})
	if err != nil {
		t.Fatal(err)
	}
	if want := [][]string{{"a"}, {"c", "d", "a"}, {"d", "c"}}; !slices.EqualFunc(table.unique, want, slices.Equal) {
		t.Errorf("the unique indexes are on %v, want %v", table.unique, want)
	}
}
