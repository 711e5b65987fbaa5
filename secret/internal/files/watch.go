// Package files is what providers have in common that read secrets from files: reading one that may be written to, and being
// told when something changes.
package files

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"penstock.dev/penstock"
)

// Options say what is watched. The zero durations are the defaults.
type Options struct {
	// Folder is where changes happen: names in it that are made, replaced or removed, and symbolic links that are turned elsewhere.
	Folder string
	// Name is the one name in it that matters; "" is all of them.
	Name string
	// Stamp describes what is there: it differs where something changed. It is called often.
	Stamp func() string
	// Every is how often to look without being told, for file systems that tell nothing; 0 is 10 s.
	Every time.Duration
	// Quiet is how long the stamp must have stayed before a change counts, so that nothing is read that is being written; 0 is
	// 100 ms.
	Quiet time.Duration
	Clock penstock.Clock
}

// Watch calls changed once at the beginning and then after each change, until ctx ends. The operating system's notices
// make it quick; looking every so often makes it sure.
func Watch(ctx context.Context, o Options, changed func()) error {
	if o.Every <= 0 {
		o.Every = 10 * time.Second
	}
	if o.Quiet <= 0 {
		o.Quiet = 100 * time.Millisecond
	}
	notices := make(<-chan fsnotify.Event)
	errs := make(<-chan error)
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = w.Close() }()
		notices, errs = w.Events, w.Errors
	} // without notices (their number is limited) looking remains
	last := o.Stamp()
	changed()
	told := false // by the system; the stamps of two files that are written at the same moment are the same
	for {
		if w != nil {
			_ = w.Add(o.Folder) // again each time: it may be another folder of the same name
		}
		if now := o.Stamp(); told || now != last {
			if last, err = settle(ctx, o); err != nil {
				return nil
			}
			told = false
			changed()
			continue
		}
		timer, stop := o.Clock.NewTimer(o.Every)
		select {
		case <-ctx.Done():
			stop()
			return nil
		case e := <-notices:
			told = !e.Has(fsnotify.Chmod) && (o.Name == "" || filepath.Base(e.Name) == o.Name)
		case err := <-errs: // a notice may be lost: it is looked at again
			told = told || err != nil
		case <-timer:
		}
		stop()
	}
}

// settle waits until the stamp stays, or has changed for long enough, and returns it.
func settle(ctx context.Context, o Options) (string, error) {
	last := o.Stamp()
	for range 20 {
		timer, stop := o.Clock.NewTimer(o.Quiet)
		select {
		case <-ctx.Done():
			stop()
			return "", ctx.Err()
		case <-timer:
		}
		now := o.Stamp()
		if now == last {
			return now, nil
		}
		last = now
	}
	return last, nil
}
