package penstock

import (
	"context"
	"time"
)

// Preparation asks, for a source, what its payloads need to be read (see [Preparing]), so that another system that is away (a schema registry) holds the flow up in place of making dead
// letters. The source keeps what is not ready yet, and hands it out later, in order. It is used by one goroutine at a time.
type Preparation struct {
	bodies *Payloads
	env    Env
	away   bool // it was said that the flow waits
}

// Preparation makes a Preparation for a source.
func (p *Payloads) Preparation(env Env) *Preparation { return &Preparation{bodies: p, env: env} }

// Needed says that payloads may have to be waited for at all; where it is false, all are always ready.
func (p *Preparation) Needed() bool { return p.bodies.Prepares() }

// prepareEvery is how long is waited before another system that could not be asked is asked again.
const prepareEvery = time.Second

// Ready says how many of the first n payloads can be read now: those behind the first one that can't have to wait, too. Where that is the very first, it waits a
// second and gives 0: the source sees to its connection, and asks again. An error is that of ctx, which has ended. payload gives one by its index.
func (p *Preparation) Ready(ctx context.Context, n int, payload func(i int) []byte) (int, error) {
	if !p.Needed() {
		return n, nil
	}
	for i := range n {
		err := p.bodies.Prepare(ctx, payload(i))
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case i > 0:
			return i, nil
		case !p.away:
			p.away = true
			p.env.Logger.Warn("messages can't be read now; the flow waits", "source", p.env.Name, "error", err)
		}
		fired, stop := p.env.Clock.NewTimer(prepareEvery)
		defer stop()
		select {
		case <-fired:
			return 0, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if p.away && n > 0 {
		p.away = false
		p.env.Logger.Info("messages can be read again", "source", p.env.Name)
	}
	return n, nil
}
