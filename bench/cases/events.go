package cases

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"penstock.dev/penstock/bench/load"
)

// The names of sides: the same on the other store, and once more as its control.
const (
	onPostgres      = "on PostgreSQL"
	onPostgresAgain = "on PostgreSQL again (control)"
	emptySide       = "an empty store"
	emptyOnPostgres = "an empty store on PostgreSQL"
	manyOnPostgres  = "the same on PostgreSQL"
)

// eventCases lists the cases of what is built on the store: events, views, jobs, and their take-over.
func eventCases() []StoreCase {
	return []StoreCase{
		{
			Name: "events", Title: "commands of entities, one event each from 64 writers, and 20 each", postgres: true, run: storeEvents,
			Bars: []StoreBar{
				{Figure: "rate", Bar: 10e3, Goal: 20e3}, {Figure: "batched", Bar: 30e3, Goal: 60e3}, {Figure: "hot p99", Most: true, Bar: 10}, {Figure: "snapshot p99", Most: true, Bar: 10},
				{Side: onPostgres, Figure: "rate", Bar: 8e3, Goal: 20e3}, {Side: onPostgres, Figure: "batched", Bar: 20e3, Goal: 40e3},
				{Side: onPostgres, Figure: "hot p99", Most: true, Bar: 20}, {Side: onPostgres, Figure: "snapshot p99", Most: true, Bar: 20},
			},
		},
		{
			Name: "events-many", Title: "one more event, where there are many and where there are none", postgres: true, run: storeEventsMany,
			Bars: []StoreBar{
				{Figure: "append", Over: emptySide, Most: true, Bar: 1.3},
				{Side: manyOnPostgres, Figure: "append", Over: emptyOnPostgres, Most: true, Bar: 1.3},
			},
		},
		{
			Name: "view", Title: "a view's rows built anew, compared by checksum and switched to", postgres: true, run: storeView,
			Bars: []StoreBar{{Figure: "rate", Bar: 100e3, Goal: 200e3}, {Side: onPostgres, Figure: "rate", Bar: 50e3}},
		},
		{
			Name: "jobs", Title: "jobs from being enqueued to being completed", postgres: true, run: storeJobs,
			Bars: []StoreBar{{Figure: "rate", Bar: 5e3, Goal: 15e3}, {Side: onPostgres, Figure: "rate", Bar: 3e3, Goal: 10e3}},
		},
		{
			Name: "job-ways", Title: "jobs pulled over HTTP, taken by a flow, and pushed to an endpoint, from the request that enqueues them", postgres: true, run: storeJobWays,
			Bars: []StoreBar{
				{Figure: "rate", Bar: 5e3, Goal: 15e3}, {Side: waySides[1].name, Figure: "rate", Bar: 5e3, Goal: 15e3},
				{Side: waySides[0].name + ", " + onPostgres, Figure: "rate", Bar: 3e3, Goal: 10e3}, {Side: waySides[1].name + ", " + onPostgres, Figure: "rate", Bar: 3e3, Goal: 10e3},
			},
		},
		{
			Name: "takeover", Title: "from SIGKILL of a replica to the first work of the other", postgres: true, run: storeTakeover,
			Bars: []StoreBar{{Figure: "takeover", Most: true, Bar: 1}, {Side: shortSide, Figure: "takeover", Most: true, Bar: 1}},
		},
	}
}

// onServer runs cmd/storeload on a schema of the server.
func (s *storeRun) onServer(ctx context.Context, schema string, argv ...string) (load.Result, error) {
	return s.load(ctx, append([]string{s.Load, argv[0], "-postgres", s.postgres.URI(), "-schema", schema}, argv[1:]...)...)
}

// dropped forgets a schema, and has the server write what it has in hand, so that the next run does not pay for this one.
func (s *storeRun) dropped(ctx context.Context, schema string) error {
	return s.postgres.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE", "CHECKPOINT")
}

// fresh is a side that runs cmd/storeload on an empty store in a file, and forgets that.
func (s *storeRun) fresh(name string, argv ...string) storeSide {
	return storeSide{name, func(ctx context.Context, _ int) (r load.Result, err error) {
		defer func() { err = errors.Join(err, s.clear("fresh.db")) }()
		return s.load(ctx, append([]string{s.Load, argv[0], "-store", s.path("fresh.db")}, argv[1:]...)...)
	}}
}

// freshOnServer is the same on the server.
func (s *storeRun) freshOnServer(name string, argv ...string) storeSide {
	return storeSide{name, func(ctx context.Context, _ int) (r load.Result, err error) {
		defer func() { err = errors.Join(err, s.dropped(ctx, "fresh")) }()
		return s.onServer(ctx, "fresh", argv...)
	}}
}

