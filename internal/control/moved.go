package control

import (
	"context"
	"log/slog"
	"os"
	"slices"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
	"penstock.dev/penstock/internal/store/sqlite"
)

// warnMoved says what the store still holds of channels that are on a broker now, and of outboxes of channels that are not any more: nobody reads it there.
func warnMoved(ctx context.Context, log *slog.Logger, st store.Store, all *plan.Plan) {
	err := st.View(ctx, func(v store.View) error {
		for _, b := range all.Brokers {
			left, groups, err := leftIn(v, b.Channel)
			if err != nil {
				return err
			}
			if left > 0 {
				log.Warn("the channel is on a broker, and the store still holds messages of it that were not read: they stay there", "channel", b.Channel, "broker", b.Tech, "messages", left, "groups", groups,
					"hint", "run once without the `broker` of the channel (without -k): `penstock run --once` works on them; or give them up with `penstock store forget`")
			}
		}
		for _, c := range all.Channels {
			if !c.Durable || c.Relay != nil {
				continue
			}
			outbox := c.Name + ".outbox"
			if slices.ContainsFunc(all.Channels, func(o *plan.Channel) bool { return o.Name == outbox }) {
				continue
			}
			left, _, err := leftIn(v, outbox)
			if err != nil {
				return err
			}
			if left > 0 {
				log.Warn("the channel is in the store, and messages of it that were on their way to a broker were not sent: they stay in its outbox", "channel", c.Name, "messages", left,
					"hint", "run once with the `broker` that the channel had: `penstock run --once` sends them")
			}
		}
		return nil
	})
	if err != nil {
		log.Warn("what the store holds of channels on brokers could not be looked up", "error", err)
	}
}

// warnMovedAnyway is warnMoved for a run that keeps no state, and so has no store open: it looks into the file that is there from runs before, if nobody else has it.
func warnMovedAnyway(ctx context.Context, log *slog.Logger, st *storage, all *plan.Plan) {
	if len(all.Brokers) == 0 || st.server != nil || st.other != nil || st.path == "" {
		return
	}
	if _, err := os.Stat(st.path); err != nil {
		return // nothing is left in a store that is not there
	}
	db, err := sqlite.Open(ctx, sqlite.Options{Path: st.path, Reserve: st.reserve, Logger: log})
	if err != nil {
		log.Debug("what the store holds of channels on brokers could not be looked up", "error", err)
		return
	}
	warnMoved(ctx, log, db, all)
	if err := db.Close(); err != nil {
		log.Debug("closing the store", "error", err)
	}
}

// leftIn says how many messages of a channel the group that is furthest behind has not read, and the groups that have not read all.
func leftIn(v store.View, name string) (left int64, groups []string, err error) {
	b, err := v.Log().Bounds(name)
	if err != nil || b.Next == b.First {
		return 0, nil, err
	}
	all, err := channel.Cursors(v, name)
	if len(all) == 0 {
		return b.Next - b.First, nil, err
	}
	for _, c := range all {
		if n := min(c.Left, b.Next-b.First) + c.Given; n > 0 {
			left = max(left, n)
			groups = append(groups, c.Group)
		}
	}
	return left, groups, err
}
