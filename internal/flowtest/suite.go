package flowtest

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// suite is what all tests of a run share. It is read only while they run.
type suite struct {
	o     Options
	set   *resource.Set
	plan  *plan.Plan
	cover *coverage // nil: nobody asks
}

func runAll(ctx context.Context, o Options) (*Report, error) {
	if o.Update && o.FS != nil {
		return nil, errors.New("files can only be updated on the machine's file system")
	}
	s, err := newSuite(o)
	if err != nil {
		return nil, err
	}
	set, p := s.set, s.plan
	started := time.Now()
	report := &Report{}
	var tests []*resource.Resource
	for _, r := range set.Of(resource.KindTest) {
		if o.Filter == nil || o.Filter.MatchString(r.Name()) {
			tests = append(tests, r)
		}
	}
	report.Cases = make([]Case, len(tests))
	edits := make([][]edit, len(tests))
	width := o.Parallel
	if width <= 0 {
		width = runtime.GOMAXPROCS(0)
	}
	slots := make(chan struct{}, width)
	var wg sync.WaitGroup
	for i, r := range tests {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			report.Cases[i], edits[i] = s.run(ctx, r)
		})
	}
	wg.Wait()
	report.Updated, err = apply(slices.Concat(edits...))
	if s.cover != nil {
		report.Coverage = s.cover.report(set, p)
	}
	report.Elapsed = time.Since(started)
	return report, err
}

// newSuite loads and compiles a configuration.
func newSuite(o Options) (*suite, error) {
	set, findings := resource.Load(resource.Options{
		Paths: o.Paths, Overlay: o.Overlay, FS: o.FS, Registry: o.Registry, Integration: o.Integration, Texts: o.texts,
		Params: o.Params, ParamFiles: o.ParamFiles, ParamsOptional: true, AllowExec: o.AllowExec,
	})
	s := &suite{o: o, set: set}
	co := compile.Options{Stored: true} // a test is of flows, and needs no broker
	if o.Cover {
		s.cover = &coverage{steps: map[string]map[string]bool{}}
		co.Wrap = s.cover.wrap
	}
	p, more := compile.Compile(set, o.Registry, co)
	findings.Merge(more)
	if findings.HasErrors() || p == nil {
		return nil, &Invalid{findings}
	}
	s.plan = p
	return s, nil
}

// run runs one test.
func (s *suite) run(ctx context.Context, r *resource.Resource) (Case, []edit) {
	spec := r.Spec.(*resource.Test)
	c := Case{Name: r.Name(), Pos: r.Metadata.At("name"), Flow: spec.Flow.Name}
	started := time.Now()
	t := &test{suite: s, spec: spec, name: r.Name(), pos: c.Pos}
	t.run(ctx)
	if s.o.Crash && len(t.failures) == 0 {
		c.Crashes, t.failures = s.explore(ctx, r)
	}
	c.Failures, c.Passed, c.Elapsed = t.failures, len(t.failures) == 0, time.Since(started)
	return c, t.edits
}
