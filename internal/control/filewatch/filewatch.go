// Package filewatch tells when the files of a configuration have another content. It looks at folders and not at files, since
// editors, mounted volumes and version control replace files by renaming; and it compares contents, since much that happens in a folder
// changes nothing.
package filewatch

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"penstock.dev/penstock/internal/resource"
)

// Options adjust a [Watcher]. The zero Options are the usual ones.
type Options struct {
	Logger *slog.Logger // nil: none
	// Settle is how long nothing must happen before contents are compared: an editor's save is several steps. Default 15 ms.
	Settle time.Duration
	// Most is how long that may be put off where something happens all the time. Default 150 ms.
	Most time.Duration
	// Poll is how often contents are compared where the system doesn't tell of changes. Default 1 s.
	Poll time.Duration
	// Blind has contents compared every so often in any case, for file systems that tell nothing of what others do to them.
	Blind bool
}

// Watcher watches files. Its methods are safe for concurrent use.
type Watcher struct {
	o       Options
	notify  *fsnotify.Watcher // nil: contents are compared every so often
	changes chan []string
	again   chan struct{}
	stop    chan struct{}
	done    sync.WaitGroup
	once    sync.Once

	mu      sync.Mutex
	sums    map[string][sha256.Size]byte // of files, by path
	real    map[string]bool              // what they are links to
	folders map[string]bool
	dirs    map[string]bool // that are watched
	polls   bool
	follows int // how often Follow was called
}

// New makes a watcher that watches nothing yet.
func New(o Options) *Watcher {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Settle <= 0 {
		o.Settle = 15 * time.Millisecond
	}
	if o.Most <= 0 {
		o.Most = 150 * time.Millisecond
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	w := &Watcher{o: o, changes: make(chan []string), again: make(chan struct{}, 1), stop: make(chan struct{}), sums: map[string][sha256.Size]byte{}, folders: map[string]bool{}, dirs: map[string]bool{}}
	if o.Blind {
		w.polls = true
	} else if n, err := fsnotify.NewWatcher(); err != nil {
		w.poll(err)
	} else {
		w.notify = n
	}
	w.done.Go(w.run)
	return w
}

// poll says that the system does not tell of changes. mu must be held, or nobody else know w.
func (w *Watcher) poll(err error) {
	if !w.polls {
		w.o.Logger.Warn("the system doesn't tell when files change; they are looked at every so often", "every", w.o.Poll, "reason", err)
	}
	w.polls = true
}

// Changes gives the paths of files that have another content, or have come or gone, since what Follow said of them. What happens
// before they are taken is added.
func (w *Watcher) Changes() <-chan []string { return w.changes }

// Follow says what was read, and is to be watched from here on: files with what they held, and folders in which documents may appear.
// What has changed since it was read is told.
func (w *Watcher) Follow(files []resource.FileRead, folders []string) {
	w.mu.Lock()
	w.follows++
	w.sums = map[string][sha256.Size]byte{}
	w.folders, w.real = map[string]bool{}, map[string]bool{}
	dirs := map[string]bool{}
	for _, f := range files {
		w.sums[f.Path] = f.Sum
		dirs[filepath.Dir(f.Path)] = true
		if real, err := filepath.EvalSymlinks(f.Path); err == nil {
			dirs[filepath.Dir(real)], w.real[real] = true, true
		}
	}
	for _, f := range folders {
		w.folders[f], dirs[f] = true, true
	}
	w.watch(dirs)
	w.mu.Unlock()
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// watch asks the system about these folders, and no others. mu must be held.
func (w *Watcher) watch(dirs map[string]bool) {
	if w.notify == nil {
		return
	}
	for dir := range w.dirs {
		if !dirs[dir] {
			_ = w.notify.Remove(dir) // it may be gone
			delete(w.dirs, dir)
		}
	}
	for dir := range dirs {
		if w.dirs[dir] {
			continue
		}
		if err := w.notify.Add(dir); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				w.poll(err)
			}
			continue
		}
		w.dirs[dir] = true
	}
}

