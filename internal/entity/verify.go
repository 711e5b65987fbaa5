package entity

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// Verified is what a look at the chain of an entity has found.
type Verified struct {
	Entity string   `json:"entity"`
	Events int64    `json:"events"` // that were looked at
	Heads  []string `json:"heads"`  // for each part that has events: its channel, the position behind the last, and the hash of that: what to keep elsewhere
	Broken []Break  `json:"broken"` // empty: all is as it was written
}

// Break is a place where the chain does not hold.
type Break struct {
	Part     int    `json:"part"`
	Position int64  `json:"position"`
	Message  string `json:"message"`
}

// mostBreaks is how many are told.
const mostBreaks = 100

// verifyBytes is how much is read in one view.
const verifyBytes = 4 << 20

// Entities lists the entities that a store has events of.
func Entities(ctx context.Context, st store.Store) ([]string, error) {
	var out []string
	err := st.View(ctx, func(v store.View) error {
		all, err := v.Log().Channels()
		for _, b := range all {
			name, ok := strings.CutPrefix(b.Channel, "entity/")
			if at := strings.LastIndexByte(name, '#'); ok && at > 0 && !slices.Contains(out, name[:at]) {
				out = append(out, name[:at])
			}
		}
		return err
	})
	slices.Sort(out)
	return out, err
}

// Verify reads all events of an entity, and holds each to the hash that the one behind it has, the last to what the store knows of it, and versions to having
// no gap. One byte that was changed, an event that was removed, put in, or put elsewhere, breaks the chain at its place. Who can change the
// store can write a whole chain anew: Heads, kept elsewhere, tell. progress is told how many events were looked at; it may be nil.
func Verify(ctx context.Context, st store.Store, entity string, progress func(events int64) error) (*Verified, error) {
	out := &Verified{Entity: entity, Broken: []Break{}, Heads: []string{}}
	for p := range st.Parts() {
		if err := bare(st, entity, p).verify(ctx, out, progress); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (o *Verified) broken(part int, pos int64, format string, args ...any) {
	if len(o.Broken) < mostBreaks {
		o.Broken = append(o.Broken, Break{part, pos, fmt.Sprintf(format, args...)})
	}
}

func (l *lane) verify(ctx context.Context, out *Verified, progress func(int64) error) error {
	var hash Hash
	var next int64
	versions := map[string]int64{}
	first := true
	for {
		var segs []store.Segment
		var end chain
		var bounds store.Bounds
		err := l.st.View(ctx, func(v store.View) (err error) {
			if segs, err = v.Log().Segments(l.n.events, next, verifyBytes); err != nil {
				return err
			}
			if end, err = l.chain(v.State()); err != nil {
				return err
			}
			bounds, err = v.Log().Bounds(l.n.events)
			return err
		})
		if err != nil {
			return err
		}
		if first && bounds.First > 0 && bounds.Next > 0 {
			out.broken(l.n.part, 0, "the events before position %d are not there", bounds.First)
			next = bounds.First
		}
		if len(segs) == 0 {
			l.verifyEnd(out, next, hash, end)
			return nil
		}
		for _, s := range segs {
			if s.Base > next {
				out.broken(l.n.part, next, "the events from position %d to %d are not there", next, s.Base-1)
				next = s.Base
			}
			pos, rest := s.Base, s.Data
			for ; pos < s.End(); pos++ {
				var rec []byte
				if rec, rest, err = store.NextFrame(rest); err != nil {
					out.broken(l.n.part, pos, "%v", err)
					next = s.End()
					break
				}
				if pos < next {
					continue
				}
				l.verifyOne(out, pos, rec, hash, first, versions)
				hash, first, next = hashOf(rec), false, pos+1
				out.Events++
			}
		}
		if progress != nil {
			if err := progress(out.Events); err != nil {
				return err
			}
		}
	}
}

// verifyOne holds one event to the one before it.
func (l *lane) verifyOne(out *Verified, pos int64, rec []byte, before Hash, first bool, versions map[string]int64) {
	e := Event{Part: l.n.part, Position: pos}
	if err := e.parse(rec); err != nil {
		out.broken(l.n.part, pos, "%v", err)
		return
	}
	if first {
		before = Hash{}
	}
	if !bytes.Equal(e.Prev[:], before[:]) && !mutation.On("chain-not-compared") {
		if pos == 0 {
			out.broken(l.n.part, pos, "it says that another event stood before it, and it is the first")
		} else {
			out.broken(l.n.part, pos-1, "this event is not what was written there: the one behind it, at position %d, has another hash of it; or that one was not written behind this one", pos)
		}
	}
	if e.Version == 0 {
		return
	}
	if want := versions[e.Key] + 1; e.Version != want {
		out.broken(l.n.part, pos, "it is version %d of %s, and %d comes next", e.Version, e.Key, want)
	}
	versions[strings.Clone(e.Key)] = e.Version
}

// verifyEnd holds the last event to what the store knows of the end of the chain.
func (l *lane) verifyEnd(out *Verified, next int64, hash Hash, end chain) {
	switch {
	case next < end.next:
		out.broken(l.n.part, next, "the events from here to position %d are not there", end.next-1)
	case next > end.next:
		out.broken(l.n.part, end.next, "events follow that were not written by commands")
	case next > 0 && hash != end.hash:
		out.broken(l.n.part, next-1, "this event, the last, is not what was written there")
	}
	if next > 0 {
		out.Heads = append(out.Heads, fmt.Sprintf("%s@%d %s", l.n.events, next, hex.EncodeToString(hash[:])))
	}
}
