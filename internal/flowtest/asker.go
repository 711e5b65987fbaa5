package flowtest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/httpd/route"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/jsonview"
)

// asker is the server that a script makes requests through. Each runs by itself, from when the pace lets it go; a caller that
// got no answer before a crash asks again.
type asker struct {
	*feed
	w    *world
	ep   *plan.Endpoint
	life *life // of the server that runs

	handler penstock.Handler // mu: nil until it serves
	flight  sync.WaitGroup
}

// request is what a script says of a request beside its body.
type request struct {
	method        string
	path          []param
	query, header []param
}

type param struct{ name, value string }

func newAsker(w *world, ep *plan.Endpoint, fd *feed) *asker {
	a := &asker{feed: fd, w: w, ep: ep}
	fd.asker = a
	return a
}

// Serve implements penstock.Server.
func (a *asker) Serve(ctx context.Context, h penstock.Handler) error {
	a.mu.Lock()
	a.handler, a.life = h, a.w.life
	a.mu.Unlock()
	for a.waits() {
		select {
		case <-a.wake:
		case <-ctx.Done():
			a.mu.Lock()
			a.rouse()
			a.mu.Unlock()
			return nil
		}
	}
	return nil
}

// waits says that the server goes on waiting for requests.
func (a *asker) waits() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended && len(a.queue) == 0 {
		return false
	}
	if !a.asleep {
		a.asleep = true
		a.idle()
	}
	return true
}

// release makes the next request.
func (a *asker) release() {
	b := &penstock.Batch{}
	a.mu.Lock()
	h, l := a.handler, a.life
	req, err := a.take(b)
	a.mu.Unlock()
	if err != nil {
		a.w.log.damaged(err)
	}
	if req == nil {
		return
	}
	m := b.Msgs[0]
	pos := m.Pos
	if slot := a.ep.Server.Request; slot >= 0 {
		m.Vars = append(m.Vars, make([]penstock.Value, slot+1)...)
		m.Vars[slot] = req.value(b)
	}
	a.busy()
	a.flight.Go(func() {
		defer a.idle()
		if err := h.Handle(l.ctx, b); err != nil { // it has not begun: it comes again, if the flow is started again
			return
		}
		if !l.over.Load() {
			a.answered(pos, b)
		}
	})
}

// take reads the next request that was not answered; nil: there is none.
func (a *asker) take(b *penstock.Batch) (*request, error) {
	for len(a.queue) > 0 {
		s := &a.queue[0]
		req := s.request
		err := s.next(b)
		if s.open == nil || err != nil {
			a.queue = a.queue[1:]
		}
		if err != nil && s.open == nil {
			return nil, err
		}
		if len(b.Msgs) == 0 {
			continue
		}
		m := b.Msgs[0]
		m.Pos.Offset, m.Pos.Next = a.read, a.read+1
		a.read++
		if a.over(m.Pos) {
			b.Reset()
			continue
		}
		if a.met != nil && a.met(s.open == nil) {
			a.queue = slices.Insert(a.queue, 0, sending{body: []byte(bodyText(m)), pos: m.Pos, meta: s.meta, request: req})
		}
		if req == nil {
			req = &request{method: a.method()}
		}
		return req, nil
	}
	return nil, nil
}

// answered notes the reply to a request.
func (a *asker) answered(pos penstock.Position, b *penstock.Batch) {
	a.mu.Lock()
	a.settled[pos.Offset] = struct{}{}
	a.mu.Unlock()
	r := &record{ep: a.w.reply, epoch: a.w.pace.epoch.Load(), index: 1 << 30, loose: true, status: 200}
	m := b.Msgs[0]
	switch err := b.Err(0); {
	case err != nil:
		r.status = penstock.CodeOf(err).HTTPStatus()
		m = told(r.status, err)
	case m.Body == nil && a.ep.Server.Replies:
		r.status = 204
	case m.Body == nil:
		r.status = 202
	}
	if m.Body == nil {
		m.Body = new(jsonview.Doc)
		m.Body.Reset(jsonview.JSON, []byte("null"))
	}
	r.msg, r.tree = keep(m)
	a.w.log.add(r)
}

// told is what a caller is told of a failure.
func told(status int, err error) *penstock.Message {
	text := strconv.AppendInt([]byte(`{"status":`), int64(status), 10)
	text = jsonview.AppendString(append(text, `,"code":`...), string(penstock.CodeOf(err)))
	text = append(jsonview.AppendString(append(text, `,"detail":`...), err.Error()), '}')
	m := &penstock.Message{Body: new(jsonview.Doc)}
	m.Body.Reset(jsonview.JSON, text)
	return m
}

