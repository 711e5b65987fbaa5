package control

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"penstock.dev/penstock/internal/control/port"
	"penstock.dev/penstock/internal/control/socket"
)

// serveGrace is how long a run waits at its end for operations that are nearly done: who waits for a drain is told how it ended.
const serveGrace = 2 * time.Second

// listen lets commands ask a run, from when it has started until ended is called with its error. Then operations are over,
// and the store may be closed.
func (s *Service) listen(ctx context.Context, started <-chan struct{}, x *session, l *live, looked *port.Server) (ended func(error)) {
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-l.done:
			return
		case <-started: // a run that keeps state has the store's lock now: what is asked of the store, it answers
		}
		defer s.serve(ctx, x, looked)()
		wg.Go(func() {
			select {
			case <-ctx.Done(): // an interrupt drains, too
				l.stopped()
			case <-l.done:
			}
		})
		l.watch()
	})
	return func(err error) {
		l.end(err)
		wg.Wait()
	}
}

// serve answers, on the socket and on the control port, until what it returns is called. A run must not fail for want of a socket:
// what is in the way is logged.
func (s *Service) serve(ctx context.Context, x *session, looked *port.Server) (end func()) {
	ops, log := x.ops, x.o.Logger
	api := socket.Handler(ops)
	remote := looked.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.ServeHTTP(w, r.WithContext(socket.As(r.Context(), port.Who(r.Context()))))
	}))
	if remote == nil && looked != nil && log != nil {
		log.Info("operations on " + looked.URL() + "/v1/")
	}
	shares := x.r.shared != nil
	ln, err := socket.Listen(ctx, x.st.path, x.current().plan.Durable && !shares)
	if err != nil {
		switch {
		case log == nil:
		case shares && errors.Is(err, socket.ErrTaken):
			log.Debug("commands ask another replica that was started here", "error", err)
		default:
			log.Warn("commands can't ask this process", "error", err)
		}
		return func() { _ = looked.Serve(nil) } // it was taken, or refused, above
	}
	srv := socket.Serve(ln, ops)
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), serveGrace)
		defer cancel()
		_ = looked.Serve(nil) // it was taken, or refused, above
		srv.Close(ctx)
	}
}
