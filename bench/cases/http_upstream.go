package cases

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

const proxySide = "net/http ReverseProxy"

// httpUpstream is a request that a flow hands on to another server, whose answer it maps to the reply; beside it net/http's
// ReverseProxy, which hands requests on to the same server and its answers back as they are.
func httpUpstream(e *httpRun) ([]httpSide, error) {
	const body = `{"id":"k1","country":"DE","amount":175.53,"name":"Ann","note":"white hanging heart lantern"}`
	behind, err := e.behind()
	if err != nil {
		return nil, err
	}
	var out []httpSide
	if e.Penstock != "" {
		listen, err := free()
		if err != nil {
			return nil, err
		}
		argv := []string{e.Penstock, "run", filepath.Join(e.Flows, e.name), "--listen", listen, "--param", "upstream=http://" + behind.listen, "--log-level", "error", "--quiet"}
		out = append(out, httpSide{name: "penstock", argv: argv, listen: listen, path: "/hello", body: body, want: `{"greeting":"Hello, Ann"}`, behind: behind})
	}
	listen, err := free()
	if err != nil {
		return nil, err
	}
	return append(out, httpSide{name: proxySide, argv: []string{e.Load, "-proxy", listen, "-address", behind.listen}, listen: listen, path: "/echo", body: body, want: body, behind: behind}), nil
}

// httpSink is a flow that sends what it makes to a server, 64 requests at once, from its start to its end.
func httpSink(e *httpRun) ([]httpSide, error) {
	behind, err := e.behind()
	if err != nil {
		return nil, err
	}
	messages := max(e.Messages/5, 1)
	flow, err := ownFlow(e.Env, e.name, messages)
	if err != nil {
		return nil, err
	}
	if flow, err = filepath.Abs(flow); err != nil {
		return nil, err
	}
	argv := []string{e.Penstock, "run", flow, "--param", "upstream=http://" + behind.listen, "-o", "json"}
	return []httpSide{{name: "penstock", argv: argv, behind: behind, messages: messages}}, nil
}

// echoServer is a server of net/http that answers with the request's body.
type echoServer struct {
	argv   []string
	listen string
}

func (e *httpRun) behind() (*echoServer, error) {
	listen, err := free()
	return &echoServer{[]string{e.Load, "-echo", listen}, listen}, err
}

// listening waits for a server.
func listening(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// with runs fn while the server behind a side is there.
func (e *httpRun) with(ctx context.Context, s *echoServer, fn func(context.Context) error) (harness.ServiceUse, error) {
	if s == nil {
		return harness.ServiceUse{}, fn(ctx)
	}
	return harness.Service(ctx, e.folder, s.argv, listening(s.listen), fn)
}

// whole measures a program that ends by itself.
func (e *httpRun) whole(ctx context.Context, s httpSide) (load.Result, error) {
	var m harness.Measurement
	echo, err := e.with(ctx, s.behind, func(ctx context.Context) (err error) {
		m, err = harness.RunIn(ctx, e.folder, s.argv...)
		return err
	})
	var out load.Result
	if err != nil {
		return out, err
	}
	n, err := ownDelivered(m)
	if err == nil && n != s.messages {
		err = fmt.Errorf("%d of %d messages arrived", n, s.messages)
	}
	out.Add("rate", "messages/s", float64(n)/m.Wall.Seconds())
	out.Add("CPU", "µs a message", m.CPU.Seconds()*1e6/float64(n))
	out.Add("CPU of the server", "µs a message", echo.CPU.Seconds()*1e6/float64(n))
	out.Add("max RSS", "MB", float64(m.MaxRSS)/1e6)
	return out, err
}
