package observe

import (
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
)

// MaxChildren bounds the spans below the span of one message: what is split into a million parts is still one trace that somebody can
// look at. How many were left out stands on the message's span.
const MaxChildren = 512

// MaxLinks bounds the links of one span.
const MaxLinks = 128

// Span is the span of a message, or of something that is done with it. It is safe for concurrent use.
type Span struct {
	Recording
	tracer   *Tracer
	root     *Span // of the message; nil: it is that itself
	children atomic.Int64

	mu    sync.Mutex
	last  time.Time // when the last of what was made of the message ended
	over  bool
	ended []Attr
}

// Child begins a span below s; nil, where the message has too many.
func (s *Span) Child(name string, kind Kind, at time.Time, attrs ...Attr) *Span {
	root := s.message()
	if root.children.Add(1) > MaxChildren {
		return nil
	}
	return &Span{tracer: s.tracer, root: root, Recording: s.tracer.recorder.Begin(Start{Name: name, Kind: kind, Parent: s.Context(), Local: true, At: at, Attrs: attrs})}
}

// message is the span of the whole message.
func (s *Span) message() *Span {
	if s.root != nil {
		return s.root
	}
	return s
}

// SetText implements penstock.Annotator.
func (s *Span) SetText(name, value string) { s.Annotate(Text(name, value)) }

// SetInt implements penstock.Annotator.
func (s *Span) SetInt(name string, value int64) { s.Annotate(Int(name, value)) }

var _ penstock.Annotator = (*Span)(nil)

// Failed marks the span with an error; nil is none.
func (s *Span) Failed(err error) {
	if err != nil {
		s.Fail(penstock.CodeOf(err), err.Error())
	}
}

// Done notes that a part of the message has ended, and how. The span goes on until [Span.Close].
func (s *Span) Done(at time.Time, outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = at
	s.ended = append(s.ended[:0], Text("penstock.outcome", outcome))
}

// Close ends the span of a message when the last of what was made of it ended, or at now where nobody noted that.
func (s *Span) Close(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.over = true
	if n := s.children.Load(); n > MaxChildren {
		s.ended = append(s.ended, Int("penstock.spans.dropped", n-MaxChildren))
	}
	if len(s.ended) > 0 {
		s.Annotate(s.ended...)
	}
	if s.last.IsZero() {
		s.last = now
	}
	s.End(s.last)
}
