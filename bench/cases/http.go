package cases

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

// HTTPEnv is what the cases of HTTP need besides [Env].
type HTTPEnv struct {
	Load       string        // the binary of cmd/httpload
	Copy       string        // the binary of cmd/pgcopy
	Bare       string        // the binary of cmd/kafkacopy
	Generic    string        // the binary of cmd/codeccopy
	BarePulsar string        // the binary of cmd/pulsarcopy
	Duration   time.Duration // of each run, after a second that is not counted
}

// HTTPCase is a service under a load of requests: 64 connections, each with one request at a time; or, of [ServiceCases], what its name says.
type HTTPCase struct {
	Name, Title string
	Bars        []StoreBar
	sides       func(e *httpRun) ([]httpSide, error)
	// prepare makes what the sides have in common, and returns what lets go of it; nil: there is nothing.
	prepare func(ctx context.Context, e *httpRun) (func() error, error)
}

// HTTPOutcome is a case with what was measured.
type HTTPOutcome struct {
	Case  HTTPCase
	Sides []StoreSide
}

// The names of sides.
const (
	peerSide = "peer"
	echoSide = "net/http echo"
)

// HTTPCases lists the cases of HTTP in the order they are run.
func HTTPCases() []HTTPCase {
	return []HTTPCase{
		{
			Name: "http-reply", Title: "HTTP → mapping → reply", sides: httpReply,
			Bars: []StoreBar{{Figure: "rate", Over: peerSide, Bar: 2.5, Goal: 3}},
		},
		{
			Name: "http-upstream", Title: "HTTP → call upstream → mapping → reply", sides: httpUpstream,
			Bars: []StoreBar{{Figure: "rate", Over: proxySide, Bar: 1.5, Goal: 2}},
		},
		{
			Name: "http-sink", Title: "generate → HTTP sink, 64 in flight", sides: httpSink,
			Bars: []StoreBar{{Figure: "rate", Bar: 30e3}},
		},
	}
}

// httpRun is a case under way.
type httpRun struct {
	Env
	HTTPEnv
	folder string // absolute
	name   string

	postgres *harness.Postgres
	rabbitmq *harness.RabbitMQ
	kafka    *harness.Kafka
	nats     *harness.NATS
	pulsar   *harness.Pulsar
}

// started starts a server for a case, with its files in a folder beside that of the session, which is nobody else's.
func started[S interface{ Stop() error }](e *httpRun, at *S, start func(under string) (S, error)) (end func() error, err error) {
	under, err := filepath.Abs(e.Temp)
	if err != nil {
		return nil, err
	}
	if *at, err = start(filepath.Dir(under)); err != nil {
		return nil, err
	}
	return (*at).Stop, nil
}

// httpSide is one of the programs that are compared.
type httpSide struct {
	name   string
	argv   []string
	listen string // host:port
	path   string
	body   string
	want   string

	behind   *echoServer // a server that it asks; nil: there is none
	messages int         // it ends by itself after so many; 0: it serves

	run func(ctx context.Context) (load.Result, error) // how it is measured; nil: as one that serves HTTP
}

// Run measures a case, with files in a folder of its own below env.Temp, which is removed.
func (c HTTPCase) Run(ctx context.Context, env Env, http HTTPEnv, rounds int, say func(string)) (out HTTPOutcome, err error) {
	out.Case = c
	e := &httpRun{Env: env, HTTPEnv: http, name: c.Name}
	if e.folder, err = filepath.Abs(filepath.Join(env.Temp, c.Name)); err != nil {
		return out, err
	}
	if e.Flows, err = filepath.Abs(env.Flows); err != nil {
		return out, err
	}
	if err := os.MkdirAll(e.folder, 0o750); err != nil {
		return out, err
	}
	defer func() { _ = os.RemoveAll(e.folder) }()
	if c.prepare != nil {
		end, err := c.prepare(ctx, e)
		if err != nil {
			return out, err
		}
		defer func() { err = errors.Join(err, end()) }()
	}
	sides, err := c.sides(e)
	if err != nil {
		return out, err
	}
	again := sides[0]
	again.name = Control
	sides = append(sides, again)
	for _, s := range sides {
		out.Sides = append(out.Sides, StoreSide{Name: s.name})
	}
	for round := range rounds {
		for k := range sides {
			i := (k + round) % len(sides)
			syscall.Sync()
			r, err := e.measure(ctx, sides[i])
			if err != nil {
				return out, fmt.Errorf("%s, round %d: %w", sides[i].name, round+1, err)
			}
			out.Sides[i].add(r)
			line := fmt.Sprintf("%s %d/%d %s:", c.Name, round+1, rounds, sides[i].name)
			for _, f := range r.Figures {
				line += fmt.Sprintf(" %s %.4g %s,", f.Name, f.Value, f.Unit)
			}
			say(strings.TrimSuffix(line, ","))
		}
	}
	return out, nil
}

// measure starts a side's service, makes the load, and ends it.
func (e *httpRun) measure(ctx context.Context, s httpSide) (load.Result, error) {
	switch {
	case s.run != nil:
		return s.run(ctx)
	case s.messages > 0:
		return e.whole(ctx, s)
	}
	var r load.Result
	var u harness.ServiceUse
	_, err := e.with(ctx, s.behind, func(ctx context.Context) (err error) {
		u, err = harness.Service(ctx, e.folder, s.argv, listening(s.listen), func(ctx context.Context) error {
			m, err := harness.RunIn(ctx, e.folder, e.Load, "-address", s.listen, "-path", s.path, "-body", s.body, "-want", s.want, "-duration", e.Duration.String())
			if err != nil {
				return err
			}
			return json.Unmarshal(bytes.TrimSpace(m.Stdout), &r)
		})
		return err
	})
	if err != nil {
		return r, err
	}
	var out load.Result
	for _, f := range r.Figures {
		if f.Name == load.AllRequests {
			out.Add("CPU", "µs a request", u.CPU.Seconds()*1e6/f.Value)
			continue
		}
		out.Figures = append(out.Figures, f)
	}
	out.Add("max RSS", "MB", float64(u.MaxRSS)/1e6)
	return out, nil
}

// free is an address of this machine that nobody listens on.
func free() (string, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// httpReply is a request of 93 bytes of JSON, a mapping that reads one field, and its result as the reply.
func httpReply(e *httpRun) ([]httpSide, error) {
	const body = `{"id":"k1","country":"DE","amount":175.53,"name":"Ann","note":"white hanging heart lantern"}`
	const want = `{"greeting":"Hello, Ann"}`
	var out []httpSide
	add := func(name, path, want string, argv func(listen string) ([]string, error)) error {
		listen, err := free()
		if err != nil {
			return err
		}
		args, err := argv(listen)
		out = append(out, httpSide{name: name, argv: args, listen: listen, path: path, body: body, want: want})
		return err
	}
	if e.Penstock != "" {
		if err := add("penstock", "/hello", want, func(listen string) ([]string, error) {
			return []string{e.Penstock, "run", filepath.Join(e.Flows, e.name), "--listen", listen, "--log-level", "error", "--quiet"}, nil
		}); err != nil {
			return nil, err
		}
	}
	if e.Peer != "" {
		if err := add(peerSide, "/hello", want, func(listen string) ([]string, error) {
			return peerArgs(e.Env, e.name+".yaml", strings.NewReplacer("${LISTEN}", listen))
		}); err != nil {
			return nil, err
		}
	}
	err := add(echoSide, "/", body, func(listen string) ([]string, error) { return []string{e.Load, "-echo", listen}, nil })
	return out, err
}
