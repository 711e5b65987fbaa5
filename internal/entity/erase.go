package entity

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
)

// goneKey is the entry that says that a key was deleted, so that a command that was evaluated with it doesn't bring it back.
func goneKey(id []byte) []byte { return append([]byte{'x'}, id...) }

// erasingKey is the entry that says that a subject is being erased: its value is the id of the key that it had.
func erasingKey(subject string) []byte { return append([]byte{'e'}, subject...) }

// underKey is the entry that says that events of a key are about a subject.
func underKey(subject, key string) []byte { return append(subjectPrefix(subject), key...) }

// subjectPrefix is what the entries of a subject begin with: see atKey.
func subjectPrefix(subject string) []byte {
	k := atKey(subject, 0)
	return k[:len(k)-8]
}

// Erased is what was erased.
type Erased struct {
	Entity  string   `json:"entity"`
	Subject string   `json:"subject"`
	Keys    []string `json:"keys"`    // of the entities whose events were about the subject
	Already bool     `json:"already"` // nothing was left to be erased
}

// eraseAtOnce is how many entities of a subject are dealt with in one transaction.
const eraseAtOnce = 256

// Erase deletes the keys that the personal fields of a subject are encrypted with, in all parts, so that nobody can read them any more, and everything that
// is kept of the entities they are part of: snapshots, and by way of their heads the states that processes hold. For each of these entities it appends an
// event of type ErasedType, which says who erased, so that views make their rows anew. The events themselves stay, and so does the chain. Where it is
// interrupted, the same again goes on. also writes with the first transaction of each part: an audit; it may be nil.
func Erase(ctx context.Context, st store.Store, entity, subject, who string, clock penstock.Clock, also func(store.Tx) error) (*Erased, error) {
	if subject == "" {
		return nil, penstock.E(penstock.Invalid, "erase", entity, "no subject is named")
	}
	out := &Erased{Entity: entity, Subject: subject, Already: true}
	for p := range st.Parts() {
		l := bare(st, entity, p)
		var found []string
		for more := true; more; {
			var page []string
			var any bool
			err := st.Submit(store.Small, func(tx store.Tx) (err error) {
				page, more, any, err = l.erase(tx, subject, who, clock.Now(), also)
				return err
			}).Wait(ctx)
			if err != nil {
				return nil, err
			}
			found = append(found, page...)
			out.Already = out.Already && !any
		}
		out.Keys = append(out.Keys, found...)
	}
	return out, nil
}

// bare is a part of an entity of which nothing is held in memory.
func bare(st store.Store, entity string, part int) *lane {
	return &lane{e: &Entity{name: entity}, st: st, n: namesOf(entity, part)}
}

// erase does a page of it. any: there was something to erase.
func (l *lane) erase(tx store.Tx, subject, who string, now time.Time, also func(store.Tx) error) (keys []string, more, any bool, err error) {
	s := tx.State()
	e, there, err := s.Get(l.n.keys, subjectKey(subject))
	if err != nil {
		return nil, false, false, err
	}
	going, begun, err := s.Get(l.n.keys, erasingKey(subject))
	if err != nil || !there && !begun {
		return nil, false, false, err
	}
	id := going.Value
	if there {
		if len(e.Value) < secretID {
			return nil, false, false, errEntry
		}
		id = e.Value[:secretID]
		if !mutation.On("key-not-erased") {
			if err := errors.Join(tx.Delete(l.n.keys, subjectKey(subject)), tx.Delete(l.n.keys, idKey(id))); err != nil {
				return nil, false, false, err
			}
		}
		if err := errors.Join(tx.Put(l.n.keys, store.Entry{Key: goneKey(id)}), tx.Put(l.n.keys, store.Entry{Key: erasingKey(subject), Value: id})); err != nil {
			return nil, false, false, err
		}
		if also != nil {
			if err := also(tx); err != nil {
				return nil, false, false, err
			}
		}
	}
	prefix := subjectPrefix(subject)
	page, err := s.Scan(l.n.under, before(prefix), eraseAtOnce)
	if err != nil {
		return nil, false, false, err
	}
	ch, err := l.chain(s)
	if err != nil {
		return nil, false, false, err
	}
	var data []byte
	for _, e := range page {
		if len(e.Key) < len(prefix) || string(e.Key[:len(prefix)]) != string(prefix) {
			page = page[:len(keys)]
			break
		}
		key := string(e.Key[len(prefix):])
		keys = append(keys, key)
		rec := appendEvent(nil, &Event{Key: key, Type: ErasedType, Schema: 1, Time: now.UnixNano(), Prev: ch.hash, Data: erasedData(id, who)})
		ch.hash = hashOf(rec)
		data = store.AppendFrame(data, rec)
		h, err := l.head(s, key)
		if err != nil {
			return nil, false, false, err
		}
		h.token++ // whoever holds the state has another one now
		err = errors.Join(tx.Put(l.n.head, store.Entry{Key: []byte(key), Value: h.append(nil)}), tx.Delete(l.n.snap, []byte(key)), tx.Delete(l.n.under, e.Key))
		if err != nil {
			return nil, false, false, err
		}
	}
	if more = len(page) == eraseAtOnce; !more {
		if err := tx.Delete(l.n.keys, erasingKey(subject)); err != nil {
			return nil, false, false, err
		}
	}
	if len(keys) == 0 {
		return nil, more, true, nil
	}
	base, err := tx.Append(l.n.events, store.Bundle{N: len(keys), Data: data, MinTime: now.UnixNano(), MaxTime: now.UnixNano()})
	if err != nil {
		return nil, false, false, err
	}
	ch.next = base + int64(len(keys))
	return keys, more, true, tx.Put(l.n.chain, store.Entry{Key: chainKey, Value: ch.append(nil)})
}

// erasedData says which key was deleted, by its id, and by whom. It does not name the subject.
func erasedData(id []byte, who string) []byte {
	d := append([]byte(`{"secret":"`), hex.EncodeToString(id)...)
	d = jsonview.AppendString(append(d, `","by":`...), who)
	return append(d, '}')
}
