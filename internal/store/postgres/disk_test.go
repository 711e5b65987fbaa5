//go:build linux

package postgres_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// TestTheServersDiskIsFull: the disk of the tables, or that of the log, is full. The store ends with an error that names the disk, and does not open as long as it can't write; nothing
// that was acknowledged is lost, nothing is there twice, and with room it goes on. PostgreSQL refuses the statement where a table can't grow; where its log can't, all its processes end
// (PANIC), in the middle of a commit perhaps, and so does its recovery.
func TestTheServersDiskIsFull(t *testing.T) {
	for _, folder := range []string{"base", "pg_wal"} {
		t.Run(folder, func(t *testing.T) {
			server, disk := service.NewPostgresOnSmallDisk(t, folder, 80, "fsync=off") // no machine dies
			begin := func() *postgres.DB {
				return open(t, server.URI("postgres"), func(o *postgres.Options) { o.Lease = 2 * time.Second })
			}
			a := &appender{random: rand.New(rand.NewPCG(1, 2))}
			d := begin()
			for range 2 {
				for range 20 {
					if err := a.append(d); err != nil {
						t.Fatal(err)
					}
				}
				disk.Fill(t)
				var err error
				for i := 0; err == nil && i < 1000; i++ { // what is left in its files is taken first
					err = a.append(d)
				}
				if penstock.CodeOf(err) != penstock.Unavailable || !strings.Contains(err.Error(), "No space left on device") || !strings.Contains(err.Error(), "the disk of the server is full") {
					t.Errorf("with a full disk: %v", err)
				}
				closed(t, d)
				// It may open, if it finds the little room that this takes; but it can't write much.
				if d, err = postgres.Open(t.Context(), postgres.Options{Connection: server.URI("postgres"), Lease: 2 * time.Second, Volatile: true}); err == nil {
					for i := 0; err == nil && i < 1000; i++ {
						err = a.append(d)
					}
					closed(t, d)
				}
				if penstock.CodeOf(err) != penstock.Unavailable || strings.Contains(err.Error(), "No space left") != strings.Contains(err.Error(), "the disk of the server is full") {
					t.Errorf("opened with a full disk: %v", err)
				}
				disk.Free(t)
				d = begin()
				if err := a.append(d); err != nil {
					t.Errorf("with room again: %v", err)
				}
				holds(t, log(t, d), a.acknowledged)
			}
			closed(t, d)
		})
	}
}

// appender appends what can't be compressed, and keeps the ledger.
type appender struct {
	random       *rand.Rand
	n            int
	acknowledged []string
}

func (a *appender) append(d *postgres.DB) error {
	text := fmt.Appendf(nil, "%d ", a.n)
	for range 4 << 10 {
		text = fmt.Appendf(text, "%016x", a.random.Uint64())
	}
	a.n++
	err := do(d, appendText(string(text)))
	if err == nil {
		a.acknowledged = append(a.acknowledged, string(text))
	}
	return err
}

// TestAPanicInACommit: a server whose log finds no room for its next segment ends in the middle of a commit whose record is in the one before: it says PANIC, and has the commit when it has
// recovered. The store learns that, as after a lost connection: the commit is acknowledged, and there once.
func TestAPanicInACommit(t *testing.T) {
	uri, proxy := through(t, service.Postgres(t))
	d := open(t, uri, nil)
	defer closed(t, d)
	if err := do(d, appendText("before")); err != nil {
		t.Fatal(err)
	}
	complete, err := (&pgproto3.CommandComplete{CommandTag: []byte("COMMIT")}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	panics, err := (&pgproto3.ErrorResponse{Severity: "PANIC", SeverityUnlocalized: "PANIC", Code: "53100", Message: "could not write to file \"pg_wal/xlogtemp.1\": No space left on device"}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	proxy.Forge(func(got []byte) []byte {
		before, _, ok := bytes.Cut(got, complete)
		if !ok {
			return nil
		}
		return append(bytes.Clone(before), panics...)
	})
	for _, text := range []string{"in the middle", "after"} {
		if err := do(d, appendText(text)); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(log(t, d), ", "); got != "before, in the middle, after" {
		t.Error(got)
	}
}
