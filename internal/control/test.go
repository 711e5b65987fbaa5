package control

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/flowtest"
)

// TestReport is what the tests of a configuration said. Its methods WriteText, WriteJSON and
// WriteJUnit render it.
type TestReport = flowtest.Report

// TestOptions say which tests are run, and how.
type TestOptions struct {
	// Run chooses tests by a regular expression (RE2) on their name; "" is all.
	Run string
	// Update rewrites what tests expect with what they found.
	Update bool
	// Cover counts which steps, branches and expressions the tests reach.
	Cover bool
	// Crash tries every mishap at every boundary of the flows, with the messages of the tests.
	Crash bool
}

// InvalidConfig is the error of [Service.Test] where the configuration is wrong.
type InvalidConfig struct {
	Findings         []Finding
	Errors, Warnings int
}

// Error counts the findings.
func (e *InvalidConfig) Error() string {
	if e.Errors == 1 {
		return "1 error in the configuration"
	}
	return fmt.Sprintf("%d errors in the configuration", e.Errors)
}

// Unwrap gives it the code config.
func (e *InvalidConfig) Unwrap() error { return &penstock.Error{Code: penstock.Config} }

// Test runs the Test resources of a configuration. A test that fails is no error, but stands in the
// report; a configuration that is wrong is an *[InvalidConfig].
func (s *Service) Test(ctx context.Context, p Project, o TestOptions) (*TestReport, error) {
	if o.Update && p.Overlay != "" {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "test", Path: p.Overlay, Err: errors.New("tests can't be updated through an overlay"), Hint: "leave the overlay out: tests expect the same with and without it"}
	}
	fo := flowtest.Options{
		Paths: p.paths(), Overlay: p.Overlay, FS: s.FS, Registry: s.Registry, Params: p.Params, ParamFiles: p.ParamFiles,
		Integration: p.Integration, AllowExec: p.AllowExec, Update: o.Update, Cover: o.Cover, Crash: o.Crash,
	}
	if o.Run != "" {
		re, err := regexp.Compile(o.Run)
		if err != nil {
			return nil, &penstock.Error{Code: penstock.Invalid, Op: "test", Path: o.Run, Err: err, Hint: "it is a regular expression on the names of tests"}
		}
		fo.Filter = re
	}
	r, err := flowtest.Run(ctx, fo)
	var invalid *flowtest.Invalid
	if errors.As(err, &invalid) {
		e := &InvalidConfig{Findings: distinct(invalid.Findings.Sorted())}
		e.Errors, e.Warnings = tally(e.Findings)
		return nil, e
	}
	if err == nil && o.Run == "" && len(r.Cases) == 0 {
		if c := s.Check(p, false); c.Errors > 0 { // there is no configuration at all
			return nil, &InvalidConfig{Findings: c.Findings, Errors: c.Errors, Warnings: c.Warnings}
		}
	}
	if err == nil && o.Run != "" && len(r.Cases) == 0 {
		names := s.Names(p).Tests
		if len(names) > 0 {
			hint := "there are " + strings.Join(names, ", ")
			return nil, &penstock.Error{Code: penstock.NotFound, Op: "test", Err: fmt.Errorf("no test has a name that matches %s", o.Run), Hint: hint}
		}
	}
	return r, err
}
