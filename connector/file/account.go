package file

import (
	"context"
	"os"
	"path/filepath"

	"penstock.dev/penstock"
)

// reading is one version of a file: what was read of it, and what became of that.
type reading struct {
	name   string
	stream string
	stamp  stamp             // the state in which it was read, to its end or until it failed
	last   penstock.Position // of the last message that was handed out, by this run or an earlier one
	// settled is up to where everything is done.
	settled int64
	ended   bool // all of the file was handed out
	past    bool // it will not be read on: the file was replaced, or is gone
	spoiled bool // something of it did not end well: nothing is done with the file
	queued  bool // the mover has it
	moving  bool // … at this moment: hands off
}

func (r *reading) done() bool { return r.settled >= r.last.Next }

// account is what a source knows of the files that it reads. It is guarded by the source's mu.
type account struct {
	kept     map[string][]penstock.Position // by file: what the engine has kept of versions that were not looked at yet
	streams  map[string]*reading
	current  map[string]*reading // by file: its newest version
	over     []string            // to be told by Over
	lately   map[string]bool     // streams that were over lately, whose names are not given again
	lateRing []string
	lateAt   int
}

// remembered is how many names of streams that are over are remembered.
const remembered = 4096

func (a *account) init() {
	a.kept, a.streams, a.current, a.lately = map[string][]penstock.Position{}, map[string]*reading{}, map[string]*reading{}, map[string]bool{}
}

// forget says that a stream is over.
func (a *account) forget(stream string) {
	a.over = append(a.over, stream)
	if len(a.lateRing) < remembered {
		a.lateRing = append(a.lateRing, stream)
	} else {
		delete(a.lately, a.lateRing[a.lateAt])
		a.lateRing[a.lateAt] = stream
		a.lateAt = (a.lateAt + 1) % remembered
	}
	a.lately[stream] = true
}

// leave takes a version off the account, since its file is no longer there or is another.
func (a *account) leave(r *reading) {
	r.past = true
	if a.current[r.name] == r {
		delete(a.current, r.name)
	}
	if r.done() {
		delete(a.streams, r.stream)
		a.forget(r.stream)
	}
}

// add puts a version on the account, under a stream that nobody has had.
func (a *account) add(name string, s stamp) *reading {
	r := &reading{name: name, stamp: s}
	for n := 1; ; n++ {
		r.stream = streamOf(name, s, n)
		if a.streams[r.stream] == nil && !a.lately[r.stream] {
			break
		}
	}
	a.streams[r.stream], a.current[name] = r, r
	return r
}

// Resume implements penstock.Positioned.
func (s *source) Resume(_ context.Context, from []penstock.Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range from {
		if name, ok := nameOf(p.Stream); ok {
			s.account.kept[name] = append(s.account.kept[name], p)
		} else {
			s.account.forget(p.Stream) // no stream of ours: an earlier configuration had another source here
		}
	}
	return nil
}

// Over implements penstock.Forgetter.
func (s *source) Over() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := s.account.over
	s.account.over = nil
	return over
}

// Settle implements penstock.Source. The positions are the engine's to keep; the source only wants to know when it is done with
// a file.
func (s *source) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range outcomes {
		r := s.account.streams[o.Pos.Stream]
		if r == nil {
			continue
		}
		r.settled = max(r.settled, o.Pos.Next)
		r.spoiled = r.spoiled || o.Err != nil
		s.settled(r)
	}
	return nil
}

// settled looks whether a version is done, and does what is to be done then. s.mu is held.
func (s *source) settled(r *reading) {
	switch {
	case !r.done():
	case r.past:
		s.account.leave(r)
	case r.ended && !r.queued && !r.spoiled && s.config.After != nil:
		r.queued = true
		s.enqueue(r)
	}
}

// took notes the last message that was handed out.
func (s *source) took(r *reading, p penstock.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.last = p
}