func storeEvents(ctx context.Context, s *storeRun) error {
	lasts := (time.Duration(s.full(3, 1)) * time.Second).String()
	argv := []string{"events", "-for", lasts}
	s.out.Sizes = "1000 entities, each command known by an identity; hot: one entity with 10,000 events and more, in memory, and (snapshot) made of its snapshot each time; for " + lasts
	return s.alternate(ctx, true, s.fresh("penstock", argv...), s.freshOnServer(onPostgres, argv...), s.freshOnServer(onPostgresAgain, argv...))
}

func storeEventsMany(ctx context.Context, s *storeRun) error {
	n := s.Events
	if s.Quick {
		n = min(n, 200_000)
	}
	keys := max(n/1000, 1)
	lasts := (time.Duration(s.full(2, 1)) * time.Second).String()
	s.out.Sizes = fmt.Sprintf("%d events of %d entities; one writer; each figure for %s", n, keys, lasts)
	argv := []string{"append", "-for", lasts, "-keys", strconv.FormatInt(keys, 10)}
	fill := []string{"history", "-alone", "-events", strconv.FormatInt(n, 10), "-keys", strconv.FormatInt(keys, 10)}
	for _, filled := range []func() (load.Result, error){
		func() (load.Result, error) {
			return s.load(ctx, append([]string{s.Load, fill[0], "-store", s.path("many.db")}, fill[1:]...)...)
		},
		func() (load.Result, error) { return s.onServer(ctx, "many", fill...) },
	} {
		began := time.Now()
		r, err := filled()
		if err != nil {
			return err
		}
		s.say(fmt.Sprintf("filled in %.0f s: %.0f %s", time.Since(began).Seconds(), r.Figures[0].Value, r.Figures[0].Unit))
	}
	if err := s.postgres.Exec(ctx, "VACUUM ANALYZE", "CHECKPOINT"); err != nil { // as it does by itself, some time later
		return err
	}
	many := storeSide{"many events", func(ctx context.Context, _ int) (load.Result, error) {
		return s.load(ctx, append([]string{s.Load, argv[0], "-store", s.path("many.db")}, argv[1:]...)...)
	}}
	onServer := storeSide{manyOnPostgres, func(ctx context.Context, _ int) (load.Result, error) { return s.onServer(ctx, "many", argv...) }}
	return s.alternate(ctx, true, many, s.fresh(emptySide, argv...), s.fresh(emptySide+" again (control)", argv...),
		onServer, s.freshOnServer(emptyOnPostgres, argv...), s.freshOnServer(emptyOnPostgres+" again (control)", argv...))
}

func storeView(ctx context.Context, s *storeRun) error {
	n, keys := s.full(400_000, 50_000), s.full(1000, 1000)
	s.out.Sizes = fmt.Sprintf("%d events of %d entities, one a command, beside the rows that are read", n, keys)
	argv := func(keys int64) []string {
		return []string{"view", "-events", strconv.FormatInt(n, 10), "-keys", strconv.FormatInt(keys, 10)}
	}
	inFile := func(name, file string, keys int64) storeSide {
		return storeSide{name, func(ctx context.Context, _ int) (load.Result, error) {
			a := argv(keys)
			return s.load(ctx, append([]string{s.Load, a[0], "-store", s.path(file)}, a[1:]...)...)
		}}
	}
	onServer := func(name, schema string, keys int64) storeSide {
		return storeSide{name, func(ctx context.Context, _ int) (load.Result, error) { return s.onServer(ctx, schema, argv(keys)...) }}
	}
	const many = 100
	return s.alternate(ctx, true, inFile("penstock", "few.db", keys), inFile(fmt.Sprintf("%d × the rows", many), "many.db", many*keys),
		onServer(onPostgres, "few", keys), onServer(onPostgresAgain, "few", keys), onServer(fmt.Sprintf("%d × the rows on PostgreSQL", many), "many", many*keys))
}

func storeJobs(ctx context.Context, s *storeRun) error {
	n := s.full(50_000, 5_000)
	argv := []string{"jobs", "-jobs", strconv.FormatInt(n, 10), "-for", "2s"}
	s.out.Sizes = fmt.Sprintf("%d jobs of 300 bytes, enqueued 64 at a time by 4, taken by 2 in the same process, 256 at a time; singly: by 64; and 200/s, one after the other", n)
	return s.alternate(ctx, true, s.fresh("penstock", argv...), s.freshOnServer(onPostgres, argv...), s.freshOnServer(onPostgresAgain, argv...))
}
