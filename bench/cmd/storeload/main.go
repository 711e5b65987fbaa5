// Command storeload measures the store by itself, in a process of its own, and makes the stores that `penstock run` is measured on.
// It prints what it measured as one line of JSON. The benchmark runs it; see README.md. With -postgres <URI> in place of -store <file> the store is
// that of a PostgreSQL server, in a schema of its own (-schema).
//
//	storeload publishers -store <file>    single messages of many publishers
//	storeload small -store <file>         small transactions, with a channel that is written as fast as it goes, and without
//	storeload behind -store <file>        a consumer catches up beside live publishers
//	storeload events -store <file>        commands of entities
//	storeload history -store <file>       fills a store with -events events
//	storeload append -store <file>        one more event, one after the other
//	storeload view -store <file>          builds the rows of a view of -events events anew
//	storeload jobs -store <file>          -jobs jobs, from being enqueued to being completed
//	storeload fill -store <file>          puts messages into a channel, in large bundles
//	storeload keys -store <file>          puts keys into a dedupe's state
//	storeload verify -store <file>        fails unless a channel holds so many messages, and a group has had them all
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock/bench/load"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/internal/store/sqlite"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "storeload:", err)
		os.Exit(1)
	}
}

// settings are the flags; each part reads its own.
type settings struct {
	store      string
	postgres   string
	schema     string
	lasts      time.Duration
	publishers int
	pace       float64
	alone      bool
	channel    string
	group      string
	messages   int64
	left       int64
	keys       int64
	space      string
	crash      bool
	events     int64
	jobs       int64
}

func parts() map[string]func(context.Context, store.Store, settings, *load.Result) error {
	return map[string]func(context.Context, store.Store, settings, *load.Result) error{
		"publishers": publishers, "small": small, "behind": behind, "events": events, "history": history, "append": appends, "view": rebuild, "jobs": work,
		"fill": fill, "keys": keys, "verify": verify,
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 0 || parts()[args[0]] == nil {
		return errors.New("the first argument says what to do: " + strings.Join(slices.Sorted(maps.Keys(parts())), ", "))
	}
	var s settings
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&s.store, "store", "", "`file` of the store")
	flags.StringVar(&s.postgres, "postgres", "", "`URI` of a PostgreSQL server that the store is on, in place of a file")
	flags.StringVar(&s.schema, "schema", postgres.DefaultSchema, "`name` of the schema of the store's tables, with -postgres")
	flags.DurationVar(&s.lasts, "for", 3*time.Second, "how long to measure")
	flags.IntVar(&s.publishers, "publishers", 64, "publishers")
	flags.Float64Var(&s.pace, "pace", 0, "messages a second over all publishers; 0: as many as it takes")
	flags.BoolVar(&s.alone, "alone", false, "leave out what is measured beside")
	flags.StringVar(&s.channel, "channel", "backlog", "`name` of the channel")
	flags.StringVar(&s.group, "group", "", "`name` of a group of the channel's readers")
	flags.Int64Var(&s.messages, "messages", 0, "`number` of messages")
	flags.Int64Var(&s.left, "left", 0, "`number` of messages that -group has not read, with fill")
	flags.Int64Var(&s.keys, "keys", 0, "`number` of keys; of entities, with history, append and view")
	flags.StringVar(&s.space, "space", "", "`name` of the state that keys are for")
	flags.BoolVar(&s.crash, "crash", false, "end without closing the store, as if killed")
	flags.Int64Var(&s.events, "events", 100_000, "`number` of events, with history and view")
	flags.Int64Var(&s.jobs, "jobs", 20_000, "`number` of jobs")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	var r load.Result
	if err := parts()[args[0]](ctx, db, s, &r); err != nil {
		_ = db.Close()
		return err
	}
	if s.crash {
		return r.Print(stdout)
	}
	if err := db.Close(); err != nil {
		return err
	}
	return r.Print(stdout)
}

// open opens the store that the flags name. One on PostgreSQL is refused by a server that does not wait for its disk.
func (s settings) open(ctx context.Context) (store.Store, error) {
	switch {
	case s.postgres != "" && s.store != "":
		return nil, errors.New("the store is in a file (-store) or on a server (-postgres), not both")
	case s.postgres != "":
		return postgres.Open(ctx, postgres.Options{Connection: s.postgres, Schema: s.schema})
	}
	return sqlite.Open(ctx, sqlite.Options{Path: s.store})
}
