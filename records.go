package penstock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"penstock.dev/penstock/jsonview"
)

// Records cuts a stream of bytes into the messages of batches: what a file, a pipe and a
// connection have in common. It reads into the batch's own memory, so that a record is not
// copied; only the unfinished rest of a read is, to the next batch. It is not safe for
// concurrent use.
type Records struct {
	// Framer finds the records.
	Framer Framer
	// Read gives the next bytes of the stream, as an io.Reader does.
	Read func(p []byte) (int, error)
	// Stream is the Position.Stream of the messages.
	Stream string
	// Fill says that a batch should be filled before it is returned (a file), instead of returning
	// what one Read gave (a pipe).
	Fill bool
	// MaxMessages is how many messages go into one batch; 0 is 256.
	MaxMessages int
	// MetaName names the header that holds Name, MetaLine that for the line of a record, counted
	// from 1; empty for none.
	MetaName, MetaLine string
	// Name is what people call the stream; it also names it in errors. Empty means Stream.
	Name string
	// NoLines says that the line at which the stream begins is not known: there are no line numbers then.
	NoLines bool
	// End, if positive, is where to stop: a record that begins there or later is not read.
	End int64

	rest []byte // read but not cut: what the next batch begins with
	pos  int64  // offset of rest in the stream
	line int64  // line at which rest begins; 0 counts as 1
	seen int64  // messages so far
	size int64  // their bytes
	eof  bool   // Read has nothing more
	fail error  // what Read failed with, told after what it gave before is used up
	over error  // why there will be no more messages

	block []byte // while Next runs: the memory that it reads into, empty
}

const (
	// recordBlock is how much is read at a time: as much as an arena keeps over a Reset.
	recordBlock = arenaChunk
	// recordMessages is the default of Records.MaxMessages.
	recordMessages = 256
	// recordBytes is about how much of the stream the messages of one call take, where MaxMessages is above the default: what an arena keeps over a Reset.
	recordBytes = arenaKeep * arenaChunk * 3 / 4
)

// SetPosition says at which offset and line the stream goes on, for the positions of its
// messages. It forgets what was read.
func (r *Records) SetPosition(offset, line int64) {
	r.pos, r.line = offset, line
	r.rest, r.eof, r.fail, r.over = r.rest[:0], false, nil, nil
}

// Offset is where the next record begins, or what stands before it.
func (r *Records) Offset() int64 { return r.pos }

