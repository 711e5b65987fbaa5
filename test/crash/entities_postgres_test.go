package crash_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// TestEntitiesOnPostgreSQLAreKilled is that on PostgreSQL, where the server ends as in a crash, too: under a program that goes on, and together with it.
func TestEntitiesOnPostgreSQLAreKilled(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 3), number(t, "PENSTOCK_CRASH_SEED", 1)
	random := rand.New(rand.NewPCG(uint64(seed), 22))
	server := service.NewPostgres(t)
	url := server.URI("postgres")
	b := newBank(t, fmt.Sprintf("{ driver: postgres, url: %q, lease: 2s }", url), func(string) store.Store {
		db, err := postgres.Open(t.Context(), postgres.Options{Connection: url})
		if err != nil {
			t.Fatal(err)
		}
		return db
	})
	p := b.start()
	for i := range kills {
		done := b.opens()
		b.more(p, 1+random.IntN(150), 0)
		switch i % 3 {
		case 0: // the program
			p.kill()
		case 1: // the server: the program opens it again
			server.Stop(t)
			server.Start(t)
			b.more(p, 1, 0)
		default: // both
			server.Stop(t)
			p.kill()
			server.Start(t)
		}
		done(i%3 == 1)
		if random.IntN(2) == 0 && i%3 != 1 {
			b.audit()
		}
		if i%3 != 1 {
			p = b.start()
		}
	}
	done := b.opens()
	b.more(p, 50, 0)
	done(true)
	b.closes(p)
}
