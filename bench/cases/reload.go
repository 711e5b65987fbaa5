package cases

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"penstock.dev/penstock/bench/codecdata"
	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

const (
	reloadedFlows = 500
	quietSide     = "the same without reloads"
	// between two reloads: as somebody saves who is in a hurry.
	between = 100 * time.Millisecond
)

// ServiceCases lists the cases of what services do beside answering requests, in the order they are run.
func ServiceCases() []HTTPCase {
	return []HTTPCase{
		{
			Name: "csv-postgres", Title: "CSV file → PostgreSQL", prepare: startPostgres, sides: csvPostgres,
			Bars: []StoreBar{{Figure: "rate", Over: copySide, Bar: 0.7, Goal: 0.9}},
		},
		{
			Name: "cdc", Title: "changes in PostgreSQL → lines of JSON", prepare: startLogicalPostgres, sides: cdc,
			Bars: []StoreBar{{Figure: "rate", Bar: 80e3}},
		},
		{
			Name: "reload", Title: "reload of 1 of 500 flows, by a signal", sides: reload,
			Bars: []StoreBar{{Figure: "reload", Most: true, Bar: 100}, {Figure: "largest gap elsewhere", Over: quietSide, Most: true, Bar: 1.5}},
		},
		{
			Name: "rabbitmq", Title: "RabbitMQ → mapping → RabbitMQ, with publisher confirms", prepare: startRabbitMQ, sides: rabbitMQ,
			Bars: []StoreBar{{Figure: "rate", Over: peerSide, Bar: 2}},
		},
		{
			Name: "kafka", Title: "Kafka → filter and mapping → Kafka", prepare: startKafka, sides: kafkaKafka,
			Bars: []StoreBar{{Figure: "CPU", Over: bareSide, Beyond: true, Most: true, Bar: 2, Goal: 1}},
		},
		{
			Name: "protobuf", Title: "Protobuf file → 4-field mapping → Protobuf file", sides: codecSides(codecdata.Protobuf),
			Bars: []StoreBar{{Figure: "rate", Over: anySide, Bar: 3}},
		},
		{
			Name: "avro", Title: "Avro container → 4-field mapping → Avro container", sides: codecSides(codecdata.Avro),
			Bars: []StoreBar{{Figure: "rate", Over: anySide, Bar: 3}},
		},
		{
			Name: "nats", Title: "JetStream → mapping → JetStream", prepare: startNATS, sides: natsStreams,
			Bars: []StoreBar{{Figure: "rate", Bar: 28.8e3}, {Figure: "CPU", Most: true, Bar: 13}, {Figure: "rate", Over: peerSide, Bar: 2},
				{Figure: "CPU", Over: peerSide, Most: true, Bar: 0.25}},
		},
		{Name: "pulsar", Title: "Pulsar → filter and mapping → Pulsar", prepare: startPulsar, sides: pulsarTopics},
		{
			Name: "dev", Title: "`penstock dev` of 500 flows: from a save to what is said of the reload", sides: dev,
			Bars: []StoreBar{{Figure: "reload", Most: true, Bar: 200}},
		},
	}
}

// reloading is a service of many flows: one that changes, one that makes a message each millisecond and is watched, and others that wait to be called. These two send
// to a server of the harness.
type reloading struct {
	e       *httpRun
	folder  string // of the configuration
	listen  string // of penstock
	arrived *arrivals
}

// arrivals are the messages that came to the harness.
type arrivals struct {
	mu      sync.Mutex
	pulses  []time.Time
	version string
	changed chan struct{} // closed when there is a message of version
}

// ServeHTTP implements http.Handler.
func (a *arrivals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.URL.Path {
	case "/pulse":
		a.pulses = append(a.pulses, now)
	case "/changing":
		if a.changed != nil && strings.Contains(string(body), a.version) {
			close(a.changed)
			a.changed = nil
		}
	}
}

// expect forgets what has come, and says when there is a message of a version.
func (a *arrivals) expect(version string) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version, a.changed = `"`+version+`"`, make(chan struct{})
	return a.changed
}

// gaps are the times between messages of the flow that is watched, in milliseconds, sorted; it forgets them.
func (a *arrivals) gaps() []float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.SortFunc(a.pulses, time.Time.Compare) // several requests are under way
	out := make([]float64, 0, len(a.pulses))
	for i := 1; i < len(a.pulses); i++ {
		out = append(out, float64(a.pulses[i].Sub(a.pulses[i-1]).Microseconds())/1000)
	}
	a.pulses = nil
	slices.Sort(out)
	return out
}

