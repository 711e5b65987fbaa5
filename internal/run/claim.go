package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
)

// checkIn keeps a message's body under a new claim, in the transaction that settles its source message; the message goes on with what
// the step says, and the claim in meta.claim.
func (x *exec) checkIn(w *work, n *node, op *plan.Claim, m *penstock.Message) error {
	if err := m.Body.Parse(jsonview.Limits{}); err != nil {
		return &penstock.Error{Code: penstock.Invalid, Op: n.Name, Path: "body", Err: err}
	}
	body := w.batch.NewDoc()
	if op.Body != nil {
		dst, err := op.Body.Append(x.scratch[:0], w.batch.Frame(m))
		if err != nil {
			return err
		}
		x.scratch = dst
		body.Reset(jsonview.JSON, w.batch.Arena().Copy(dst))
	}
	claim := x.f.runtime.UUID()
	m.Lineage.(*track).claim(x.author(m), claim, m, x.f.header(m, x.f.now()), x.f.r.clock.Now().Add(op.Retain))
	m.Body = body
	m.Meta.Set("claim", penstock.StringValue(claim))
	return nil
}

// claim records a body that is kept until due.
func (t *track) claim(by author, claim string, m *penstock.Message, h record.Header, due time.Time) {
	r := &t.recorded
	r.mu.Lock()
	defer r.mu.Unlock()
	o := op{author: by, claim: true, key: r.keep(claim), due: due.UnixNano()}
	from := len(r.mem)
	r.mem = record.Append(r.mem, h, m, nil)
	o.record = span{from, len(r.mem)}
	r.ops = append(r.ops, o)
}

// claimed finds what was checked in by a message of the same source message, and is not committed yet.
func (t *track) claimed(claim []byte) []byte {
	r := &t.recorded
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.ops {
		if o := &r.ops[i]; o.claim && string(r.bytes(o.key)) == string(claim) {
			return append([]byte(nil), r.bytes(o.record)...)
		}
	}
	return nil
}

// redeem brings a body back.
func (x *exec) redeem(w *work, n *node, op *plan.Claim, m *penstock.Message) error {
	id, err := text(op.Redeem, w.batch.Frame(m), n.Name+" redeem")
	if err != nil {
		return err
	}
	if id == "" {
		return &penstock.Error{Code: penstock.Invalid, Op: n.Name, Path: "redeem", Err: errors.New("there is no claim")}
	}
	rec := m.Lineage.(*track).claimed([]byte(id))
	if rec == nil {
		if rec, err = x.f.kept(x.ctx, id); err != nil {
			return err
		}
	}
	if rec == nil {
		return &penstock.Error{Code: penstock.NotFound, Op: n.Name, Path: "redeem", Err: fmt.Errorf("nothing is kept under the claim %s", id),
			Hint: "claims end with the retention of the step that made them"}
	}
	v, err := record.Parse(rec)
	if err != nil {
		return err
	}
	d := w.batch.NewDoc()
	d.Reset(v.Format(), v.Body())
	return x.f.assign(w.batch, m, op.Into, &reply{doc: d})
}

// kept reads what the store has under a claim; nil: nothing.
func (f *flow) kept(ctx context.Context, id string) (rec []byte, err error) {
	err = f.r.store.View(ctx, func(v store.View) error {
		e, ok, err := v.State().Get(claimSpace, []byte(id))
		if ok {
			rec = e.Value
		}
		return err
	})
	return rec, err
}
