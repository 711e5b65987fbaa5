package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/httpd"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/plan"
)

// web is the HTTP listener of a run.
type web struct {
	server *httpd.Server
	// slack is memory that is never touched, so that it costs nothing but addresses. The collector counts it as live, and so lets
	// requests leave that much behind before it runs: a small heap would be collected some fifty times a second, for a fifth of the CPU.
	slack []byte
}

// slackBytes is about what a run with requests may hold in garbage.
const slackBytes = 32 << 20

// openListener makes the listener of a run. It takes its address at once where the plan has servers of HTTP, so that one that is in use
// is said before anything is opened; else with the first route that a reload brings.
func openListener(ctx context.Context, pl *plan.Plan, o *RunOptions, tracer *observe.Tracer) (*web, error) {
	h := pl.HTTP
	address := h.Address
	if o.Address != "" {
		if _, _, err := net.SplitHostPort(o.Address); err != nil {
			return nil, &penstock.Error{Code: penstock.Config, Op: "--listen", Err: fmt.Errorf("%q is not host:port", o.Address), Hint: "write it as --listen 127.0.0.1:8080, or 0.0.0.0:8080 for every address"}
		}
		address = o.Address
	}
	routed := len(pl.Routed())
	if pulls(pl) {
		routed++
	}
	opts := httpd.Options{
		Address: address, HeaderTimeout: h.Header, BodyTimeout: h.Body, WriteTimeout: h.Write, IdleTimeout: h.Idle,
		MaxHeader: h.MaxHeader, MaxConnections: h.MaxConnections, Await: routed, Logger: o.Logger, Tracer: tracer,
	}
	if t := h.TLS; t != nil {
		opts.TLS = &httpd.TLS{Certificate: t.Certificate, PrivateKey: t.PrivateKey, ClientCA: t.ClientCA, ClientAuth: httpd.ClientAuth(t.ClientAuth)}
	}
	s, err := httpd.New(opts)
	if err != nil {
		var e *penstock.Error
		if errors.As(err, &e) && h.Pos.IsValid() {
			e.Path = h.Pos.String() + ": " + e.Path
		}
		return nil, err
	}
	w := &web{server: s}
	if routed > 0 && !o.Once {
		if err := s.Listen(ctx); err != nil {
			return nil, err
		}
		w.slack = make([]byte, slackBytes)
	}
	return w, nil
}

// lastAnswers is how long answers that were written may take to reach their callers when the run has ended.
const lastAnswers = 5 * time.Second

// close ends the listener. The run has ended: what is left are answers on their way.
func (w *web) close(abort <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), lastAnswers)
	defer cancel()
	go func() {
		select {
		case <-abort:
			cancel()
		case <-ctx.Done():
		}
	}()
	_ = w.server.Close(ctx) // it was said to those who were cut off
	runtime.KeepAlive(w.slack)
}
