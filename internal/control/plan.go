package control

import (
	"context"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/run"
)

// BrokerPlan is what a run would make or change on brokers before it begins, and what stands in its way.
type BrokerPlan struct {
	// OK says that the run could begin: every broker could be asked, and nothing is in conflict.
	OK        bool         `json:"ok"`
	Creates   int          `json:"creates"`   // objects that would be made
	Changes   int          `json:"changes"`   // objects of which a setting would be changed
	Conflicts int          `json:"conflicts"` // objects that stand in the way
	Failures  int          `json:"failures"`  // needs whose broker could not be asked
	Needs     []BrokerNeed `json:"needs"`     // of the channels on brokers, then of the endpoints that declare what they need
}

// BrokerNeed is what one channel or endpoint needs.
type BrokerNeed struct {
	Channel    string           `json:"channel,omitempty"`  // its name; or
	Endpoint   string           `json:"endpoint,omitempty"` // flow/step
	Broker     string           `json:"broker"`             // kafka
	Connection string           `json:"connection,omitempty"`
	Pos        penstock.Pos     `json:"position"`
	Objects    []BrokerObject   `json:"objects"`         // in the order in which they are made
	Error      *operate.Problem `json:"error,omitempty"` // why the broker could not be asked
}

// BrokerObject is one thing on a broker, and what would become of it.
type BrokerObject struct {
	penstock.Object
	// Text says what is wrong with one that is in conflict.
	Text string `json:"text,omitempty"`
}

// Plan asks the brokers of a checked configuration how everything stands that its flows (none: all) need there, and changes nothing. The
// error is about the configuration or its secrets; what a broker says stands in the plan.
func (s *Service) Plan(ctx context.Context, c *Checked, flows []string) (*BrokerPlan, error) {
	pl, err := c.selectFlows(flows)
	if err != nil {
		return nil, err
	}
	keeper := s.keeper(nil)
	defer func() { _ = keeper.Close() }()
	if err := keeper.Fill(ctx, pl); err != nil {
		return nil, err
	}
	b := run.NewBrokers(pl, run.Options{Clock: s.clock(), UUID: newUUID})
	out := &BrokerPlan{Needs: []BrokerNeed{}}
	for _, n := range b.Describe(ctx, pl) {
		need := BrokerNeed{Channel: n.Channel, Endpoint: n.Endpoint, Broker: n.Label, Connection: n.Connection, Pos: n.Pos, Objects: []BrokerObject{}}
		if n.Err != nil {
			need.Error = problem(keeper.RedactError(errors.Unwrap(n.Err)))
			out.Failures++
		}
		for _, o := range n.Objects {
			own := BrokerObject{Object: o}
			switch o.Action {
			case penstock.ObjectCreate:
				out.Creates++
			case penstock.ObjectChange:
				out.Changes++
			case penstock.ObjectConflict:
				out.Conflicts++
				own.Text = run.ConflictText(o)
			case penstock.ObjectKeep:
			}
			need.Objects = append(need.Objects, own)
		}
		out.Needs = append(out.Needs, need)
	}
	out.OK = out.Conflicts+out.Failures == 0
	if err := b.Close(); err != nil {
		return out, keeper.RedactError(err)
	}
	if ctx.Err() != nil && out.Failures > 0 {
		return nil, context.Cause(ctx)
	}
	return out, nil
}
