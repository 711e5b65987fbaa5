package main

import (
	"context"
	"fmt"
	"strings"
	"testing/fstest"

	"penstock.dev/penstock"
	"penstock.dev/penstock/bench/load"
	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/store"
)

const (
	// inBatch is how many events a command of the batched figure makes.
	inBatch = 20
	// inFill is how many a command makes that fills a store.
	inFill = 100
	// hotEvents is how many events an entity has whose commands are measured by themselves.
	hotEvents = 10_000
)

// accounts is the entity that is measured: a command makes one event, inBatch or inFill of them. The balances are a view of them.
var accounts = `apiVersion: penstock.dev/v1alpha1
kind: Entity
metadata: { name: account }
spec:
  state: { initial: { balance: 0, moves: 0 } }
  commands:
    move: { require: [ { that: "body.amount >= -1000000" } ], emit: [ { event: Moved, data: { amount: "${body.amount}", note: "${body.note}", at: "${now}" } } ] }
    many: { emit: [ ` + emits(inBatch) + ` ] }
    fill: { emit: [ ` + emits(inFill) + ` ] }
  events:
    Moved: { apply: { balance: "${int(state.balance) + int(body.amount)}", moves: "${int(state.moves) + 1}" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: balance }
spec:
  jsonSchema:
    inline: { type: object, properties: { balance: { type: integer }, moves: { type: integer } }, required: [balance, moves], additionalProperties: false }
---
apiVersion: penstock.dev/v1alpha1
kind: View
metadata: { name: balances }
spec:
  from: { entity: account }
  schema: balance
  events:
    Moved: { upsert: { balance: "${row.?balance.orValue(0) + int(body.amount)}", moves: "${row.?moves.orValue(0) + 1}" } }
`

func emits(n int) string {
	return strings.TrimSuffix(strings.Repeat(`{ event: Moved, data: { amount: 1, note: "${body.note}", at: "${now}" } }, `, n), ", ")
}

// planOf compiles a configuration.
func planOf(text string) (*plan.Plan, error) {
	reg := penstock.NewRegistry()
	set, found := resource.Load(resource.Options{FS: fstest.MapFS{"a.yaml": {Data: []byte(text)}}, Paths: []string{"."}, Registry: reg})
	p, more := compile.Compile(set, reg, compile.Options{})
	found.Merge(more)
	if found.HasErrors() {
		return nil, fmt.Errorf("%v", found.Sorted())
	}
	return p, nil
}

// entities makes the entity on a store. cache is how many bytes of states it keeps in memory; 0: as a service does.
func entities(db store.Store, cache int64) (*entity.Runtime, *entity.Entity, error) {
	p, err := planOf(accounts)
	if err != nil {
		return nil, nil, err
	}
	r := entity.New(p.Entities, entity.Options{Store: func() (store.Store, error) { return db, nil }, Cache: cache})
	return r, r.Entity("account"), nil
}

// commands sends commands of one name, to the entity of the key that belongs to their number. Where they are known, each has an identity.
func commands(ctx context.Context, x *entity.Entity, command string, known bool, key func(i int64) string) func(int, int64) error {
	return func(_ int, i int64) error {
		q := entity.Request{Command: command, Key: key(i), Expect: entity.AnyVersion,
			Data: fmt.Appendf(nil, `{"amount":%d,"note":"what was moved, and a few words of why that was done"}`, i%100)}
		if known {
			q.Cause = fmt.Sprint(command, i)
		}
		_, err := x.Command(ctx, nil, q)
		return err
	}
}

// among spreads commands over so many entities, neighbours among the commands far from each other.
func among(keys int64) func(i int64) string {
	return func(i int64) string { return fmt.Sprint("account-", uint64(i)*0x9e3779b97f4a7c15>>11%uint64(keys)) } //nolint:gosec // counts
}

// events measures commands: one event each, of many entities; of one that has 10,000 events, as it is in memory, and of such that are not; and many events each. What was
// acknowledged is then counted, and held to the chain of hashes.
func events(ctx context.Context, db store.Store, s settings, r *load.Result) error {
	_, x, err := entities(db, 0)
	if err != nil {
		return err
	}
	do := func(command string, key func(i int64) string) func(int, int64) error {
		return commands(ctx, x, command, true, key)
	}
	warm, err := load.Publish(s.publishers, 0, s.lasts/5, 0, do("move", among(1000)))
	if err != nil {
		return err
	}
	one, err := load.Publish(s.publishers, warm.Next(), s.lasts, 0, do("move", among(1000)))
	if err != nil {
		return err
	}
	r.Add("rate", "events/s", one.Rate())
	r.Add("p99", "ms", one.Quantile(0.99))
	r.Add("CPU", "µs an event", float64(one.CPU.Microseconds())/float64(len(one.Took)))
	want := one.Next()
	keys := []string{"hot", "cold-0", "cold-1"}
	for _, key := range keys {
		p, err := grow(ctx, x, s.publishers, "fill", fills(hotEvents), func(int64) string { return key })
		if err != nil {
			return err
		}
		want += int64(len(p.Took)) * inFill
	}
	long, err := load.Publish(1, one.Next(), s.lasts/2, 0, do("move", func(int64) string { return keys[0] }))
	if err != nil {
		return err
	}
	r.Add("hot p99", "ms", long.Quantile(0.99))
	// With next to no cache each of the two is made of its snapshot again, since the other one has been in its place.
	_, cold, err := entities(db, 1)
	if err != nil {
		return err
	}
	read, err := load.Publish(1, long.Next(), s.lasts/2, 0, commands(ctx, cold, "move", true, func(i int64) string { return keys[1+i%2] }))
	if err != nil {
		return err
	}
	r.Add("snapshot p99", "ms", read.Quantile(0.99))
	many, err := load.Publish(s.publishers, read.Next(), s.lasts, 0, do("many", among(1000)))
	if err != nil {
		return err
	}
	r.Add("batched", "events/s", many.Rate()*inBatch)
	return holdsEvents(ctx, db, want+read.Next()-one.Next()+(many.Next()-read.Next())*inBatch)
}
