package conform

import (
	"fmt"
	"sync"

	"penstock.dev/penstock/internal/store"
)

// runs gathers what transactions complain of: only the last run of each counts, and what a run sees that does not count need not fit together.
type runs struct {
	mu   sync.Mutex
	now  *[]string // of the run that is going on; nil: none
	last []*[]string
}

// recorded is a store whose transactions' complaints are gathered.
type recorded struct {
	store.Store
	f *fixture
}

// Submit implements store.Store.
func (s recorded) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	r := &s.f.runs
	said := new([]string)
	r.mu.Lock()
	r.last = append(r.last, said)
	r.mu.Unlock()
	return s.Store.Submit(c, func(tx store.Tx) error {
		r.mu.Lock()
		*said, r.now = nil, said
		r.mu.Unlock()
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.now = nil
		}()
		return f(tx)
	})
}

// Errorf is that of the test, or of the run of a transaction.
func (f *fixture) Errorf(format string, args ...any) {
	f.Helper()
	f.runs.mu.Lock()
	if f.runs.now != nil {
		*f.runs.now = append(*f.runs.now, fmt.Sprintf(format, args...))
		f.runs.mu.Unlock()
		return
	}
	f.runs.mu.Unlock()
	f.T.Errorf(format, args...)
}

// Error is that of the test, or of the run of a transaction.
func (f *fixture) Error(args ...any) {
	f.Helper()
	f.Errorf("%s", fmt.Sprintln(args...))
}

// report tells what the last runs complained of.
func (f *fixture) report() {
	f.Helper()
	f.runs.mu.Lock()
	defer f.runs.mu.Unlock()
	for _, said := range f.runs.last {
		for _, s := range *said {
			f.T.Error(s)
		}
	}
	f.runs.last = nil
}
