package flowtest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/jsonview"
)

// test is one Test while it runs.
type test struct {
	suite    *suite
	spec     *resource.Test
	name     string
	pos      penstock.Pos
	failures []Failure
	edits    []edit
	fault    *fault // what goes wrong; nil: nothing
}

func (t *test) fail(pos penstock.Pos, format string, args ...any) {
	t.failures = append(t.failures, Failure{Pos: pos, Message: fmt.Sprintf(format, args...)})
}

// run plays the script and looks at what came of it.
func (t *test) run(ctx context.Context) {
	w := t.played(ctx)
	if len(t.failures) > 0 {
		return
	}
	for i := range t.spec.Expect {
		w.expect(i)
	}
}

// played plays the script. The world is nil where it could not begin; then there are failures.
func (t *test) played(ctx context.Context) *world {
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := t.suite.plan.Flow(t.spec.Flow.Name)
	if f == nil {
		t.fail(t.spec.Flow.Pos, "there is no Flow %q", t.spec.Flow.Name)
		return nil
	}
	params, ok := t.params()
	if !ok {
		return nil
	}
	w := newWorld(ctx, t, f, params)
	if len(t.failures) > 0 {
		return nil
	}
	note := func(err error) {
		if err != nil {
			at := &misplaced{pos: t.pos, err: err}
			_ = errors.As(err, &at)
			t.fail(at.pos, "%v", at.err)
		}
	}
	if note(w.give(ctx)); len(t.failures) == 0 {
		note(w.play())
	}
	cancel()
	w.end()
	if len(t.failures) == 0 && w.looksAtState() {
		note(w.remember(whole))
	}
	w.close()
	if err := w.log.failure(); err != nil {
		t.fail(t.pos, "%v", err)
	}
	t.failures = append(t.failures, w.mocks.missed()...)
	return w
}

// misplaced is an error of a line of a script.
type misplaced struct {
	pos penstock.Pos
	err error
}

// Error is what is wrong, without the place.
func (e *misplaced) Error() string { return e.err.Error() }

func wrong(pos penstock.Pos, format string, args ...any) error {
	return &misplaced{pos, fmt.Errorf(format, args...)}
}

// params gives the integration's parameters their values for this test.
func (t *test) params() ([]penstock.Value, bool) {
	l := &diag.List{}
	own := t.suite.set.ParamsWith(t.spec.Params, l)
	for _, d := range l.Sorted() {
		t.fail(d.Pos, "%s", d.Message)
	}
	var out []penstock.Value
	for i, p := range t.suite.set.Params {
		if _, given := t.spec.Params[p.Name]; given {
			p.Value = own[i].Value
		}
		if p.Value.IsAbsent() && l.Len() == 0 {
			t.fail(t.pos, "the parameter `%s` has no value; give it under the test's `params`, or with `--param %s=…`", p.Name, p.Name)
		}
		out = append(out, p.Value)
	}
	return out, len(t.failures) == 0
}

// play runs the script, and then the flow to its end.
func (w *world) play() error {
	script := w.test.spec.Script
	explicit := slices.IndexFunc(script, func(a resource.Action) bool { return a.Start || a.Crash })
	if explicit < 0 || script[explicit].Crash {
		if err := w.start(); err != nil {
			return err
		}
	}
	for i := range script {
		if err := w.act(&script[i]); err != nil && !w.fault.crashed() {
			return err
		}
		if err := w.recover(); err != nil {
			return err
		}
		if w.pace.running && w.pace.over() {
			return w.stopped()
		}
	}
	err := w.pace.finish(w.ctx)
	if w.fault.crashed() {
		if err = w.recover(); err == nil {
			err = w.pace.finish(w.ctx)
		}
	}
	return err
}

// stopped is why a run ended before its script.
func (w *world) stopped() error {
	if w.pace.err != nil {
		return w.pace.err
	}
	return errors.New("the flow ended before the script did")
}

func (w *world) act(a *resource.Action) error {
	switch {
	case a.Send != nil:
		if err := w.send(a.Send); err != nil {
			return err
		}
	case a.Crash:
		return w.crash()
	case a.Start:
		if w.pace.running {
			return wrong(a.Pos, "the flow was started before")
		}
		if err := w.start(); err != nil {
			return err
		}
	default:
		return w.pace.advance(w.ctx, a.Advance.Std())
	}
	return w.pace.settle(w.ctx)
}

// send puts messages into the queue of a source.
func (w *world) send(s *resource.SendAction) error {
	n := max(s.Source, 1)
	if n > len(w.flow.Sources) {
		return wrong(s.At("source"), "flow %s has %s, not %d", w.flow.Name, plural(len(w.flow.Sources), "source"), n)
	}
	ep := w.flow.Sources[n-1]
	fd := w.feeds[ep]
	var meta []penstock.MetaEntry
	for i, k := range s.Meta.Keys {
		meta = append(meta, penstock.MetaEntry{Name: k, Value: value(&s.Meta.Elems[i])})
	}
	switch {
	case s.File != "":
		data, err := w.test.suite.set.ReadFile(s.Path)
		if err == nil {
			data, err = unpacked(s.Path, data)
		}
		if err != nil {
			return wrong(s.At("file"), "%w", err)
		}
		return w.records(fd, ep, s, s.File, data, meta)
	case s.Text != nil:
		return w.records(fd, ep, s, filepath.Base(s.Pos.File), []byte(*s.Text), meta)
	case s.Request != nil:
		if fd.asker == nil {
			return wrong(s.At("request"), "flow %s reads its messages; nobody makes requests to it", w.flow.Name)
		}
		req, err := fd.asker.request(s.Request)
		if err != nil {
			return err
		}
		fd.add(req)
	case s.Bodies != nil:
		for i := range s.Bodies {
			fd.add(document(&s.Bodies[i], meta, s.Key))
		}
	default:
		fd.add(document(&s.Body, meta, s.Key))
	}
	return nil
}

// document sends a literal document, whose position is where it stands in the test.
func document(t *penstock.Tree, meta []penstock.MetaEntry, key string) sending {
	at := penstock.Position{Stream: filepath.Base(t.Pos.File), Line: int64(t.Pos.Line)}
	return sending{body: resource.AppendTree(nil, t), pos: at, meta: meta, key: key}
}

// records sends text that is cut and decoded by the source's own format; a channel's is JSON.
func (w *world) records(fd *feed, ep *plan.Endpoint, s *resource.SendAction, name string, data []byte, meta []penstock.MetaEntry) error {
	driver, from := "", ""
	if ep.Driver != nil {
		driver = ep.Driver.Spec.Name
	}
	if t, ok := pathOf(ep.Config); ok {
		from = w.constant(t)
	}
	codec := w.test.suite.codec(ep, ep.Type, s.File, from)
	if codec == nil {
		return wrong(s.Pos, "the source %s has no format, so it takes `body` and `bodies` only", ep.Label)
	}
	fd.add(sending{open: func() *penstock.Records { return stream(codec, driver, name, data) }, meta: meta, key: s.Key})
	return nil
}

// value is a literal of a test as a value.
func value(t *penstock.Tree) penstock.Value {
	var d jsonview.Doc
	d.Reset(jsonview.JSON, resource.AppendTree(nil, t))
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return penstock.Absent
	}
	return penstock.NodeValue(&d, 0).Load(nil)
}