// ended notes that a file was read to its end.
func (s *source) ended(o *opened) {
	if o.version == nil {
		return
	}
	if s.watch != nil {
		s.watch.good(o.name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o.version.stamp, o.version.ended = o.stamp, true
	s.settled(o.version)
}

// failed notes that a file could not be read to its end.
func (s *source) failed(o *opened) {
	if o.version == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o.version.stamp = o.stamp
}

// beginTracked opens a file, finds out whether it is one that was read before, and goes to where reading goes on.
func (s *source) beginTracked(ctx context.Context, name string) error {
	if read, err := s.readBefore(name); read || err != nil {
		return err
	}
	o, err := s.open(name)
	if err != nil {
		return err
	}
	if s.watch != nil && !s.watch.unchanged(name, o.stamp) {
		_ = o.close()
		return errVanished
	}
	s.mu.Lock()
	old := s.account.current[name]
	kept := s.account.kept[name]
	s.mu.Unlock()
	if old != nil && old.last.Next > 0 {
		kept = []penstock.Position{old.last}
	}
	for i := len(kept) - 1; i >= 0; i-- {
		p := kept[i]
		same, err := o.goTo(ctx, p)
		if err != nil {
			_ = o.close()
			return err
		}
		if same {
			s.goOn(o, old, p)
			return nil
		}
		// Another one: begin again.
		if err := o.close(); err != nil {
			return err
		}
		if o, err = s.open(name); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old != nil {
		s.account.leave(old)
	}
	s.dropKept(name, "")
	s.attach(o, s.account.add(name, o.stamp))
	if len(kept) > 0 {
		s.logger().Info("the file is another than the one that was read: it is read from the beginning", "file", name)
	}
	return nil
}

// goOn goes on with a version that this run has read from (old) or an earlier one.
func (s *source) goOn(o *opened, old *reading, p penstock.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old == nil {
		old = &reading{name: o.name, stream: p.Stream, last: p, settled: p.Next}
		s.account.streams[p.Stream], s.account.current[o.name] = old, old
		s.dropKept(o.name, p.Stream)
	}
	old.ended, old.stamp = false, o.stamp
	s.attach(o, old)
}

func (s *source) attach(o *opened, r *reading) {
	o.version, o.records.Stream = r, r.stream
	if o.left != nil {
		for _, m := range o.left.Msgs {
			m.Pos.Stream = r.stream
		}
	}
	s.cur = o
}

// dropKept forgets what was kept of other versions of a file. s.mu is held.
func (s *source) dropKept(name, except string) {
	for _, p := range s.account.kept[name] {
		if p.Stream != except {
			s.account.forget(p.Stream)
		}
	}
	delete(s.account.kept, name)
}

// readBefore finds files that an earlier run has read to the end and that were not changed since, without opening them: there may be
// very many.
func (s *source) readBefore(name string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.account.kept[name]
	if len(kept) == 0 {
		return false, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return false, failure("file.open", name, err)
	}
	now, p := stampOf(info), kept[len(kept)-1]
	t := tag(p.Tag)
	if !t.sameInode(now) || !t.sameTime(now) || t&direct == 0 || p.Next != now.size {
		return false, nil
	}
	r := &reading{name: name, stream: p.Stream, stamp: now, last: p, settled: p.Next, ended: true}
	s.account.streams[p.Stream], s.account.current[name] = r, r
	s.dropKept(name, p.Stream)
	s.settled(r)
	return true, nil
}

// gone looks which files are no longer there, so that nothing needs to be kept of them. found are those that are. Where a
// whole folder is missing or empty nothing is forgotten: it may be a file system that is not mounted just now.
func (s *source) gone(found []string) {
	if !s.tracks() {
		return
	}
	there := make(map[string]bool, len(found))
	for _, name := range found {
		there[name] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	filled := map[string]bool{} // folders
	isGone := func(name string) bool {
		if there[name] {
			return false
		}
		dir := filepath.Dir(name)
		full, known := filled[dir]
		if !known {
			full = hasEntries(dir)
			filled[dir] = full
		}
		if !full {
			return false
		}
		_, err := os.Lstat(name)
		return os.IsNotExist(err)
	}
	for name, kept := range s.account.kept {
		if isGone(name) {
			for _, p := range kept {
				s.account.forget(p.Stream)
			}
			delete(s.account.kept, name)
		}
	}
	for name, r := range s.account.current {
		if !r.queued && (s.cur == nil || s.cur.version != r) && isGone(name) {
			s.account.leave(r)
		}
	}
}

// hasEntries reports whether there is anything in a folder.
func hasEntries(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	names, _ := f.Readdirnames(1)
	_ = f.Close()
	return len(names) > 0
}
