package operate

import (
	"encoding/json"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
)

// maxAudit bounds the channel #audit, in bytes of entries: the oldest go first. That is some 50,000 actions.
const maxAudit = 16 << 20

// Audited is an entry of the channel #audit: who did what with which dead letters, steps or groups.
type Audited struct {
	Time  time.Time `json:"time"`
	Verb  Verb      `json:"verb"`
	Flow  string    `json:"flow,omitempty"`
	Who   string    `json:"who"`
	Count int64     `json:"count"` // dead letters, or messages
	// IDs are ranges of ids: orders.dead@3, orders.dead@5-17.
	IDs   []string `json:"ids,omitempty"`
	Where string   `json:"where,omitempty"` // how they were chosen
	// What is the step (orders/invoice) or the group of a channel (orders billing/from), To a step's new name.
	What string `json:"what,omitempty"`
	To   string `json:"to,omitempty"`
}

// write puts the entry into a transaction, and sees to the bound.
func (e *Audited) write(tx store.Tx) error {
	body, err := json.Marshal(e)
	if err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: "audit", Err: err}
	}
	key := e.Flow
	if key == "" {
		key = e.What
	}
	at := e.Time.UnixNano()
	rec := record.Draft{Time: at, Key: key, Format: jsonview.JSON, Body: body}.Append(nil)
	if _, err := tx.Append(auditChannel, store.Bundle{N: 1, Data: store.AppendFrame(nil, rec), MinTime: at, MaxTime: at}); err != nil {
		return err
	}
	b, err := tx.Log().Bounds(auditChannel)
	if err == nil && b.Bytes > maxAudit {
		_, err = tx.Drop(auditChannel, b.First+(b.Next-b.First+3)/4) // a quarter at once
	}
	return err
}
