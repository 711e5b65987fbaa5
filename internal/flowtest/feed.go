package flowtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// feed is the source that a script feeds. It gives one message at a time, when the pace says so. It outlives a crash: the script
// has sent what it has sent.
type feed struct {
	again      again
	cumulative bool   // what is settled settles all before it
	idle, busy func() // of the run
	// met is told of each message that is given; true says that it comes once more. Nil: nobody asks.
	met func(again bool) bool
	// asker is set where what is sent are requests, which nobody reads.
	asker *asker

	mu      sync.Mutex
	wake    chan struct{}
	sent    []sending // all of it
	queue   []sending // what is not read
	allowed int       // messages that may be read now
	asleep  bool      // Read waits
	ended   bool      // no more will come

	read    int64              // messages that were read, those too that are passed over
	lost    int64              // so many of the first don't come again
	from    map[string]int64   // by stream: where it is resumed
	settled map[int64]struct{} // what the engine said is done
}

// again is what of a source comes again after a crash.
type again uint8

const (
	againNone      again = iota // nothing that was read (stdin; a channel in memory: its sender has settled it)
	againAll                    // everything: the run keeps no state, and reads its source anew
	againUnsettled              // what was not settled
	againPosition               // what the engine's own position says
	againKept                   // what was not settled, at the same positions
)

// sending is what stands in the queue: a document, or a stream whose records come one by one.
type sending struct {
	body    []byte
	pos     penstock.Position
	meta    []penstock.MetaEntry
	key     string
	open    func() *penstock.Records // nil for a document
	records *penstock.Records        // open, once it was begun
	request *request                 // of a request; nil: nothing is said of it
}

func newFeed(a again) *feed {
	return &feed{again: a, wake: make(chan struct{}, 1), settled: map[int64]struct{}{}}
}

// source is what the engine reads.
func (f *feed) source() penstock.Source {
	if f.again == againPosition {
		return &positioned{f}
	}
	return f
}

// positioned is a feed whose position the engine keeps.
type positioned struct{ *feed }

var _ penstock.Positioned = (*positioned)(nil)

// Resume implements penstock.Positioned.
func (p *positioned) Resume(_ context.Context, from []penstock.Position) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from = map[string]int64{}
	for _, pos := range from {
		p.from[pos.Stream] = pos.Next
	}
	return nil
}

// crashed lets that come again which a crash has not lost. The run must have ended.
func (f *feed) crashed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.again == againNone {
		f.lost = max(f.lost, f.read)
	}
	f.queue = slices.Clone(f.sent)
	f.read, f.allowed, f.asleep = 0, 0, false
	select {
	case <-f.wake:
	default:
	}
}

// over says that a message does not come again.
func (f *feed) over(pos penstock.Position) bool {
	_, settled := f.settled[pos.Offset]
	return settled || pos.Offset < f.lost || pos.Offset < f.from[pos.Stream]
}

// Waits implements run.Waiter.
func (f *feed) Waits(idle, busy func()) { f.idle, f.busy = idle, busy }

// add appends to the queue. Nothing of it is read before it is released.
func (f *feed) add(s sending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, s)
	f.queue = append(f.queue, s)
}

// has says that a message waits to be released.
func (f *feed) has() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue) > 0 && f.allowed == 0
}

// release lets the engine read one message.
func (f *feed) release() {
	if f.asker != nil {
		f.asker.release()
		return
	}
	f.change(func() { f.allowed = 1 })
}

// end says that there will be no more.
func (f *feed) end() { f.change(func() { f.ended = true }) }

func (f *feed) change(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	f.rouse()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed) rouse() {
	if f.asleep {
		f.asleep = false
		f.busy()
	}
}

// Open implements penstock.Source.
func (*feed) Open(context.Context) error { return nil }

// Close implements penstock.Source.
func (*feed) Close(context.Context) error { return nil }

// Settle implements penstock.Source.
func (f *feed) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range outcomes {
		switch {
		case f.again != againUnsettled && f.again != againKept || o.Err != nil:
		case f.cumulative:
			f.lost = max(f.lost, o.Pos.Next)
		default:
			f.settled[o.Pos.Offset] = struct{}{}
		}
	}
	return nil
}

// Read implements penstock.Source.
func (f *feed) Read(ctx context.Context, into *penstock.Batch) error {
	for {
		done, err := f.next(into)
		if done {
			return err
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			f.mu.Lock()
			f.rouse()
			f.mu.Unlock()
			return ctx.Err()
		}
	}
}

// next gives one message if it may, or goes to sleep.
func (f *feed) next(into *penstock.Batch) (done bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.allowed > 0 && len(f.queue) > 0 {
		s := &f.queue[0]
		err := s.next(into)
		if s.open == nil || err != nil {
			f.queue = f.queue[1:]
		}
		if err != nil && !errors.Is(err, io.EOF) { // as for any source: what can't be read stops the run
			return true, err
		}
		if len(into.Msgs) == 0 {
			continue
		}
		m := into.Msgs[0]
		m.Pos.Offset, m.Pos.Next = f.read, f.read+1 // of all that the script sends: its lines have several
		f.read++
		if f.over(m.Pos) {
			into.Reset()
			continue
		}
		f.allowed = 0
		if f.met != nil && f.met(f.again == againUnsettled && s.open == nil) {
			f.queue = slices.Insert(f.queue, 0, sending{body: []byte(bodyText(m)), pos: m.Pos, meta: s.meta, key: s.key})
		}
		return true, nil
	}
	if f.ended && len(f.queue) == 0 {
		return true, io.EOF
	}
	f.allowed = 0
	if !f.asleep {
		f.asleep = true
		f.idle()
	}
	return false, nil
}

// next reads one message.
func (s *sending) next(into *penstock.Batch) error {
	if s.open == nil {
		m := into.Append()
		m.Body.Reset(jsonview.JSON, s.body)
		m.Pos = s.pos
	} else {
		if s.records == nil {
			s.records = s.open()
		}
		if err := s.records.Next(into); err != nil {
			return err
		}
	}
	for _, m := range into.Msgs {
		if s.key != "" {
			m.Key = s.key
		}
		for _, e := range s.meta {
			m.Meta.Set(e.Name, e.Value)
		}
	}
	return nil
}

// stream opens the records of text, as a source with this codec reads them. The driver tells the
// headers: a file's records know their file and line.
func stream(codec penstock.Codec, driver, name string, text []byte) *penstock.Records {
	var r io.Reader = bytes.NewReader(text)
	if t, ok := codec.(penstock.Transcoder); ok {
		if wrap := t.Transcode(text[:min(len(text), 4)]); wrap != nil {
			r = wrap(r)
		}
	}
	out := &penstock.Records{Framer: codec.NewFramer(name), Read: small{r}.Read, Stream: name, Name: name, MaxMessages: 1}
	switch driver {
	case "file":
		out.MetaName, out.MetaLine = "file", "line"
	case "stdin":
		out.MetaLine = "line"
	}
	return out
}

// small reads little at a time: what was read beyond a record is carried over to the next.
type small struct{ r io.Reader }

// Read implements io.Reader.
func (s small) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), 4<<10)]) }
