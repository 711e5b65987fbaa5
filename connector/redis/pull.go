package redis

import (
	"context"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
)

// pull asks for entries until ctx ends.
func (r *reader) pull(ctx context.Context) {
	err := r.claim(ctx, false)
	if err == nil {
		err = r.pending(ctx)
	}
	for err == nil && ctx.Err() == nil {
		if err = r.wait(ctx); err == nil {
			err = r.fresh(ctx)
		}
	}
	if ctx.Err() == nil {
		r.fail(end(err, r.failure))
	}
}

// pending reads what this consumer was given before and has not settled.
func (r *reader) pending(ctx context.Context) error {
	for after := "0"; ; {
		if err := r.wait(ctx); err != nil {
			return err
		}
		got, err := r.read(ctx, r.client.B().Xreadgroup().Group(r.group, r.consumer).Count(int64(r.config.Prefetch)).Streams().Key(r.key).Id(after).Build().ToPipe())
		if err != nil || len(got) == 0 {
			return err
		}
		if err := r.arrive(got, false); err != nil {
			return err
		}
		after = got[len(got)-1].ID
	}
}

// fresh reads what nobody was given yet, and waits for it a while.
func (r *reader) fresh(ctx context.Context) error {
	ask := r.client.B().Xreadgroup().Group(r.group, r.consumer).Count(int64(r.config.Prefetch))
	if r.env.Once {
		got, err := r.read(ctx, ask.Streams().Key(r.key).Id(">").Build())
		if err == nil && len(got) == 0 {
			return errOver
		}
		if err != nil {
			return err
		}
		return r.arrive(got, false)
	}
	got, err := r.read(ctx, ask.Block(block.Milliseconds()).Streams().Key(r.key).Id(">").Build())
	if err != nil {
		return err
	}
	return r.arrive(got, false)
}

// read sends an XREADGROUP. Its answer is waited for no longer than the server may take.
func (r *reader) read(ctx context.Context, cmd rueidis.Completed) ([]rueidis.XRangeSlice, error) {
	m := waitFor(ctx, r.env.Clock, block+r.link.timeout(), func(ctx context.Context) rueidis.RedisResult { return r.client.Do(ctx, cmd) })
	err := m.Error()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := m.AsXReadSlices()
	return all[r.key], err
}

// wait waits until there is room for more.
func (r *reader) wait(ctx context.Context) error {
	for {
		r.mu.Lock()
		full := len(r.queue) >= r.config.Prefetch || r.bytes > roomBytes
		r.mu.Unlock()
		if !full {
			return ctx.Err()
		}
		select {
		case <-r.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// arrive takes entries that the server has given us.
func (r *reader) arrive(got []rueidis.XRangeSlice, taken bool) error {
	now := r.env.Clock.Now()
	gone := 0
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range got {
		i, err := parseID(x.ID)
		if err != nil {
			return &penstock.Error{Code: penstock.Internal, Op: "redis", Path: r.at(), Err: err}
		}
		n, fits := i.offset()
		_, owed := r.owed[i]
		_, before := r.taken[i]
		switch {
		case !fits && !r.config.Shared:
			return config(r.at(), "say `shared: true`: then the run does not keep the position, and the group alone does", "the entry %s has an id that does not fit a position: more than %d in a millisecond, or a time behind the year 2248", i, 1<<seqBits)
		case r.here[i] != nil || owed:
			continue // it came again
		case x.FieldValues == nil:
			gone++
			r.owed[i] = struct{}{}
			continue
		case n < r.from && !taken && !before, r.remade && !r.last.less(i) && !r.config.Shared && !taken && !before:
			r.owed[i] = struct{}{} // the run has done it
			continue
		}
		e := &entry{id: i, fields: x.FieldValues, size: 256, touched: now, late: (taken || before) && (i.less(r.last) || n < r.from)}
		for _, f := range x.FieldValues {
			e.size += len(f.Field) + len(f.Value) + 32
		}
		if r.last.less(i) {
			r.last = i
		}
		r.here[i] = e
		r.queue = append(r.queue, e)
		r.bytes += e.size
	}
	if gone > 0 {
		r.env.Logger.Warn("entries were trimmed from the stream, or deleted, before they were settled", "stream", r.key, "group", r.group, "count", gone)
	}
	if len(r.queue) > 0 {
		signal(r.wake)
	}
	return nil
}
