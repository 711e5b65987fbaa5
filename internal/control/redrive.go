package control

import (
	"context"

	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/run"
)

// operates makes the operations of the run. All go through these: what one does with dead letters, the next one sees.
func (x *session) operates(l *live) {
	c := x.s.direct(x.st)
	c.Process, c.Live, c.Now = l, l, x.names
	c.Entities = func() *entity.Runtime { return x.entities }
	if x.r.shared != nil {
		c.Replicas = x.r.shared.replicas
	}
	c.Queues = x.queues.Service
	c.Views = &viewOps{clock: x.s.clock(), engine: x.views.engine}
	x.ops = operate.Direct(c)
}

// redrive is what a step of the run asks that gives dead letters in again.
func (x *session) redrive(ctx context.Context, what run.Redriving) (given, left int64, err error) {
	a := operate.Action{Verb: operate.Redrive, Rate: what.Rate, Who: what.Who, Selection: operate.Selection{Flow: what.Flow, Limit: what.Limit, Match: what.Match}}
	done, err := x.ops.Dead.Act(ctx, a, nil)
	if err != nil {
		return 0, 0, err
	}
	return done.Count, done.Left, nil
}
