package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock/internal/store"
	leases "penstock.dev/penstock/internal/store/lease/conform"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// TestLeases holds leases on parts to the suite of all implementations.
func TestLeases(t *testing.T) {
	var uri string
	leases.Run(t, leases.Harness{
		Open: func(t *testing.T) (a, b leases.Replica) {
			uri = service.Postgres(t)
			one := func() leases.Replica {
				d := open(t, uri, nil)
				t.Cleanup(func() {
					if err := d.Close(); err != nil {
						t.Error(err)
					}
				})
				return leases.Replica{Role: d.Leases(), Store: d}
			}
			return one(), one()
		},
		Pass: func(d time.Duration) { pass(t, uri, d) },
	})
}

// pass lets the clock of the server go on.
func pass(t *testing.T, uri string, d time.Duration) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), uri)
	if err == nil {
		_, err = c.Exec(t.Context(), "SELECT pg_sleep($1)", d.Seconds())
		err = errors.Join(err, c.Close(t.Context()))
	}
	if err != nil {
		t.Error(err)
	}
}

// TestWhoHoldsLeasesIsNotToldOfMessages: a keeper renews all that it holds when it is told something, so it is told of parts that were released, and not of each message.
func TestWhoHoldsLeasesIsNotToldOfMessages(t *testing.T) {
	uri := service.Postgres(t)
	one := func(poll time.Duration) *postgres.DB {
		d := open(t, uri, func(o *postgres.Options) { o.Poll = poll })
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
		return d
	}
	b := one(time.Hour) // it hears what it is told, and nothing else
	a := one(0)         // it finds that there is another one, and tells it
	heard := make(chan struct{}, 1)
	defer b.Notify("messages", func(store.Segment) {
		select {
		case heard <- struct{}{}:
		default:
		}
	})()
	for range 2 { // what the first one did otherwise is done when the second is heard
		select {
		case <-b.Leases().Changed(): // it has begun to listen
		default:
		}
		for told := false; !told; { // b may not listen yet
			if err := a.Submit(store.Small, func(tx store.Tx) error {
				_, err := tx.Append("messages", store.Bundle{N: 1, Data: store.AppendFrame(nil, []byte("x"))})
				return err
			}).Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			select {
			case <-heard:
				told = true
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	select {
	case <-b.Leases().Changed():
		t.Fatal("who holds leases is told of a message")
	default:
	}
	got, err := a.Leases().Take(t.Context(), "a", []int{0}, time.Minute)
	if err == nil {
		err = a.Leases().Release(t.Context(), got)
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.Leases().Changed():
	case <-time.After(time.Minute):
		t.Fatal("who holds leases is not told of a part that was released")
	}
}

// changed waits until a process is told that parts may be free.
func changed(t *testing.T, d *postgres.DB, why string) {
	t.Helper()
	select {
	case <-d.Leases().Changed():
	case <-time.After(time.Minute):
		t.Fatal("it is not told: " + why)
	}
}

// TestWhatIsReleasedIsTold: nobody has to wait for a lease of somebody who has ended well, however soon he ends when he has released it, and also where the others did not listen
// just then.
func TestWhatIsReleasedIsTold(t *testing.T) {
	uri := service.Postgres(t)
	by, proxy := through(t, uri)
	b := open(t, by, func(o *postgres.Options) { o.Poll = 50 * time.Millisecond })
	defer closed(t, b)
	changed(t, b, "it listens from now on")
	for i := range 20 {
		a := open(t, uri, nil)
		got, err := a.Leases().Take(t.Context(), "a", []int{0}, time.Hour)
		if away := i%2 == 1; away {
			proxy.Refuse(true)
			proxy.Cut()
		}
		if err = errors.Join(err, a.Leases().Release(t.Context(), got), a.Close()); err != nil {
			t.Fatal(err)
		}
		proxy.Refuse(false)
		changed(t, b, "a part was released by somebody who ended then")
	}
}
