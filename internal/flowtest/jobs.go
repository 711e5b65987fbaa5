package flowtest

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
)

// enqueued keeps the jobs that a flow enqueues where expectations look: nobody does them in a test of that flow, and a flow that takes jobs is given them by the
// test's script.
type enqueued struct{}

var _ run.Jobs = enqueued{}

// Enqueue implements run.Jobs.
func (enqueued) Enqueue(tx store.Tx, queue string, now int64, records [][]byte) error {
	b := store.Bundle{N: len(records), MinTime: now, MaxTime: now}
	for _, r := range records {
		b.Data = store.AppendFrame(b.Data, r)
	}
	_, err := tx.Append(resource.QueuePrefix+queue, b)
	return err
}

// Enqueued implements run.Jobs.
func (enqueued) Enqueued(string) {}

// Source implements run.Jobs. Sources are the test's own.
func (enqueued) Source(string, int, penstock.Env) penstock.Source { return nil }