// routes are where the server is reached, where it says so.
func (a *asker) routes() []penstock.HTTPRoute {
	if r, ok := a.ep.Config.(penstock.Routed); ok {
		return r.Routes()
	}
	return nil
}

// method is that of a request of which nothing is said.
func (a *asker) method() string {
	for _, r := range a.routes() {
		if r.Method != "" {
			return r.Method
		}
	}
	return "POST"
}

// request reads what a script says of a request.
func (a *asker) request(s *resource.RequestAction) (sending, error) {
	req := &request{method: s.Method, query: params(&s.Query, strings.Clone), header: params(&s.Header, strings.ToLower)}
	if err := a.find(req, s); err != nil {
		return sending{}, err
	}
	var meta []penstock.MetaEntry
	for _, h := range req.header {
		meta = append(meta, penstock.MetaEntry{Name: h.name, Value: penstock.StringValue(h.value)})
	}
	body := &penstock.Tree{Kind: penstock.TreeNull, Pos: s.Pos}
	if s.Body.Kind != penstock.TreeNone {
		body = &s.Body
	}
	out := document(body, meta, "")
	out.request = req
	return out, nil
}

// find finds the route of a request, as the listener would.
func (a *asker) find(req *request, s *resource.RequestAction) error {
	routes := a.routes()
	if len(routes) == 0 {
		if s.Path != "" {
			return wrong(s.At("path"), "what flow %s is called by has no paths", a.w.flow.Name)
		}
		if req.method == "" {
			req.method = a.method()
		}
		return nil
	}
	path := s.Path
	if path == "" {
		if path = routes[0].Path; strings.Contains(path, "{") {
			return wrong(s.Pos, "the request needs a `path` for %s", path)
		}
	}
	var table []route.Route[penstock.HTTPRoute]
	for _, r := range routes {
		p, err := route.Parse(r.Path)
		if err != nil {
			return wrong(s.Pos, "%w", err)
		}
		table = append(table, route.Route[penstock.HTTPRoute]{Method: r.Method, Pattern: p, Value: r})
	}
	methods := []string{req.method}
	if req.method == "" {
		methods = nil
		for _, r := range routes {
			methods = append(methods, r.Method)
		}
	}
	for _, method := range methods {
		if method == "" {
			method = "POST"
		}
		m, err := route.NewTable(table).Find(method, path)
		if err != nil {
			return wrong(s.At("path"), "%w: %s", err, path)
		}
		if !m.Found {
			continue
		}
		req.method = method
		for i, name := range m.Names {
			req.path = append(req.path, param{name, m.Values[i]})
		}
		return nil
	}
	var has []string
	for _, r := range routes {
		has = append(has, strings.TrimSpace(r.Method+" "+r.Path))
	}
	return wrong(s.Pos, "flow %s has no route for %s; it has %s", a.w.flow.Name, strings.TrimSpace(req.method+" "+path), strings.Join(has, ", "))
}

// params reads a map of text, numbers and bools.
func params(t *penstock.Tree, name func(string) string) []param {
	var out []param
	for i, k := range t.Keys {
		e := &t.Elems[i]
		v := e.Text
		if e.Kind == penstock.TreeBool {
			v = fmt.Sprint(e.Bool)
		}
		out = append(out, param{name(k), v})
	}
	return out
}

// value is what expressions read as request.
func (r *request) value(b *penstock.Batch) penstock.Value {
	text := jsonview.AppendString([]byte(`{"method":`), r.method)
	for _, part := range []struct {
		name   string
		params []param
	}{{"path", r.path}, {"query", r.query}, {"header", r.header}} {
		text = append(jsonview.AppendString(append(text, ','), part.name), `:{`...)
		for i, p := range part.params {
			if i > 0 {
				text = append(text, ',')
			}
			text = jsonview.AppendString(append(jsonview.AppendString(text, p.name), ':'), p.value)
		}
		text = append(text, '}')
	}
	d := b.NewDoc()
	d.Reset(jsonview.JSON, append(text, '}'))
	if err := d.Parse(jsonview.Limits{}); err != nil { // the same name twice
		return penstock.ErrorValue(err)
	}
	return penstock.NodeValue(d, 0)
}