// Head reads the stream up to the end of its first record and drops it, so that the framer has seen
// what stands before it (a header row). It is for streams that go on somewhere else, after SetPosition.
func (r *Records) Head() error {
	var b Batch
	head := *r
	head.MaxMessages, head.End = 1, 0
	if err := head.Next(&b); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// Next appends the next messages of the stream to into: at least one, or an error, io.EOF at the
// end. A record that can't be framed is a message that is marked as failed (see [Batch.Fail]) with its
// bytes as body. What makes the rest of the stream unreadable is the error of this call and all
// later ones, after the messages before it; an error of Read is told once, after what it gave.
func (r *Records) Next(into *Batch) error {
	start := len(into.Msgs)
	most := r.MaxMessages
	if most <= 0 {
		most = recordMessages
	}
	bytes, first := 0, r.pos // one block, but where more messages are wanted than it holds
	if most > recordMessages {
		bytes = recordBytes
	}
	buf := r.resume(into)
	var failed error
	for r.over == nil && failed == nil {
		n, err := r.cut(into, buf, start+most)
		buf = buf[n:]
		full := len(into.Msgs) >= start+most
		switch {
		case err != nil:
			r.over = err
		case r.eof && !full:
			r.over = io.EOF
		case full, len(into.Msgs) > start && (r.fail != nil || !r.Fill || cap(buf)-len(buf) < recordBlock/8 && r.pos-first >= int64(bytes)):
			r.rest = append(r.rest[:0], buf...)
			return nil //nolint:nilerr // told by the next call, after what was read before it
		default:
			buf, failed = r.more(into, buf, most, len(into.Msgs) == start)
		}
	}
	r.rest = append(r.rest[:0], buf...)
	if len(into.Msgs) > start {
		r.fail = failed
		return nil
	}
	if failed != nil {
		return failed
	}
	return r.over
}

// resume brings what the batch before left into the memory of this one.
func (r *Records) resume(into *Batch) []byte {
	if r.over != nil {
		return nil
	}
	size := recordBlock
	if 2*len(r.rest) > size {
		size = 2 * len(r.rest)
	}
	r.block = into.arena.Alloc(size)[:0]
	return append(r.block, r.rest...)
}

// more reads after buf, into larger memory if buf has no room left. free says that no message refers to the memory
// that was read into so far: it is then used again, so that what is stepped over, however much, takes none.
func (r *Records) more(into *Batch, buf []byte, most int, free bool) ([]byte, error) {
	if cap(buf)-len(buf) < recordBlock/8 {
		if !free || cap(r.block)-len(buf) < max(len(buf), recordBlock/8) {
			r.block = into.arena.Alloc(max(2*len(buf), recordBlock))[:0]
		}
		buf = append(r.block, buf...)
	}
	limit := cap(buf)
	if r.seen > 0 && r.Fill {
		// Small records fill the batch before the memory is full: read about as much as will be used, since
		// the rest has to be carried over.
		if want := int(r.size/r.seen+1) * (most + most/16); want > len(buf) && want < limit {
			limit = want
		}
	}
	if err := r.fail; err != nil {
		r.fail = nil
		return buf, err
	}
	for range 100 {
		n, err := r.Read(buf[len(buf):limit])
		buf = buf[:len(buf)+n]
		switch {
		case errors.Is(err, io.EOF):
			r.eof = true
			return buf, nil
		case n > 0:
			r.fail = err
			return buf, nil
		case err != nil:
			return buf, err
		}
	}
	return buf, io.ErrNoProgress
}

// cut appends the records of buf to into until it has most messages, and returns how far it came. An
// error means that the rest can't be read.
func (r *Records) cut(into *Batch, buf []byte, most int) (done int, err error) {
	for len(into.Msgs) < most {
		if r.End > 0 && r.pos >= r.End {
			r.eof = true
			return len(buf), nil
		}
		n, record, err := r.Framer.Frame(buf[done:], r.eof)
		if err != nil && n == 0 {
			return done, r.at(err)
		}
		if n == 0 {
			break
		}
		switch {
		case err != nil:
			m := r.message(into, n)
			m.Body.Reset(rawFormat(buf[done:done+n]), buf[done:done+n:done+n])
			into.Fail(len(into.Msgs)-1, r.at(err))
		case record != nil:
			m := r.message(into, n)
			r.Framer.Bind(m.Body, record)
			r.seen++
			r.size += int64(n)
		}
		r.pos += int64(n)
		if !r.NoLines {
			r.line = r.current() + int64(bytes.Count(buf[done:done+n], newline))
		}
		done += n
	}
	return done, nil
}

var newline = []byte{'\n'}

func (r *Records) current() int64 { return max(r.line, 1) }

// rawFormat is how bytes that are no record of their format stand in a message.
func rawFormat(raw []byte) jsonview.Format {
	if utf8.Valid(raw) {
		return jsonview.Text
	}
	return jsonview.Binary
}

// message appends a message for the next size bytes.
func (r *Records) message(into *Batch, size int) *Message {
	m := into.Append()
	m.Pos = Position{Stream: r.Stream, Offset: r.pos, Next: r.pos + int64(size)}
	if r.MetaName != "" {
		m.Meta.Add(r.MetaName, StringValue(r.name()))
	}
	if !r.NoLines {
		m.Pos.Line = r.current()
		if r.MetaLine != "" {
			m.Meta.Add(r.MetaLine, IntValue(m.Pos.Line))
		}
	}
	return m
}

// at adds the place in the stream to what a framer says.
func (r *Records) at(err error) error {
	code := CodeOf(err)
	if code == Internal {
		code = Invalid
	}
	at := fmt.Sprintf("%s: line %d, byte %d", r.name(), r.current(), r.pos)
	if r.NoLines {
		at = fmt.Sprintf("%s: byte %d", r.name(), r.pos)
	}
	return &Error{Code: code, Op: "read", Path: at, Err: err}
}

func (r *Records) name() string {
	if r.Name != "" {
		return r.Name
	}
	return r.Stream
}
