package entity

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"penstock.dev/penstock/internal/store"
)

// Listed is an event for people.
type Listed struct {
	ID       string          `json:"id"` // entity/account#00@12
	Entity   string          `json:"entity"`
	Part     int             `json:"part"`
	Position int64           `json:"position"`
	Key      string          `json:"key"`
	Version  int64           `json:"version"`
	Type     string          `json:"type"`
	Schema   int             `json:"schema"` // version of its schema
	Time     time.Time       `json:"time"`
	Cause    string          `json:"cause,omitempty"`
	Erased   bool            `json:"erased,omitempty"`
	Hash     string          `json:"hash"`
	Prev     string          `json:"prev"`
	Data     json.RawMessage `json:"data"` // as it was written: no upcast
}

// Listing says which events are meant.
type Listing struct {
	Entity string    `json:"entity"`
	Key    string    `json:"key,omitempty"`   // "": of all keys, in the order of each part
	From   int64     `json:"from,omitempty"`  // version from which on; only with Key
	To     int64     `json:"to,omitempty"`    // version up to which; 0: the newest
	Since  time.Time `json:"since,omitzero"`  // that happened then or later
	Until  time.Time `json:"until,omitzero"`  // that happened by then
	Type   string    `json:"type,omitempty"`  // "": all
	Limit  int       `json:"limit,omitempty"` // 0: all
}

// meant says whether an event is meant, as far as its time and type go.
func (q *Listing) meant(e *Event) bool {
	return (q.Since.IsZero() || e.Time >= q.Since.UnixNano()) && (q.Until.IsZero() || e.Time <= q.Until.UnixNano()) && (q.Type == "" || e.Type == q.Type)
}

var errEnough = errors.New("enough")

// List visits events as they were written, with the personal fields that can still be read. It needs no configuration.
func List(ctx context.Context, st store.Store, q Listing, visit func(*Listed) error) error {
	n := 0
	show := func(l *lane, e *Event, hash Hash) error {
		if !q.meant(e) {
			return nil
		}
		if q.Limit > 0 && n >= q.Limit {
			return errEnough
		}
		n++
		return visit(listed(l, e, hash))
	}
	var err error
	if q.Key != "" {
		err = listKey(ctx, bare(st, q.Entity, store.PartOf(q.Key, st.Parts())), q, show)
	} else {
		for p := range st.Parts() {
			if err = listPart(ctx, bare(st, q.Entity, p), q, show); err != nil {
				break
			}
		}
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func listed(l *lane, e *Event, hash Hash) *Listed {
	return &Listed{
		ID: e.ID(l.n.events), Entity: l.e.name, Part: e.Part, Position: e.Position, Key: e.Key, Version: e.Version, Type: e.Type, Schema: e.Schema,
		Time: time.Unix(0, e.Time).UTC(), Cause: e.Cause, Erased: e.Erased, Hash: hex.EncodeToString(hash[:]), Prev: hex.EncodeToString(e.Prev[:]), Data: json.RawMessage(e.Data),
	}
}

func listKey(ctx context.Context, l *lane, q Listing, show func(*lane, *Event, Hash) error) error {
	var h head
	err := l.st.View(ctx, func(v store.View) (err error) {
		h, err = l.head(v.State(), q.Key)
		return err
	})
	if err != nil {
		return err
	}
	to := h.version
	if q.To > 0 {
		to = min(to, q.To)
	}
	return l.history(ctx, q.Key, max(q.From, 1), to, func(e *Event) (bool, error) {
		return true, show(l, e, e.hash)
	})
}

func listPart(ctx context.Context, l *lane, q Listing, show func(*lane, *Event, Hash) error) error {
	var next int64
	if !q.Since.IsZero() {
		err := l.st.View(ctx, func(v store.View) (err error) {
			next, err = v.Log().Seek(l.n.events, q.Since)
			return err
		})
		if err != nil {
			return err
		}
	}
	for {
		var events []Event
		err := l.st.View(ctx, func(v store.View) error {
			events = events[:0]
			segs, err := v.Log().Segments(l.n.events, next, readBytes)
			if err != nil {
				return err
			}
			for _, s := range segs {
				pos, rest := s.Base, s.Data
				for ; pos < s.End(); pos++ {
					var rec []byte
					if rec, rest, err = store.NextFrame(rest); err != nil {
						return fmt.Errorf("%s@%d: %w", l.n.events, pos, err)
					}
					if pos < next {
						continue
					}
					e := Event{Part: l.n.part, Position: pos}
					if err := e.parse(rec); err != nil {
						return fmt.Errorf("%s@%d: %w", l.n.events, pos, err)
					}
					e.hash = hashOf(rec)
					if err := l.reveal(v.State(), &e); err != nil {
						return err
					}
					events = append(events, e)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(events) == 0 {
			return nil
		}
		for i := range events {
			if err := show(l, &events[i], events[i].hash); err != nil {
				return err
			}
		}
		next = events[len(events)-1].Position + 1
	}
}
