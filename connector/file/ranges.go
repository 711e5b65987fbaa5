package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"penstock.dev/penstock"
)

// Reading one large file in several ranges at once. Each range is a stream of its own, named file#start-end, whose
// messages come in order. Where somebody keeps account of what was read (a run that keeps state, a file that is moved when it
// is done), files are read in one piece: where ranges begin depends on how many there are, so that the positions of one run would
// tell the next nothing.

// minPart is the size in bytes from which a range is worth its own reader.
const minPart = 32 << 20

// maxReaders bounds the readers of a file: more than a few only make a disk seek.
const maxReaders = 8

// parallel says whether the flow allows it and the format can.
func (s *source) parallel() bool {
	_, ok := s.codec.(penstock.Splitter)
	return ok && !s.env.Ordered && s.env.Concurrency > 1
}

// span is a range of a file, from the beginning of a record to that of another, or to the end of the file (-1).
type span struct{ start, end int64 }

func (p span) stream(name string) string {
	if p.end < 0 {
		return fmt.Sprintf("%s#%d-", name, p.start)
	}
	return fmt.Sprintf("%s#%d-%d", name, p.start, p.end)
}

// ranges reads the ranges of a file.
type ranges struct {
	full    chan *piece
	free    chan *piece
	stopped context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// piece is a batch on its way from a reader.
type piece struct {
	batch penstock.Batch
	err   error
}

// newRanges begins to read name in ranges; nil if it is to be read as a whole.
func (s *source) newRanges(name string) (*ranges, error) {
	if compressionOf(s.config.Compression, name) != plain {
		return nil, nil
	}
	o, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = o.f.Close() }()
	if !o.direct {
		return nil, nil
	}
	spans, err := s.spans(o)
	if err != nil || len(spans) < 2 {
		return nil, err
	}
	r := &ranges{full: make(chan *piece), free: make(chan *piece, 2*len(spans))}
	r.stopped, r.cancel = context.WithCancel(context.Background())
	readers := make(chan span, len(spans))
	for _, p := range spans {
		readers <- p
	}
	close(readers)
	for range min(s.env.Concurrency, maxReaders, len(spans)) {
		r.free <- new(piece)
		r.free <- new(piece)
		r.wg.Add(1)
		go func() {
			defer r.wg.Done()
			for p := range readers {
				if !s.readSpan(r, name, p) {
					return
				}
			}
		}()
	}
	go func() {
		r.wg.Wait()
		close(r.full)
	}()
	return r, nil
}

// spans says which ranges there are.
func (s *source) spans(o *opened) (all []span, err error) {
	var first penstock.Batch
	head := o.records
	head.MaxMessages = 1
	switch err := head.Next(&first); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	n := min(int64(min(s.env.Concurrency, maxReaders)), o.size/s.part)
	start := int64(0)
	for i := int64(1); i < n; i++ {
		cut, err := s.cut(o, max(o.size/n*i, start))
		if err != nil {
			return nil, err
		}
		if cut > start && cut > first.Msgs[0].Pos.Offset {
			all = append(all, span{start, cut})
			start = cut
		}
	}
	return append(all, span{start, -1}), nil
}

// cut finds the beginning of a record after from, -1 if there is none nearby.
func (s *source) cut(o *opened, from int64) (int64, error) {
	buf := make([]byte, min(s.part, 1<<20))
	n, err := o.f.ReadAt(buf, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, o.failed(err)
	}
	at := s.codec.(penstock.Splitter).Split(buf[:n])
	if at < 0 {
		return -1, nil
	}
	return from + int64(at), nil
}

// readSpan reads one range; false if the reading was stopped.
func (s *source) readSpan(r *ranges, name string, p span) bool {
	send := func(c *piece) bool {
		select {
		case r.full <- c:
			return true
		case <-r.stopped.Done():
			return false
		}
	}
	o, err := s.openSpan(name, p)
	if err != nil {
		send(&piece{err: err})
		return false
	}
	defer func() { _ = o.close() }()
	for {
		var c *piece
		select {
		case c = <-r.free:
		case <-r.stopped.Done():
			return false
		}
		c.batch.Reset()
		err := o.records.Next(&c.batch)
		if errors.Is(err, io.EOF) {
			r.free <- c // it came from there
			return true
		}
		c.err = err
		if !send(c) || err != nil { // once sent, c is another's
			return false
		}
	}
}

// openSpan opens the file at the beginning of a range.
func (s *source) openSpan(name string, p span) (*opened, error) {
	o, err := s.open(name)
	if err != nil {
		return nil, err
	}
	o.records.Stream = p.stream(name)
	if p.end >= 0 {
		o.records.End = p.end
	}
	start := p.start
	if start == 0 {
		return o, nil
	}
	err = o.records.Head()
	if err == nil {
		if _, err = o.f.Seek(start, io.SeekStart); err != nil {
			err = o.failed(err)
		}
	}
	if err != nil {
		_ = o.close()
		return nil, err
	}
	o.read = start
	o.records.SetPosition(start, 0)
	o.records.NoLines = true
	return o, nil
}

// next gives the messages of the next batch that a reader has.
func (r *ranges) next(ctx context.Context, into *penstock.Batch) error {
	select {
	case c, ok := <-r.full:
		if !ok {
			return io.EOF
		}
		if c.err != nil {
			r.stop()
			return c.err
		}
		move(into, &c.batch)
		r.free <- c // there is room: it came out of it
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// move gives into the messages of from. An empty batch takes over the memory as well, and gives its own for the next
// messages.
func move(into, from *penstock.Batch) {
	from.Runtime = into.Runtime
	if len(into.Msgs) == 0 {
		*into, *from = *from, *into
		return
	}
	for i, m := range from.Msgs {
		n := into.Append()
		m.Body.CloneInto(n.Body, into.Arena().Alloc)
		n.Key, n.Pos, n.Time = m.Key, m.Pos, m.Time
		n.Meta.CopyFrom(&m.Meta)
		if err := from.Err(i); err != nil {
			into.Fail(len(into.Msgs)-1, err)
		}
	}
}

// stop ends the readers.
func (r *ranges) stop() {
	r.cancel()
	for range r.full { // until it is closed
	}
}
