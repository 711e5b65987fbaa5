package penstock

import (
	"fmt"
	"strings"

	"penstock.dev/penstock/jsonview"
)

// Batch is a run of messages that travel together, with the memory that they live in.
// A batch is used by one goroutine at a time. The zero Batch is ready once Runtime is
// set (only expressions need it).
type Batch struct {
	Msgs    []*Message
	Runtime *Runtime

	arena   Arena
	frame   Frame
	slots   []*Message // all messages ever made here; the first `used` are in use
	used    int
	docs    []*jsonview.Doc
	usedDoc int
	errs    []error // by index of Msgs; nil slice while nothing failed
	failed  int
}

// Append adds an empty message to the batch and returns it. Its body is a fresh document.
func (b *Batch) Append() *Message {
	m := b.NewMessage()
	b.Msgs = append(b.Msgs, m)
	return m
}

// NewMessage makes an empty message in the batch's memory without adding it to Msgs.
func (b *Batch) NewMessage() *Message {
	if b.used == len(b.slots) {
		b.slots = append(b.slots, new(Message))
	}
	m := b.slots[b.used]
	b.used++
	m.Body = b.NewDoc()
	return m
}

// NewDoc returns a document, JSON null, that lives as long as the batch.
func (b *Batch) NewDoc() *jsonview.Doc {
	if b.usedDoc == len(b.docs) {
		b.docs = append(b.docs, new(jsonview.Doc))
	}
	d := b.docs[b.usedDoc]
	b.usedDoc++
	d.Reset(jsonview.JSON, nullText) // never what stood here before
	return d
}

var nullText = []byte("null")

// Arena is the batch's memory.
func (b *Batch) Arena() *Arena { return &b.arena }

// Frame prepares the batch's one frame for m. The frame of the message before is the
// same frame: use one at a time.
func (b *Batch) Frame(m *Message) *Frame {
	b.frame.Msg, b.frame.Runtime, b.frame.Arena = m, b.Runtime, &b.arena
	return &b.frame
}

// Fail marks message i as failed. The engine takes it out of the batch after the step.
func (b *Batch) Fail(i int, err error) {
	if b.errs == nil {
		b.errs = make([]error, 0, len(b.Msgs))
	}
	for len(b.errs) < len(b.Msgs) {
		b.errs = append(b.errs, nil)
	}
	if b.errs[i] == nil && err != nil {
		b.failed++
	}
	b.errs[i] = err
}

// Err is the error that message i failed with, or nil.
func (b *Batch) Err(i int) error {
	if i >= len(b.errs) {
		return nil
	}
	return b.errs[i]
}

// Failed is how many messages are marked as failed.
func (b *Batch) Failed() int { return b.failed }

// ClearErrors forgets all marks.
func (b *Batch) ClearErrors() { b.errs, b.failed = b.errs[:0], 0 }

// Reset empties the batch for use again and takes its memory back (see [Arena.Reset]).
func (b *Batch) Reset() {
	for _, m := range b.slots[:b.used] {
		m.Key, m.Pos, m.Lineage, m.Descent = "", Position{}, nil, 0
		m.Time = zeroTime
		m.Meta.Reset()
		m.Vars = m.Vars[:0]
		m.Body = nil
	}
	b.Msgs, b.used, b.usedDoc = b.Msgs[:0], 0, 0
	b.ClearErrors()
	b.arena.Reset()
}

// BatchError is returned by [Sink.Write] when some messages were not written. Those
// that it does not name are durable.
type BatchError struct {
	Errs map[int]error // by index of Batch.Msgs
}

// Error lists the first failures.
func (e *BatchError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d messages failed", len(e.Errs))
	n := 0
	for i, err := range e.Errs {
		if n++; n > 3 {
			b.WriteString("; …")
			break
		}
		fmt.Fprintf(&b, "; message %d: %v", i, err)
	}
	return b.String()
}

// WriteError is what [Sink.Write] returns of a batch whose messages have had fates of their own: nil where all are written, else a [*BatchError]. fate says
// what became of the i-th message, nil that it is written. Where one may be written later (its error is transient), those of its key behind it fail
// too, with its code, whatever became of them, so that they are written again in order; those without a key count as of one. op and at begin their errors: the driver's name, and
// where the sink writes to, or "".
func (b *Batch) WriteError(op, at string, fate func(i int) error) error {
	var each *BatchError
	var stuck map[string]error
	for i, m := range b.Msgs {
		err := fate(i)
		if before := stuck[m.Key]; err == nil && before != nil {
			err = &Error{Code: CodeOf(before), Op: op, Path: at, Err: fmt.Errorf("it is written again behind one of its key that could not be: %w", before)}
		}
		if err == nil {
			continue
		}
		if CodeOf(err).Transient() && stuck[m.Key] == nil {
			if stuck == nil {
				stuck = map[string]error{}
			}
			stuck[m.Key] = err
		}
		if each == nil {
			each = &BatchError{Errs: map[int]error{}}
		}
		each.Errs[i] = err
	}
	if each == nil {
		return nil
	}
	return each
}

// Swap exchanges the contents of two batches, memory and all, so that messages change
// hands without being copied. Each keeps its own Runtime.
func (b *Batch) Swap(o *Batch) {
	mine, theirs := b.Runtime, o.Runtime
	*b, *o = *o, *b
	b.Runtime, o.Runtime = mine, theirs
}