// newReloading writes the configuration and starts the server that its messages go to.
func newReloading(e *httpRun, flows int) (*reloading, func(), error) {
	x := &reloading{e: e, folder: filepath.Join(e.folder, "flows"), arrived: &arrivals{}}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: x.arrived}
	go func() { _ = s.Serve(l) }()
	stop := func() { _ = s.Close() }
	if x.listen, err = free(); err == nil {
		err = WriteService(x.folder, flows, "http://"+l.Addr().String())
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return x, stop, nil
}

// WriteService writes the configuration of a service of n flows: `changing` in a file of its own, `pulse`, and others that are called over HTTP, ten to a file. The first two send
// to a server.
func WriteService(folder string, n int, server string) error {
	if err := errors.Join(os.RemoveAll(folder), os.MkdirAll(folder, 0o750)); err != nil { // there may have been more flows
		return err
	}
	write := func(name, text string) error { return os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600) }
	err := errors.Join(write("service.yaml", fmt.Sprintf(serviceHead, server)), write(changingFile, fmt.Sprintf(changingFlow, "0")))
	for from := 2; from < n; from += 10 {
		group := from / 10
		var b strings.Builder
		fmt.Fprintf(&b, serviceSchema, group)
		for i := from; i < min(from+10, n); i++ {
			fmt.Fprintf(&b, serviceFlow, i, i, group, i%7, i%5, i)
		}
		err = errors.Join(err, write(fmt.Sprintf("group%d.yaml", group), b.String()))
	}
	return err
}

const changingFile = "changing.yaml"

const serviceHead = `apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: harness }
spec: { http: { url: "%s" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: pulse }
spec:
  from: { timer: { every: 1ms } }
  to: { http: { connection: harness, post: /pulse } }
`

const changingFlow = `apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: changing }
spec:
  from: { timer: { every: 1ms } }
  steps: [ { map: { version: "%s" } } ]
  to: { http: { connection: harness, post: /changing } }
`

const serviceSchema = `apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: line-%d }
spec:
  jsonSchema:
    inline:
      type: object
      required: [id, country, amount, quantity]
      properties:
        id: { type: string }
        customer: { type: integer }
        country: { type: string }
        amount: { type: number, format: decimal }
        quantity: { type: integer }
        address:
          type: object
          properties: { city: { type: string }, zip: { type: string } }
`

const serviceFlow = `---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: flow-%d }
spec:
  from: { http: { post: /flow-%d }, schema: line-%d }
  steps:
    - filter: body.quantity > %d && body.country in ["DE", "FR", "GB"]
    - set: { body.total: "${body.amount * body.quantity}", vars.city: "${body.?address.?city.orValue('?')}" }
    - choice:
        - when: body.total > decimal("%d00")
          steps: [ { set: { body.class: large } } ]
        - otherwise: [ { set: { body.class: small } } ]
    - map: { id: "${body.id}-%d", total: "${body.total}", class: "${body.class}", city: "${vars.city}" }
`

// reload has a service of 500 flows do what its files say, by a signal, again and again, with another change to one of them each time; beside it the same service with
// nothing done to it.
func reload(e *httpRun) ([]httpSide, error) {
	run := func(reloads bool) func(context.Context) (load.Result, error) {
		return func(ctx context.Context) (r load.Result, err error) {
			x, stop, err := newReloading(e, reloadedFlows)
			if err != nil {
				return r, err
			}
			defer stop()
			argv := []string{e.Penstock, "run", x.folder, "--listen", x.listen, "--log-level", "error", "-o", "json"}
			ask := func(p *os.Process) error { return p.Signal(syscall.SIGHUP) }
			if !reloads {
				ask = nil
			}
			return r, x.measure(ctx, argv, ask, &r)
		}
	}
	return []httpSide{{name: "penstock", run: run(true)}, {name: quietSide, run: run(false)}}, nil
}

