package file

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"penstock.dev/penstock"
)

// watcher is what the source remembers of a folder that it looks at again and again. Only Read uses it.
type watcher struct {
	every, stable time.Duration
	seen          map[string]sight // files that are there
	bad           map[string]error // those that could not be read, as it was told
	tried         map[string]bool  // those of them that were tried since the last pause
	trouble       map[string]bool  // folders that could not be read, as it was told
	until         time.Time        // with Env.Once: when what still changes is left for the next run
}

// sight is how a file looked, and since when it looks so.
type sight struct {
	stamp stamp
	since time.Time
}

// defaultEvery is how often a folder is looked at where the configuration was not decoded.
const defaultEvery = time.Second

func newWatcher(c Watch) *watcher {
	w := &watcher{every: c.Every.Std(), stable: c.Stable.Std(), seen: map[string]sight{}, bad: map[string]error{}, tried: map[string]bool{}, trouble: map[string]bool{}}
	if w.every <= 0 {
		w.every = defaultEvery
	}
	return w
}

// errVanished says that a file is not as it was seen: it is looked at again with the next scan.
var errVanished = errors.New("the file changed")

// unchanged reports whether a file is as it was seen.
func (w *watcher) unchanged(name string, s stamp) bool { return w.seen[name].stamp == s }

// note remembers that a file can't be read; false if that was told already.
func (w *watcher) note(name string, err error) bool {
	old := w.bad[name]
	w.bad[name], w.tried[name] = err, true
	return old == nil || old.Error() != err.Error()
}

// good forgets what was wrong with a file.
func (w *watcher) good(name string) {
	delete(w.bad, name)
	delete(w.tried, name)
}

// unread is the error of a run that ends while there are files that it could not read; nil if there are none.
func (w *watcher) unread() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(w.bad)) {
		errs = append(errs, w.bad[name])
	}
	w.bad = map[string]error{}
	return errors.Join(errs...)
}

// poll waits until there are files to be read, and gives them in the order of their names. With Env.Once, io.EOF says that what was
// there was read.
func (s *source) poll(ctx context.Context) ([]string, error) {
	for {
		due, wait := s.scan()
		if len(due) > 0 {
			return due, nil
		}
		if s.env.Once && wait.left {
			return nil, io.EOF
		}
		timer, stop := s.env.Clock.NewTimer(wait.next)
		select {
		case <-timer:
			stop()
			clear(s.watch.tried)
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		}
	}
}

// waiting says what a scan leaves to be waited for.
type waiting struct {
	next time.Duration // when to look again
	left bool          // with Env.Once: nothing more is waited for
}

// scan looks which files are there, and which are to be read now: those that are new or other than when they were read,
// and have looked the same for long enough.
func (s *source) scan() (due []string, wait waiting) {
	w := s.watch
	now := s.env.Clock.Now()
	if w.until.IsZero() {
		w.until = now.Add(2*w.stable + w.every)
	}
	wait = waiting{next: w.every, left: true}
	names, whole := s.look()
	var still []string
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
		info, err := os.Stat(name)
		if err != nil {
			continue // gone already
		}
		is := stampOf(info)
		sight, known := w.seen[name]
		if known = known && sight.stamp == is; !known {
			sight.stamp, sight.since = is, now
			w.seen[name] = sight
		}
		if w.tried[name] && known || !s.wanted(name, is) {
			continue
		}
		if left := sight.since.Add(w.stable).Sub(now); left > 0 {
			wait.next = min(wait.next, left)
			still = append(still, name)
			continue
		}
		due = append(due, name)
	}
	for name := range w.seen {
		if !there[name] {
			delete(w.seen, name)
			w.good(name)
		}
	}
	if whole {
		s.gone(names)
	}
	if len(still) > 0 {
		wait.left = !now.Before(w.until)
		if s.env.Once && wait.left && len(due) == 0 {
			s.logger().Warn("files that are still being written are left for the next run", "files", still)
		}
	}
	return due, wait
}

// look lists the files that are there. whole says that every folder could be read.
func (s *source) look() (names []string, whole bool) {
	w := s.watch
	trouble := map[string]bool{}
	names, err := s.find(func(name string, err error) {
		trouble[name] = true
		if !w.trouble[name] {
			s.logger().Error("a folder can't be read; the others are watched on", "folder", name, "error", err.Error())
		}
	})
	w.trouble = trouble
	if err != nil && penstock.CodeOf(err) != penstock.NotFound {
		if trouble[""] = true; !w.trouble[""] {
			s.logger().Error("the folder can't be watched; it is tried again", "path", s.path, "error", err.Error())
		}
	}
	return names, len(trouble) == 0
}

// wanted reports whether a file that looks like is has to be read.
func (s *source) wanted(name string, is stamp) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.account.current[name]
	return r == nil || !r.moving && r.stamp != is
}