// Close ends the watcher.
func (w *Watcher) Close() error {
	var err error
	w.once.Do(func() {
		close(w.stop)
		if w.notify != nil {
			err = w.notify.Close()
		}
		w.done.Wait()
	})
	return err
}

func (w *Watcher) run() {
	var events <-chan fsnotify.Event
	var broken <-chan error
	if w.notify != nil {
		events, broken = w.notify.Events, w.notify.Errors
	}
	quiet := time.NewTimer(w.o.Poll)
	defer quiet.Stop()
	var since time.Time // of the first event that was not looked into
	var changed []string
	follows := 0 // the Follow that changed is about
	for {
		var out chan<- []string
		if len(changed) > 0 {
			out = w.changes
		}
		select {
		case <-w.stop:
			return
		case out <- changed:
			changed = nil
			continue
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			if !w.matters(e) {
				continue
			}
			if since.IsZero() {
				since = time.Now()
			}
			quiet.Reset(min(w.o.Settle, w.o.Most-time.Since(since)))
			continue
		case err, ok := <-broken:
			if !ok {
				broken = nil
				continue
			}
			w.o.Logger.Debug("watching files", "error", err) // too many events at once: contents are compared all the same
			quiet.Reset(w.o.Settle)
			continue
		case <-w.again:
		case <-quiet.C:
		}
		since = time.Time{}
		found, now := w.compare()
		if now != follows {
			changed, follows = nil, now // who follows has read what there was
		}
		for _, p := range found {
			if !slices.Contains(changed, p) {
				changed = append(changed, p)
			}
		}
		quiet.Reset(w.o.Poll)
		if !w.polling() {
			quiet.Stop()
		}
	}
}

// matters says that an event may have to do with the configuration: what flows write beside it has not.
func (w *Watcher) matters(e fsnotify.Event) bool {
	if isDocument(e.Name) || e.Name == "" {
		return true
	}
	w.mu.Lock()
	_, known := w.sums[filepath.ToSlash(e.Name)]
	known = known || w.real[e.Name] || w.dirs[e.Name]
	w.mu.Unlock()
	if known {
		return true
	}
	if !e.Has(fsnotify.Create) && !e.Has(fsnotify.Rename) {
		return false
	}
	info, err := os.Lstat(e.Name)
	return err == nil && !info.Mode().IsRegular() // a folder, or a link to one
}

func isDocument(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

func (w *Watcher) polling() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.polls
}

// compare lists what has changed since which Follow, and takes note of it.
func (w *Watcher) compare() (out []string, follows int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range slices.Sorted(maps.Keys(w.sums)) {
		var sum [sha256.Size]byte
		if text, err := os.ReadFile(p); err == nil {
			sum = sha256.Sum256(text)
		}
		if sum != w.sums[p] {
			w.sums[p] = sum
			out = append(out, p)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(w.folders)) {
		out = append(out, w.appeared(dir)...)
	}
	return out, w.follows
}

// appeared lists documents in a folder that are not known, and in folders below it that are not, as package resource looks for them.
func (w *Watcher) appeared(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // gone, with its files
	}
	var out []string
	for _, e := range entries {
		name := e.Name()
		at := path.Join(filepath.ToSlash(dir), name)
		switch {
		case strings.HasPrefix(name, "."):
		case e.IsDir():
			if name != "testdata" && !w.folders[at] {
				w.folders[at] = true
				if w.notify != nil && w.notify.Add(at) == nil {
					w.dirs[at] = true
				}
				out = append(out, w.appeared(at)...)
			}
		case isDocument(name):
			if _, known := w.sums[at]; !known {
				text, err := os.ReadFile(at)
				if err != nil {
					continue
				}
				w.sums[at] = sha256.Sum256(text)
				out = append(out, at)
			}
		}
	}
	return out
}