// dev saves a file under `penstock dev`, again and again.
func dev(e *httpRun) ([]httpSide, error) {
	side := func(name string, flows int) httpSide {
		return httpSide{name: name, run: func(ctx context.Context) (r load.Result, err error) {
			x, stop, err := newReloading(e, flows)
			if err != nil {
				return r, err
			}
			defer stop()
			return r, x.measure(ctx, []string{e.Penstock, "dev", x.folder, "--listen", x.listen, "--log-level", "error", "-o", "json"}, func(*os.Process) error { return nil }, &r)
		}}
	}
	return []httpSide{side("penstock", reloadedFlows), side("penstock, 10 flows", 10)}, nil
}

// measure starts a service, changes a file and asks it to reload, for as long as a run of an HTTP case lasts; nil asks nothing.
func (x *reloading) measure(ctx context.Context, argv []string, ask func(*os.Process) error, r *load.Result) error {
	said := make(chan reloadLine, 100)
	hear := func(line []byte) {
		var l reloadLine
		if json.Unmarshal(line, &l) == nil && l.Type == "reload" {
			l.at = time.Now()
			said <- l
		}
	}
	var took, first, paused []float64
	u, err := harness.Talking(ctx, x.e.folder, argv, hear, x.pulsing, func(ctx context.Context, p *os.Process) error {
		if err := wait(ctx, time.Second); err != nil { // what the start leaves to be done
			return err
		}
		x.arrived.gaps()
		for begun := time.Now(); time.Since(begun) < x.e.Duration; {
			if err := wait(ctx, between); err != nil {
				return err
			}
			if ask == nil {
				continue
			}
			version := fmt.Sprintf("v%d", len(took)+1)
			arrived := x.arrived.expect(version)
			saved := time.Now()
			// As editors do: what reads the file sees the old one, or the new one.
			path := filepath.Join(x.folder, changingFile)
			if err := errors.Join(os.WriteFile(path+"~", fmt.Appendf(nil, changingFlow, version), 0o600), os.Rename(path+"~", path), ask(p)); err != nil {
				return err
			}
			limit := time.After(30 * time.Second)
			select {
			case <-arrived:
				first = append(first, float64(time.Since(saved).Microseconds())/1000)
			case <-ctx.Done():
				return ctx.Err()
			case <-limit:
				return errors.New("no message of the new version came")
			}
			select {
			case l := <-said:
				// Dev puts what a run prints as `reload` into an object of that name.
				if l.Reloaded != nil {
					l.OK, l.Changed, l.Paused = l.Reloaded.OK, l.Reloaded.Changed, l.Reloaded.Paused
				}
				if !l.OK || len(l.Changed) != 1 {
					return fmt.Errorf("the reload did something else: %+v", l)
				}
				took = append(took, float64(l.at.Sub(saved).Microseconds())/1000)
				paused = append(paused, l.Paused*1000)
			case <-ctx.Done():
				return ctx.Err()
			case <-limit:
				return errors.New("the reload was not told")
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	gaps := x.arrived.gaps()
	if len(gaps) < 100 {
		return fmt.Errorf("only %d messages came of the flow that is watched", len(gaps))
	}
	if ask != nil {
		for _, f := range []struct {
			name string
			of   []float64
		}{{"reload", took}, {"first message of the new flow", first}, {"pause of the changed flow", paused}} {
			slices.Sort(f.of)
			r.Add(f.name, "ms", f.of[len(f.of)/2])
			r.Add(f.name+", slowest", "ms", f.of[len(f.of)-1])
		}
		r.Add("reloads", "", float64(len(took)))
	}
	r.Add("largest gap elsewhere", "ms", gaps[len(gaps)-1])
	r.Add("p99.9 gap elsewhere", "ms", gaps[len(gaps)*999/1000])
	r.Add("messages elsewhere", "a second", float64(len(gaps))/x.e.Duration.Seconds())
	r.Add("max RSS", "MB", float64(u.MaxRSS)/1e6)
	return nil
}

// reloadLine is a line of type reload, of run or dev.
type reloadLine struct {
	Type string `json:"type"`
	reloadFigures
	Reloaded *reloadFigures `json:"reloaded"`
	at       time.Time
}

type reloadFigures struct {
	OK      bool              `json:"ok"`
	Changed []json.RawMessage `json:"changed"`
	Paused  float64           `json:"pausedSeconds"`
}

// pulsing waits for the flow that is watched.
func (x *reloading) pulsing(context.Context) error {
	x.arrived.mu.Lock()
	defer x.arrived.mu.Unlock()
	if len(x.arrived.pulses) == 0 {
		return errors.New("nothing has come")
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
