package run

import (
	"bytes"

	"penstock.dev/penstock/internal/store"
)

// What some of the deliberate bugs do (package mutation). Nothing of it is in an ordinary build.

// apart runs f in a transaction of its own.
func (c *committer) apart(f func(store.Tx) error) {
	_ = c.f.r.store.Submit(store.Bulk, f).Wait(c.f.ctx)
}

// withoutState takes the entries of durable steps out of u, and gives what writes them.
func (u *unit) withoutState() func(store.Tx) error {
	var state, rest []change
	for _, ch := range u.changes {
		of := &rest
		for _, s := range u.c.f.stages {
			if s.space == ch.space {
				of = &state
			}
		}
		*of = append(*of, ch)
	}
	u.changes = rest
	return func(tx store.Tx) error {
		for i := range state {
			if err := state[i].write(tx); err != nil {
				return err
			}
		}
		return nil
	}
}

// apart writes something of a durable step before the rest.
func (o *stageOutput) apart(emitted []byte, put *store.Entry, gone []byte) {
	data := store.AppendFrame(nil, emitted)
	key := bytes.Clone(gone)
	if put != nil {
		put.Key, put.Value = bytes.Clone(put.Key), bytes.Clone(put.Value)
	}
	o.u.c.apart(func(tx store.Tx) error {
		switch {
		case put != nil:
			return tx.Put(o.s.space, *put)
		case key != nil:
			return tx.Delete(o.s.space, key)
		}
		_, err := tx.Append(o.s.out.name, store.Bundle{N: 1, Data: data})
		return err
	})
}
