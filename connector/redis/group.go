package redis

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// names evaluates what the configuration says.
func (r *reader) names() (err error) {
	if r.key, err = named(r.config.Stream, r.env, "stream"); err != nil {
		return err
	}
	if r.group, err = fixed(r.config.Group, r.env); err != nil {
		return err
	}
	if r.group == "" {
		r.group = flowOf(r.env.Name)
	}
	if r.consumer, err = fixed(r.config.Consumer, r.env); err != nil {
		return err
	}
	switch {
	case r.consumer != "":
	case r.config.Shared:
		r.consumer = host()
	default:
		r.consumer = "penstock"
	}
	return nil
}

// declare makes the group if it is not there.
func (r *reader) declare(ctx context.Context) error {
	b := r.client.B().XgroupCreate().Key(r.key).Group(r.group).Id(r.begins()).Mkstream().Build()
	err := r.link.ask(ctx, r.client, b).Error()
	if e, ok := rueidis.IsRedisErr(err); ok && e.IsBusyGroup() {
		return nil // it is there
	}
	if err == nil {
		r.mu.Lock()
		r.remade = r.last != id{}
		r.mu.Unlock()
		if r.remade {
			r.env.Logger.Warn("the stream's group was not there any more, and is made anew", "stream", r.key, "group", r.group)
		}
	}
	return r.failure(err)
}

// begins says what a new group counts as given.
func (r *reader) begins() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != (id{}) { // it was deleted under us: with what is here and not settled, lest it be lost with us
		first := r.last
		for i := range r.here {
			if !first.less(i) {
				first = i.before()
			}
		}
		return first.String()
	}
	st := r.config.Start
	switch {
	case r.from > 0:
		return idAt(r.from).before().String()
	case st.ID != "":
		if i, err := parseID(st.ID); err == nil {
			return i.before().String()
		}
	case st.Time != "":
		if t, err := time.Parse(time.RFC3339, st.Time); err == nil {
			return id{uint64(max(t.UnixMilli(), 0)), 0}.before().String() //nolint:gosec // not negative
		}
	case st.At == "newest":
		return "$"
	}
	return "0"
}
