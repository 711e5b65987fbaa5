package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/control/port"
	"penstock.dev/penstock/internal/httpd"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/observe/health"
	"penstock.dev/penstock/internal/observe/metrics"
	"penstock.dev/penstock/internal/observe/otlp"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
)

// telemetry is what records the ways of messages in a run.
type telemetry struct {
	exporter *otlp.Exporter  // nil: nobody wants any
	tracer   *observe.Tracer // likewise
	bounds   []float64
}

// lastSpans is how long the collector may take for what is left when a run has ended.
const lastSpans = 5 * time.Second

// openTelemetry looks whether somebody wants spans.
func openTelemetry(ctx context.Context, pl *plan.Plan, o *RunOptions) (*telemetry, error) {
	t := &telemetry{bounds: boundsOf(pl)}
	c := otlp.Config{Ratio: -1, Service: pl.Telemetry.Service, Version: o.Version.Version, Instance: newUUID(), Logger: o.Logger, Getenv: o.Getenv}
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if tr := pl.Telemetry.Traces; tr != nil {
		c.On, c.Endpoint, c.Protocol, c.Ratio, c.Limit = true, tr.Endpoint, tr.Protocol, tr.Ratio, tr.Limit
	}
	if !c.Wanted() {
		return t, nil
	}
	e, err := otlp.New(ctx, c)
	if err != nil {
		return nil, err
	}
	t.exporter, t.tracer = e, observe.NewTracer(e, c.Sampling(), nil)
	return t, nil
}

// close exports what is left, or gives it up at once with abort.
func (t *telemetry) close(abort <-chan struct{}) {
	if t.exporter == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-abort:
			cancel()
		case <-stop:
		}
	}()
	_ = t.exporter.Close(ctx) // what was lost is counted
}

// boundsOf are the classic buckets of how long messages take: those that are asked for, and the thresholds of objectives.
func boundsOf(pl *plan.Plan) []float64 {
	out := observe.DefaultBounds()
	if b := pl.Telemetry.Buckets; b != nil {
		out = nil
		for _, d := range b {
			out = append(out, d.Seconds())
		}
	}
	for _, f := range pl.Flows {
		if f.SLO != nil && f.SLO.Threshold > 0 {
			out = append(out, f.SLO.Threshold.Seconds())
		}
	}
	return out
}

// watched is a run as those see it who look after it.
type watched struct {
	plan     func() *plan.Plan // that runs now
	started  <-chan struct{}
	stopping context.Context //nolint:containedctx // it says whether the run is asked to stop
	snapshot func() *run.Summary
	st       *storage
	web      *web
	clock    penstock.Clock
	tel      *telemetry
	crew     *crew
	queues   *jobs.Service
	views    *views
}

// openPort lets a run be looked at; nil: nobody asked for that.
func openPort(ctx context.Context, w *watched, o *RunOptions) (*port.Server, error) {
	address := o.Control
	if address == "" {
		address = w.plan().Control.Address
	}
	if address == "" {
		return nil, nil
	}
	routes := port.Routes{Metrics: metrics.Handler(w.sources(o)), Live: []health.Check{{Name: "ping", Probe: func(context.Context) error { return nil }}}, Ready: w.ready(), Token: w.plan().Control.Token}
	if t := w.plan().Control.TLS; t != nil {
		own := &httpd.TLS{Certificate: t.Certificate, PrivateKey: t.PrivateKey, ClientCA: t.ClientCA, ClientAuth: httpd.ClientAuth(t.ClientAuth)}
		if own.ClientAuth == "" && !t.ClientCA.IsZero() && routes.Token != nil {
			own.ClientAuth = httpd.OptionalClient // the token will do
		}
		var err error
		if routes.TLS, err = own.Config(); err != nil {
			return nil, err
		}
	}
	p, err := port.Listen(ctx, address, routes, o.Logger)
	if err != nil {
		return nil, err
	}
	if o.Logger != nil {
		o.Logger.Info("metrics and health on " + p.URL())
	}
	return p, nil
}

// closePort ends the port; who still reads a profile is cut off.
func closePort(p *port.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), serveGrace)
	defer cancel()
	p.Close(ctx)
}

func (w *watched) sources(o *RunOptions) metrics.Sources {
	s := metrics.Sources{
		Version: o.Version.Version, Commit: o.Version.Commit, Go: o.Version.Go,
		Run: w.snapshot, Behind: w.behind, Jobs: w.jobs, Views: w.looked,
		Store: func() (store.Stats, bool) {
			db := w.st.Opened()
			if db == nil {
				return store.Stats{}, false
			}
			return db.Stats(), true
		},
	}
	if w.tel.exporter != nil {
		s.Spans = func() metrics.Spans {
			return metrics.Spans{Stats: w.tel.exporter.Stats(), Limited: w.tel.tracer.Passed()}
		}
	}
	return s
}

// behind reads from the store who is how far behind.
func (w *watched) behind(ctx context.Context) (*metrics.Behind, error) {
	db := w.st.Opened()
	if db == nil {
		return nil, nil
	}
	channels, dead, err := operate.Behind(ctx, db, w.clock.Now())
	if err != nil {
		return nil, err
	}
	out := &metrics.Behind{Dead: dead}
	for _, c := range channels {
		out.Groups = append(out.Groups, metrics.Lag{Channel: c.Channel, Group: c.Group, Messages: c.Lag, Age: c.Age})
	}
	for _, f := range w.plan().Flows {
		if _, there := dead[f.Name]; !there && f.OnError.DeadLetter == nil {
			dead[f.Name] = 0
		}
	}
	return out, nil
}

// ready are the checks of whether the run is to be given work.
func (w *watched) ready() []health.Check {
	return []health.Check{
		{Name: "started", Probe: func(context.Context) error {
			select {
			case <-w.started:
				return nil
			default:
				return errors.New("sources and sinks are being opened")
			}
		}},
		{Name: "draining", Probe: func(context.Context) error {
			if w.stopping.Err() != nil {
				return errors.New("the run finishes what is in flight, and ends")
			}
			return nil
		}},
		{Name: "store", Probe: func(ctx context.Context) error {
			if w.crew.shared != nil {
				if err := w.crew.shared.ready(); err != nil {
					return err
				}
			}
			db := w.st.Opened()
			if db == nil {
				if w.plan().Durable {
					return errors.New("the store is not open yet")
				}
				return nil
			}
			return db.View(ctx, func(store.View) error { return nil })
		}},
		{Name: "flows", Aside: true, Probe: w.blockedFlows},
		{Name: "views", Aside: true, Probe: w.stoppedViews},
		{Name: "listener", Probe: func(context.Context) error {
			routed := w.plan().Routed()
			if len(routed) == 0 {
				return nil
			}
			if w.web.server.Addr() == nil {
				return errors.New("the HTTP listener has no address")
			}
			owners := map[string]bool{}
			for _, r := range w.web.server.Routes() {
				owners[r.Owner] = true
			}
			for _, ep := range routed {
				if !owners[ep.Name] {
					return fmt.Errorf("%s is not served", ep.Name)
				}
			}
			return nil
		}},
	}
}
