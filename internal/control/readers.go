package control

import (
	"context"
	"log/slog"
	"strings"

	"penstock.dev/penstock/internal/control/operate"
	readmodel "penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// queueGroup is the group that all readers of a queue share, deadGroup the one that notes which dead letters were dealt with.
const (
	queueGroup = "queue"
	deadGroup  = "dlq"
)

// durableSteps lists the durable steps of a plan, as <flow>/<step>.
func durableSteps(pl *plan.Plan) []string {
	if !pl.Durable {
		return nil
	}
	var out []string
	for _, f := range pl.Flows {
		for i := range f.Nodes {
			switch f.Nodes[i].Op.(type) {
			case *plan.Stage, *plan.Group:
				out = append(out, f.Name+"/"+f.Nodes[i].Name)
			}
		}
	}
	return out
}

// groupsOf lists the groups with which the flows of a plan read each of its durable channels.
func groupsOf(pl *plan.Plan) map[string][]string {
	groups := map[string][]string{}
	for _, c := range pl.Channels {
		if !c.Durable {
			continue
		}
		groups[c.Name] = nil
		if strings.HasSuffix(c.Name, ".dead") {
			groups[c.Name] = []string{deadGroup}
		}
		for _, f := range pl.Flows {
			for _, src := range f.Sources {
				if src.Channel != c.Name {
					continue
				}
				name := src.Name
				if c.Queue {
					name = queueGroup
				}
				groups[c.Name] = append(groups[c.Name], name)
			}
		}
		for _, v := range pl.Views {
			if v.Channel == c.Name {
				groups[c.Name] = append(groups[c.Name], readmodel.Group(v.Name, 0))
			}
		}
	}
	return groups
}

// warnUnread says which groups of the channels of a run nobody reads any more: their channels keep for them whatever comes.
func warnUnread(ctx context.Context, log *slog.Logger, st store.Store, run, all *plan.Plan) {
	groups := groupsOf(all)
	err := st.View(ctx, func(v store.View) error {
		for _, c := range run.Channels {
			if !c.Durable {
				continue
			}
			stored, err := channel.Cursors(v, c.Name)
			if err != nil {
				return err
			}
			for _, g := range stored {
				if !operate.Reads(groups[c.Name], g.Group) {
					log.Warn("no flow reads this group of a channel any more, and the channel keeps its messages for it", "channel", c.Name, "group", g.Group, "behind", g.Left+g.Given,
						"hint", "`penstock store forget "+c.Name+" "+g.Group+"` gives it up")
				}
			}
		}
		return nil
	})
	if err != nil {
		log.Warn("who reads the channels could not be looked up", "error", err)
	}
}
