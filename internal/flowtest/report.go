package flowtest

import (
	"time"

	"penstock.dev/penstock"
)

// Report is the outcome of a run of tests.
type Report struct {
	Cases []Case `json:"tests"`
	// Elapsed is how long all of them took together, in real time.
	Elapsed time.Duration `json:"elapsed"`
	// Updated are the files that were rewritten, by path, sorted.
	Updated []string `json:"updated,omitempty"`
	// Coverage is what the tests reached, by flow; only where it was asked for.
	Coverage []Coverage `json:"coverage,omitempty"`
}

// Case is one Test.
type Case struct {
	Name     string        `json:"name"`
	Pos      penstock.Pos  `json:"position"`
	Flow     string        `json:"flow"`
	Passed   bool          `json:"passed"`
	Failures []Failure     `json:"failures,omitempty"`
	Elapsed  time.Duration `json:"elapsed"` // real time
	// Crashes is what came of its mishaps; nil where nobody asked.
	Crashes *Crashes `json:"crashes,omitempty"`
}

// Failure is one expectation that does not hold, or why a test could not go on.
type Failure struct {
	Pos     penstock.Pos `json:"position"`
	Message string       `json:"message"`
	// Diff shows what was expected and what was found, line by line; empty where Message says it all.
	Diff string `json:"diff,omitempty"`
}

// Passed reports whether every test passed.
func (r *Report) Passed() bool { return r.Failed() == 0 }

// Failed is the number of tests that failed.
func (r *Report) Failed() int {
	n := 0
	for i := range r.Cases {
		if !r.Cases[i].Passed {
			n++
		}
	}
	return n
}
