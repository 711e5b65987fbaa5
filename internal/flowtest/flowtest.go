// Package flowtest runs the Test resources of a configuration: it gives a flow the messages of
// a script, in virtual time, with mocks in place of the outside world, and compares what comes
// out with what is expected. It is what `penstock test` calls.
//
// A test runs the real engine over the real plan of one flow. Its sources are replaced by one that
// the script feeds, its sinks and channels by recorders, its calls by mocks; callers that answer from
// local files (Spec.Local) really run. Messages go through the flow one after the other and the
// clock moves only when nothing else can, so that a test gives the same result each time.
package flowtest

import (
	"context"
	"io/fs"
	"regexp"
	"strconv"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/resource"
)

// Options say which tests are run. Only Paths and Registry must be there.
type Options struct {
	// Paths of files and folders, as resource.Options has them.
	Paths []string
	// Overlay is laid over Paths, as resource.Options has it; "": none.
	Overlay string
	// FS is where configurations and the files of tests are looked up; nil is the machine's file
	// system.
	FS fs.FS
	// Registry is what the binary contains.
	Registry *penstock.Registry
	// Params are values of parameters by name, as text. A Test's own params win over them.
	Params map[string]string
	// ParamFiles are YAML files of values by name; later files win, and Params win over all.
	ParamFiles []string
	// Integration chooses one where the files hold several.
	Integration string
	// AllowExec are programs that may be named beside those that the Integration allows. Tests start none: calls are mocked.
	AllowExec []string
	// Update rewrites golden files, and the `exactly` lists that can be rewritten in place, with what
	// was found, instead of failing. It needs the machine's file system.
	Update bool
	// Cover counts which steps, branches and expressions of the flows the tests reach.
	Cover bool
	// Crash runs each test that passes once more for each mishap (a crash, a duplicate, an answer that is lost) at each boundary of
	// its flow, and holds what comes of it to the flow's delivery.
	Crash bool
	// Filter chooses tests by name; nil is all.
	Filter *regexp.Regexp
	// Parallel is how many tests run at a time; 0 is the number of processors.
	Parallel int

	texts []resource.Text // read beside Paths
}

// Invalid is the error of a configuration that can't be compiled. Its code is config.
type Invalid struct {
	// Findings holds all of them, warnings too.
	Findings *diag.List
}

// Error counts the errors and gives the first.
func (e *Invalid) Error() string {
	n, first := 0, ""
	for _, d := range e.Findings.Sorted() {
		if d.Severity == diag.Error {
			if n++; n == 1 {
				first = d.String()
			}
		}
	}
	if n == 1 {
		return first
	}
	return strconv.Itoa(n) + " errors in the configuration; the first: " + first
}

// Unwrap says that the configuration is wrong, so that penstock.CodeOf gives config.
func (e *Invalid) Unwrap() error { return &penstock.Error{Code: penstock.Config} }

// Run loads and compiles the configuration once and runs its tests, several at a time. The error is an
// [*Invalid] where the configuration is wrong, or says why tests could not be run at all; a test that
// fails is no error but stands in the report, which is in the order of the files. When ctx ends, the
// tests that have not ended fail.
func Run(ctx context.Context, o Options) (*Report, error) {
	return runAll(ctx, o)
}
