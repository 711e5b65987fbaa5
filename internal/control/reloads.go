package control

import (
	"context"
	"errors"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/filewatch"
)

// reloads has a run that has started do what its files say, when they change or somebody asks for it with a signal, until what it
// returns is called.
func (x *session) reloads(ctx context.Context, started <-chan struct{}) (end func(), err error) {
	if !x.o.Watch && x.o.Hangup == nil {
		return func() {}, nil
	}
	var changes <-chan []string
	closing := func() error { return nil }
	if x.o.Watch {
		if x.s.FS != nil {
			return nil, &penstock.Error{Code: penstock.Config, Op: "watch", Err: errors.New("only files of the machine can be watched")}
		}
		w := x.o.files
		if w == nil {
			w = filewatch.New(filewatch.Options{Logger: x.o.Logger})
			closing = w.Close
		}
		follow := func(c *Checked) { w.Follow(c.set.Files(), c.set.Folders()) }
		x.o.watching = follow
		follow(x.current().checked)
		changes = w.Changes()
	}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-started:
		case <-ctx.Done():
			return
		}
		refused := false // the last one: who mends it waits to hear so
		for {
			asked := false
			select {
			case <-ctx.Done():
				return
			case <-changes:
			case <-x.o.Hangup:
				asked = true
			}
			r, err := x.Reload(ctx)
			if err != nil { // it was broken off: the run ends
				return
			}
			if x.o.Reloaded != nil && (asked || refused || !r.Empty()) {
				x.o.Reloaded(r)
			}
			refused = !r.OK
		}
	})
	return func() {
		stop()
		wg.Wait()
		_ = closing() // what it watched is let go in any case
	}, nil
}
