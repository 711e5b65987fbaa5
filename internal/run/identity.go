package run

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// identityLabel is what an endpoint is called in identities: from, from2, the durable step that is read behind.
func identityLabel(ep *plan.Endpoint) string { return ep.Name[strings.LastIndexByte(ep.Name, '/')+1:] }

// lasts says that a message of the endpoint has the same position again whenever it is read.
func lasts(ep *plan.Endpoint) bool {
	return ep.Driver != nil && ep.Driver.Spec.Replay == penstock.ReplayPosition
}

// AppendIdentity implements penstock.Lineage: "from.3#INV-17" where the source has an `id`, else "from.3@orders/0:17", or, for a channel of
// the store, "from.3@<store>/orders:17". What has neither
// is numbered in the run: "from.3%<run>-17-0".
func (t *track) AppendIdentity(dst []byte, p penstock.Descent) []byte {
	src := t.in.src
	if t.lasting != nil && t.known != "" {
		at := max(strings.IndexAny(t.known, "@#%"), 0)
		return append(p.Append(append(dst, t.known[:at]...)), t.known[at:]...)
	}
	dst = p.Append(append(dst, src.label...))
	switch {
	case t.lasting != nil && t.inbox != nil:
		return append(append(dst, '#'), t.inbox.text...)
	case src.channel != nil: // the first message of another store is another one
		dst = append(append(append(dst, '@'), src.flow.r.storeID...), '/')
		dst = append(append(dst, t.pos.Stream...), ':')
		return strconv.AppendInt(dst, t.pos.Offset, 10)
	case src.stable:
		dst = append(append(append(dst, '@'), t.pos.Stream...), ':')
		return strconv.AppendInt(dst, t.pos.Offset, 10)
	}
	dst = append(append(append(dst, '%'), src.flow.r.run...), '-')
	dst = append(strconv.AppendUint(dst, t.in.unique, 36), '-')
	return strconv.AppendInt(dst, int64(t.idx), 10)
}

// AppendIdentity implements penstock.Lineage: the identity of the first message, which no other group has, in brackets.
func (l *lineages) AppendIdentity(dst []byte, p penstock.Descent) []byte {
	dst = append(append(p.Append(dst), '('), l.id...)
	return append(dst, ')')
}

// departed is the lineage of a message that left its flow for a wire tap, where nothing waits for it: what it was, as text.
func departed(m *penstock.Message) penstock.Lineage {
	if m.Lineage == nil {
		return nil
	}
	return &departedFrom{m.Lineage.Origin(), string(m.Lineage.AppendIdentity(nil, m.Descent))}
}

type departedFrom struct{ origin, id string }

// Origin implements penstock.Lineage.
func (d *departedFrom) Origin() string { return d.origin }

// AppendIdentity implements penstock.Lineage.
func (d *departedFrom) AppendIdentity(dst []byte, _ penstock.Descent) []byte {
	return append(dst, d.id...)
}

// storeIdentity is where a store keeps what tells it from all others: positions begin at 0 in each of them.
const (
	storeSpace = "store"
	storeKey   = "identity"
)

// knowStore finds out, or decides, what the store is called in identities. A store that was made of a backup has none yet: positions that
// were given since then may be given again, to other messages.
func (r *Runner) knowStore(ctx context.Context, st store.Store) error {
	var e store.Entry
	var there bool
	err := st.View(ctx, func(v store.View) (err error) {
		e, there, err = v.State().Get(storeSpace, []byte(storeKey))
		return err
	})
	if err != nil || there {
		r.storeID = string(e.Value)
		return err
	}
	fresh, id := strings.ToLower(rand.Text()[:10]), ""
	err = st.Submit(store.Small, func(tx store.Tx) error {
		e, there, err := tx.State().Get(storeSpace, []byte(storeKey))
		if err != nil || there { // another process was there first
			id = string(e.Value)
			return err
		}
		id = fresh
		return tx.Put(storeSpace, store.Entry{Key: []byte(storeKey), Value: []byte(id)})
	}).Wait(ctx)
	if err == nil {
		r.storeID = id
	}
	return err
}

// ForgetStore takes from a store what it is called in identities, once it is made of a backup.
func ForgetStore(ctx context.Context, st store.Store) error {
	return st.Submit(store.Small, func(tx store.Tx) error { return tx.Delete(storeSpace, []byte(storeKey)) }).Wait(ctx)
}
