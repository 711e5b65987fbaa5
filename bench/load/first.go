package load

import "sync"

// FirstError keeps the first error of what goes on at the same time. The zero value is ready to use, by several goroutines at once.
type FirstError struct {
	mu  sync.Mutex
	err error
}

// Set tells of an error; nil is none.
func (f *FirstError) Set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// Get is the first error so far; nil where there is none.
func (f *FirstError) Get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
