package flowtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// feed is the source that a script feeds. It gives one message at a time, when the pace says so.
type feed struct {
	idle, busy func() // of the run

	mu      sync.Mutex
	wake    chan struct{}
	queue   []sending
	allowed int  // messages that may be read now
	asleep  bool // Read waits
	ended   bool // no more will come
}

// sending is what stands in the queue: a document, or a stream whose records come one by one.
type sending struct {
	body    []byte
	pos     penstock.Position
	meta    []penstock.MetaEntry
	records *penstock.Records // nil for a document
}

func newFeed() *feed { return &feed{wake: make(chan struct{}, 1)} }

// Waits implements run.Waiter.
func (f *feed) Waits(idle, busy func()) { f.idle, f.busy = idle, busy }

// add appends to the queue. Nothing of it is read before it is released.
func (f *feed) add(s sending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, s)
}

// has says that a message waits to be released.
func (f *feed) has() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue) > 0 && f.allowed == 0
}

// release lets the engine read one message.
func (f *feed) release() { f.change(func() { f.allowed = 1 }) }

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
func (*feed) Settle(context.Context, []penstock.Outcome) error { return nil }

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
		if s.records == nil {
			m := into.Append()
			m.Body.Reset(jsonview.JSON, s.body)
			m.Pos = s.pos
			s.stamp(m)
			f.queue, f.allowed = f.queue[1:], 0
			return true, nil
		}
		err := s.records.Next(into)
		for _, m := range into.Msgs {
			s.stamp(m)
		}
		if err == nil {
			f.allowed = 0
			return true, nil
		}
		f.queue = f.queue[1:]
		if !errors.Is(err, io.EOF) { // as for any source: what can't be read stops the run
			return true, err
		}
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

// stamp gives a message the headers of the script.
func (s *sending) stamp(m *penstock.Message) {
	for _, e := range s.meta {
		m.Meta.Set(e.Name, e.Value)
	}
}

// stream makes the records of text, as a source with this codec reads them. The driver tells the
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
