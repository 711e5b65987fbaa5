package run

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// first settles what was read before anything is done with it (delivery: at-most-once): its position is durable, or its source knows.
// What happens to it afterwards can't bring it back.
func (p *pump) first(in *intake) error {
	f := p.flow
	out := make([]penstock.Outcome, 0, len(in.tracks))
	last := map[string]penstock.Position{}
	for i := range in.tracks {
		t := &in.tracks[i]
		if t.repeated {
			continue
		}
		if f.durable {
			t.early = true
		}
		last[t.pos.Stream] = t.pos
		if p.each() {
			out = append(out, penstock.Outcome{Pos: t.pos})
		}
	}
	if !p.each() {
		for _, pos := range last {
			out = append(out, penstock.Outcome{Pos: pos})
		}
	}
	if len(last) == 0 {
		return nil
	}
	if f.durable && (p.channel != nil || p.keeps) {
		ranges := make([]channel.Range, 0, 1)
		if p.channel != nil {
			for i := range in.tracks {
				at := in.tracks[i].pos.Offset
				if n := len(ranges); n > 0 && ranges[n-1].To == at {
					ranges[n-1].To++
					continue
				}
				ranges = append(ranges, channel.Range{From: at, To: at + 1})
			}
		}
		err := f.r.store.Submit(store.Bulk, func(tx store.Tx) error {
			if p.channel != nil {
				return p.channel.group.Load().Ack(tx, ranges)
			}
			for stream, pos := range last {
				pr := progress{prefix: pos, any: true}
				if err := tx.Put(p.space(), store.Entry{Key: []byte(stream), Value: pr.value()}); err != nil {
					return err
				}
			}
			return nil
		}).Wait(f.ctx)
		if err != nil {
			return err
		}
		if p.channel != nil {
			p.channel.group.Load().Acked(ranges)
			return nil
		}
	}
	if !f.durable {
		return nil // its settler tells the source when it is through: there is nothing to come back to
	}
	return p.source.Settle(f.ctx, out)
}
