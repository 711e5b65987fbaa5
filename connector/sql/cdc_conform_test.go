package sql

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
)

// rowsOnly gives the rows of changes alone, as the suites put them in.
type rowsOnly struct{ *cdcSource }

func (s *rowsOnly) Read(ctx context.Context, into *penstock.Batch) error {
	from := len(into.Msgs)
	err := s.cdcSource.Read(ctx, into)
	for _, m := range into.Msgs[from:] {
		text := string(m.Body.Original())
		_, row, _ := strings.Cut(text, `"after":`)
		row = strings.TrimSuffix(row, "}")
		row = strings.Replace(row, `,"text":null`, "", 1)
		m.Body.Reset(jsonview.JSON, into.Arena().Copy([]byte(row)))
	}
	return err
}

// fill puts the bodies of the suites into a table, each in a transaction of its own or all in one.
func (f *fixture) fill(t testing.TB, table string, alone bool, bodies []string) {
	t.Helper()
	if len(bodies) == 0 {
		return
	}
	var b strings.Builder
	for i, body := range bodies {
		switch {
		case i == 0 && !alone:
			b.WriteString("INSERT INTO " + table + " (n, text) VALUES ")
		case i == 0:
			b.WriteString("DO $do$ BEGIN ")
		case !alone:
			b.WriteByte(',')
		}
		if alone {
			b.WriteString("INSERT INTO " + table + " (n, text) VALUES ")
		}
		fmt.Fprintf(&b, `('%s'::jsonb -> 'n', '%s'::jsonb ->> 'text')`, body, body)
		if alone {
			b.WriteString("; COMMIT; ")
		}
	}
	if alone {
		b.WriteString("END $do$")
	}
	f.exec(t, b.String())
}

func TestCDCConforms(t *testing.T) {
	for _, snapshot := range []string{snapshotNever, snapshotInitial} {
		t.Run(snapshot, func(t *testing.T) {
			f := onLogical(t)
			n := 0
			spec := (&CDCConfig{Snapshot: snapshot}).SpecFor(cdcSpec)
			conform.Source(t, conform.SourceHarness{
				Spec:     spec,
				Features: conform.SourceFeatures{Finite: true, Ordered: snapshot == snapshotNever, Resumes: snapshot == snapshotNever},
				Fill: func(t testing.TB, bodies []string) func(testing.TB) penstock.Source {
					n++
					table := fmt.Sprintf("c%d", n)
					c := CDCConfig{Slot: "slot_" + table, Tables: []string{table}, Snapshot: snapshot}
					f.exec(t, "CREATE TABLE "+table+" (n jsonb, text text, id serial PRIMARY KEY)", "CREATE PUBLICATION slot_"+table+" FOR TABLE "+table+" (n, text, id)")
					f.exec(t, "ALTER TABLE "+table+" REPLICA IDENTITY FULL")
					f.exec(t, "ALTER PUBLICATION slot_"+table+" SET TABLE "+table+" (n, text)")
					half := len(bodies)
					if snapshot == snapshotNever {
						f.exec(t, "SELECT pg_create_logical_replication_slot('"+c.Slot+"', 'pgoutput')")
					} else {
						half /= 2
					}
					f.fill(t, table, false, bodies[:half])
					once := *f
					once.env.Once = true
					first := true
					return func(t testing.TB) penstock.Source {
						s := once.cdc(t, c)
						if first && snapshot == snapshotInitial { // the other half is changed after the snapshot
							first = false
							return &halfLater{rowsOnly{s}, func() { f.fill(t, table, false, bodies[half:]) }}
						}
						return &rowsOnly{s}
					}
				},
			})
		})
	}
}

// halfLater does something once it is open.
type halfLater struct {
	rowsOnly
	then func()
}

func (s *halfLater) Open(ctx context.Context) error {
	err := s.rowsOnly.Open(ctx)
	if s.then != nil && err == nil {
		s.then()
		s.then = nil
		s.target, err = s.db.walEnd(ctx)
	}
	return err
}

func TestCDCBrokerConforms(t *testing.T) {
	uri := logicalURI(t)
	address, database, _ := strings.Cut(strings.SplitN(strings.Split(uri, "?")[0], "@", 2)[1], "/")
	beside := onPostgres(t, uri)
	dropSlots(t, beside)
	n := 0
	conform.Broker(t, conform.BrokerHarness{
		Spec: cdcSpec,
		New: func(t testing.TB) conform.BrokerMedium {
			n++
			table := fmt.Sprintf("b%d", n)
			beside.exec(t, "CREATE TABLE "+table+" (n jsonb, text text)", "ALTER TABLE "+table+" REPLICA IDENTITY FULL")
			f, proxy := through(t, address, database)
			c := CDCConfig{Slot: "slot_" + table, Tables: []string{table}, Snapshot: snapshotNever}
			if err := f.cdc(t, c).Open(t.Context()); err != nil { // makes the slot
				t.Fatal(err)
			}
			proxy.Cut()
			return conform.BrokerMedium{
				Put: func(t testing.TB, bodies []string) { beside.fill(t, table, true, bodies) },
				Source: func(t testing.TB) penstock.Source {
					return &rowsOnly{f.cdc(t, c)}
				},
				Die: func(t testing.TB, s penstock.Source) {
					beside.confirmed(t, c.Slot, s.(*rowsOnly).sureNow())
					proxy.Cut()
				},
				Cut: func(testing.TB) { proxy.Cut() },
			}
		},
	})
}

// sureNow is how far everything is settled.
func (s *cdcSource) sureNow() lsn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sure
}

// confirmed waits until the server knows that everything before at is settled.
func (f *fixture) confirmed(t testing.TB, slot string, at lsn) {
	t.Helper()
	for range 1000 {
		if r := f.rows(t, "SELECT confirmed_flush_lsn >= '"+at.String()+"' AS done FROM pg_replication_slots WHERE slot_name = '"+slot+"'"); len(r) == 1 && r[0] == `{"done":true}` {
			return
		}
		fired, _ := penstock.SystemClock{}.NewTimer(10 * time.Millisecond)
		<-fired
	}
	t.Fatal("the server does not hear that everything before " + at.String() + " is settled")
}
