package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"penstock.dev/penstock"
)

// What becomes of a file that is done. A goroutine of its own does it, so that nobody waits for a copy to another file
// system; it lives while there is something to do.
//
// A crash at any point loses nothing and does nothing twice: until the file is gone from its place the position says that it was read to its
// end, and the next start does what is left. The new name is made first, and only when it is durable is the old one removed. A
// file that has both names is recognised by its inode, a copy by its content.

// mover is the state of that goroutine. It is guarded by the source's mu.
type mover struct {
	folder  string // to move to
	queue   []*reading
	working bool
	wg      sync.WaitGroup
	stop    context.CancelFunc // ends copies
	ctx     context.Context
	errs    []error
}

// openAfter checks where files are to be moved.
func (s *source) openAfter() error {
	a := s.config.After
	if a == nil {
		return nil
	}
	if s.mover.ctx == nil {
		s.mover.ctx, s.mover.stop = context.WithCancel(context.Background())
	}
	if a.Move.IsZero() {
		return nil
	}
	folder, err := fixed(a.Move, s.env)
	if err != nil {
		return err
	}
	if s.pattern.finds(folder) {
		return &penstock.Error{Code: penstock.Config, Op: "file", Path: a.Move.Pos.String(), Err: fmt.Errorf("files that are moved to %s would be found and read again", folder),
			Hint: "move them to a folder that the path does not look into"}
	}
	s.mover.folder = folder
	return nil
}

// closeAfter waits until everything that is to be done is done. A watch that ends, because the process is stopped, does not wait for
// copies: the next start makes them.
func (s *source) closeAfter() error {
	if s.mover.stop == nil {
		return nil
	}
	finite := s.watch == nil || s.env.Once
	if !finite {
		s.mover.stop()
	}
	s.mover.wg.Wait()
	s.mover.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := s.mover.errs
	s.mover.errs, s.mover.stop, s.mover.ctx = nil, nil, nil
	if !finite {
		return nil // they were logged, and the next start tries again
	}
	return errors.Join(errs...)
}

// enqueue hands a version to the mover. s.mu is held.
func (s *source) enqueue(r *reading) {
	s.mover.queue = append(s.mover.queue, r)
	if !s.mover.working && s.mover.ctx != nil {
		s.mover.working = true
		s.mover.wg.Go(s.work)
	}
}

// work does what is queued.
func (s *source) work() {
	for {
		s.mu.Lock()
		if len(s.mover.queue) == 0 {
			s.mover.working = false
			s.mu.Unlock()
			return
		}
		r := s.mover.queue[0]
		s.mover.queue = s.mover.queue[1:]
		ctx := s.mover.ctx
		if r.past || !r.ended || !r.done() { // it was found to be another, or to have grown
			r.queued = false
			s.mu.Unlock()
			continue
		}
		r.moving = true
		s.mu.Unlock()
		err := s.dispose(ctx, r)
		s.mu.Lock()
		r.moving = false
		switch {
		case err == nil:
			s.account.leave(r)
		case errors.Is(err, errVanished):
			r.queued = false // if it grew it will be read on, and come back here
			if s.watch == nil {
				s.logger().Warn("the file changed after it was read, so it stays where it is", "file", r.name)
			}
		default: // queued stays: once a run is enough
			s.mover.errs = append(s.mover.errs, err)
			s.logger().Error("a file that is done could not be put away; it will be tried at the next start", "file", r.name, "error", err.Error())
		}
		s.mu.Unlock()
	}
}

// dispose does with a file what the configuration says.
func (s *source) dispose(ctx context.Context, r *reading) error {
	info, err := os.Stat(r.name)
	if errors.Is(err, os.ErrNotExist) {
		return nil // somebody else did
	}
	if err != nil {
		return failure("file.after", r.name, err)
	}
	if stampOf(info) != r.stamp {
		return errVanished
	}
	a := s.config.After
	switch {
	case a.Delete:
		err = s.disk.Remove(r.name)
		if err == nil {
			err = s.disk.SyncDir(filepath.Dir(r.name))
		}
	case a.Mark != "":
		err = s.move(ctx, r.name, r.name+a.Mark, info)
	default:
		err = s.move(ctx, r.name, filepath.Join(s.mover.folder, s.pattern.below(r.name)), info)
	}
	if err != nil {
		return failure("file.after", r.name, err)
	}
	return nil
}

// maxNumber bounds the search for a name that is free.
const maxNumber = 1_000_000

// move gives a file another name that nobody has, durably.
func (s *source) move(ctx context.Context, from, to string, info os.FileInfo) error {
	if err := s.disk.MakeAll(filepath.Dir(to)); err != nil {
		return err
	}
	copied := "" // where the copy is, once one had to be made
	defer func() {
		if copied != "" {
			_ = s.disk.Remove(copied)
		}
	}()
	for n := 1; n < maxNumber; n++ {
		target := numberedName(to, s.config.After.Mark, n)
		err := s.place(ctx, from, target, info, &copied)
		if errors.Is(err, os.ErrExist) {
			if !sameFile(from, target, info, copied != "") {
				continue
			}
			err = nil // it was moved there before, and the process ended before it was removed here
		}
		if err != nil {
			return err
		}
		if err := s.disk.SyncDir(filepath.Dir(target)); err != nil {
			return err
		}
		if err := s.disk.Remove(from); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return s.disk.SyncDir(filepath.Dir(from))
	}
	return fmt.Errorf("%s and all its numbers are taken", to)
}

// place puts the content of from under the name target, if that is free: by a second name for the file, else, where the file
// system has none, by renaming it, else, where target is on another one, by a copy.
func (s *source) place(ctx context.Context, from, target string, info os.FileInfo, copied *string) error {
	if *copied == "" {
		err := s.disk.Link(from, target)
		if err == nil || errors.Is(err, os.ErrExist) {
			return err
		}
		if err = s.disk.Rename(from, target); err == nil || errors.Is(err, os.ErrExist) {
			return err
		}
		if *copied, err = copyBeside(ctx, from, target, info); err != nil {
			return err
		}
	}
	if err := s.disk.Link(*copied, target); err == nil || errors.Is(err, os.ErrExist) {
		return err
	}
	return s.disk.Rename(*copied, target)
}

// goodSuffix reports whether a mark can be added to names.
func goodSuffix(mark string) bool {
	return !strings.ContainsAny(mark, "/\x00"+string(filepath.Separator)) && !strings.HasSuffix(mark, partialSuffix)
}

// numberedName is the n-th name to try: x.csv.gz, x-2.csv.gz, x-3.csv.gz. The mark stays at the end.
func numberedName(name, mark string, n int) string {
	if n == 1 {
		return name
	}
	name = strings.TrimSuffix(name, mark)
	inner := bare(name)
	ext := filepath.Ext(inner)
	if ext == filepath.Base(inner) { // .profile
		ext = ""
	}
	return fmt.Sprintf("%s-%d%s%s", strings.TrimSuffix(inner, ext), n, ext+name[len(inner):], mark)
}
