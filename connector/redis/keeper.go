package redis

import (
	"context"
	"slices"
	"time"

	"github.com/redis/rueidis"
)

// keep tells the server that entries are being worked on, and takes over what dead consumers had, until ctx ends.
func (r *reader) keep(ctx context.Context) {
	beat := r.idle / 3
	for {
		c, stop := r.env.Clock.NewTimer(beat)
		select {
		case <-ctx.Done():
			stop()
			return
		case <-c:
		}
		now := r.env.Clock.Now()
		r.mu.Lock()
		touch := r.ids(func(e *entry) bool { return now.Sub(e.touched) >= beat })
		r.mu.Unlock()
		r.say(ctx, touch, 0)
		r.pay(ctx)
		if err := r.claim(ctx, true); err != nil && ctx.Err() == nil && !groupGone(err) {
			r.env.Logger.Warn("what other consumers of the group left can't be taken over", "stream", r.key, "group", r.group, "error", r.failure(err))
		}
	}
}

// ids lists entries that are here, oldest first. mu is held.
func (r *reader) ids(which func(*entry) bool) (out []id) {
	now := r.env.Clock.Now()
	for i, e := range r.here {
		if which(e) {
			e.touched = now
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b id) int {
		switch {
		case a.less(b):
			return -1
		case b.less(a):
			return 1
		}
		return 0
	})
	return out
}

// say tells the server how long entries that are here have stood still.
func (r *reader) say(ctx context.Context, all []id, idle time.Duration) {
	for part := range slices.Chunk(all, atOnce) {
		ids := make([]string, len(part))
		for k, i := range part {
			ids[k] = i.String()
		}
		cmd := r.client.B().Xclaim().Key(r.key).Group(r.group).Consumer(r.consumer).MinIdleTime("0").Id(ids...).Idle(idle.Milliseconds()).Justid().Build()
		if r.link.ask(ctx, r.client, cmd).Error() != nil {
			return // they are taken over by others at worst, and come twice
		}
	}
}

// claim takes over what other consumers have got and not settled for so long that they are dead. At the beginning it is only made ours, and read with what is pending for
// this consumer; later it is handed out at once.
func (r *reader) claim(ctx context.Context, hand bool) error {
	idle := int64(r.idle / time.Millisecond)
	for cursor := "0-0"; ; {
		ask := r.client.B().Xautoclaim().Key(r.key).Group(r.group).Consumer(r.consumer).MinIdleTime(millis(idle)).Start(cursor).Count(atOnce)
		var cmd rueidis.Completed // it may be built once
		if hand {
			cmd = ask.Build()
		} else {
			cmd = ask.Justid().Build()
		}
		parts, err := r.link.ask(ctx, r.client, cmd).ToArray()
		if err != nil {
			return err
		}
		if cursor, err = parts[0].ToString(); err != nil {
			return err
		}
		if !hand {
			ids, err := parts[1].AsStrSlice()
			if err != nil {
				return err
			}
			r.take(ids)
		} else {
			got, err := claimed(&parts[1])
			if err != nil {
				return err
			}
			if err := r.arrive(got, true); err != nil {
				return err
			}
		}
		if cursor == "0-0" {
			return nil
		}
	}
}

// take notes what other consumers had.
func (r *reader) take(ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, text := range ids {
		if i, err := parseID(text); err == nil && r.here[i] == nil {
			if r.taken == nil {
				r.taken = map[id]struct{}{}
			}
			r.taken[i] = struct{}{}
		}
	}
}

// claimed reads the entries of an XAUTOCLAIM. Servers before 7.0 say null for those that were deleted, and keep them pending.
func claimed(m *rueidis.RedisMessage) (out []rueidis.XRangeSlice, err error) {
	all, err := m.ToArray()
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].IsNil() {
			continue
		}
		x, err := all[i].AsXRangeSlice()
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}
