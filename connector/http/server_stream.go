package http

import (
	"bufio"
	"errors"
	"io"
	nethttp "net/http"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// maxTold is how many records that failed an answer speaks of.
const maxTold = 100

// streaming is a request whose body is read as records, each a message of its own. However long the body is, there is never more of it in
// memory than what is being worked on.
type streaming struct {
	x        *exchange
	records  penstock.Records
	head     penstock.Message // what all messages have in common: headers, and request
	accepted int64
	failed   int64
	told     []told
	lines    []int64 // of the records that are worked on
}

// told is a record that failed.
type told struct {
	line   int64
	code   penstock.Code
	detail string
}

// stream does one request, from the first record to the answer.
func (x *exchange) stream() (answer, error) {
	t := &streaming{x: x}
	done, err := t.open()
	if err != nil {
		return answer{}, err
	}
	defer done()
	for err == nil {
		err = t.next()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return t.answer(err), nil
}

// open makes ready to read the body.
func (t *streaming) open() (done func(), err error) {
	x, done := t.x, func() {}
	codec := x.s.config.Format.Codec
	if l, ok := codec.(penstock.Limiter); ok {
		codec = l.WithMaxRecord(int(x.s.config.MaxBody))
	}
	var from io.Reader = nethttp.NoBody
	if x.r.Body != nil && x.r.Body != nethttp.NoBody {
		if err := x.s.types.check(x.r.Header["Content-Type"]); err != nil {
			return nil, err
		}
		from = x.r.Body
	}
	coding, err := contentCoding(x.r.Header["Content-Encoding"])
	if err != nil {
		return nil, err
	}
	t.patience() // what it is compressed with is read now
	if coding != "" {
		unpacked, err := unpack(coding, from)
		if err != nil {
			return nil, err
		}
		from, done = unpacked, func() { _ = unpacked.Close() }
	}
	if coded, ok := codec.(penstock.Transcoder); ok {
		buffered := bufio.NewReader(from)
		first, err := buffered.Peek(4)
		if err != nil && !errors.Is(err, io.EOF) {
			done()
			return nil, x.unread(err, int64(x.s.config.MaxBody))
		}
		from = buffered
		if wrap := coded.Transcode(first); wrap != nil {
			from = wrap(buffered)
		}
	}
	t.records = penstock.Records{Framer: codec.NewFramer("the body"), Read: from.Read, Name: "the body", MetaLine: "line"}
	if err := x.meta(&t.head); err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// patience gives the peer as long for the next record as the flow has for it.
func (t *streaming) patience() {
	until := time.Now().Add(t.x.s.config.Timeout.Std())
	_ = nethttp.NewResponseController(t.x.w).SetReadDeadline(until) // where that can't be said, the listener's own bound holds
}

// next has the flow work on the next records. The error is io.EOF at the end.
func (t *streaming) next() error {
	x, s := t.x, t.x.s
	b := &x.batch
	b.Reset()
	b.Runtime = s.env.Runtime
	t.patience()
	if err := t.records.Next(b); err != nil {
		return t.broken(err)
	}
	request := b.NewMessage()
	request.Meta.CopyFrom(&t.head.Meta)
	if s.env.RequestSlot >= 0 {
		if err := x.request(request); err != nil {
			return err
		}
	}
	t.lines = t.lines[:0]
	for _, m := range b.Msgs {
		t.lines = append(t.lines, m.Pos.Line)
		m.Pos = penstock.Position{Line: m.Pos.Line}
		for _, e := range t.head.Meta.Entries() {
			if e.Name != "line" {
				m.Meta.Add(e.Name, e.Value)
			}
		}
		m.Vars = append(m.Vars[:0], request.Vars...)
	}
	ctx := newPatience(x.r.Context(), s.config.Timeout.Std())
	defer ctx.end()
	if err := s.handler.Handle(ctx, b); err != nil {
		return stopping(err)
	}
	var stop error
	for i := range b.Msgs {
		err := b.Err(i)
		if err == nil {
			t.accepted++
			continue
		}
		if ctx.Err() != nil && x.r.Context().Err() == nil && penstock.CodeOf(err) == penstock.Cancelled {
			err = &penstock.Error{Code: penstock.Timeout, Op: "http", Err: err} // to the engine it was given up
		}
		if t.fails(t.lines[i], err); stop == nil && !lasting(err) {
			stop = err
		}
	}
	return stop
}

// fails notes a record that failed.
func (t *streaming) fails(line int64, err error) {
	t.x.logged = true // the engine has
	if t.failed++; len(t.told) < maxTold {
		p := problemOf(err)
		t.told = append(t.told, told{line: line, code: penstock.Code(p.code), detail: p.detail})
	}
}

// broken is why the body can't be read on.
func (t *streaming) broken(err error) error {
	var e *penstock.Error
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.As(err, &e) && e.Op == "read" && penstock.CodeOf(err) == penstock.TooLarge:
		return &status{nethttp.StatusRequestEntityTooLarge, e.Path + ": " + innermost(e)}
	case errors.As(err, &e) && e.Op == "read": // the framer's
		return &status{nethttp.StatusBadRequest, e.Path + ": " + innermost(e)}
	}
	return t.x.unread(err, int64(t.x.s.config.MaxBody))
}

// answer tells the caller how many records there were, and which of them failed. err is why the rest was not read; nil: all was.
func (t *streaming) answer(err error) answer {
	if err == nil && t.failed == 0 {
		t.x.out = append(strconv.AppendInt(append(t.x.out[:0], `{"accepted":`...), t.accepted, 10), '}', '\n')
		return answer{status: nethttp.StatusAccepted, contentType: "application/json", body: t.x.out}
	}
	if err == nil {
		err = &status{t.told[0].code.HTTPStatus(), "some records were refused"}
	}
	t.x.logged = t.x.logged || t.accepted+t.failed > 0
	a := t.x.problem(err)
	b := a.body[:len(a.body)-len("}\n")]
	b = strconv.AppendInt(append(b, `,"accepted":`...), t.accepted, 10)
	b = strconv.AppendInt(append(b, `,"failed":`...), t.failed, 10)
	for i, one := range t.told {
		if i == 0 {
			b = append(b, `,"records":[`...)
		} else {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(b, `{"line":`...), one.line, 10)
		b = jsonview.AppendString(append(b, `,"code":`...), string(one.code))
		if one.detail != "" {
			b = jsonview.AppendString(append(b, `,"detail":`...), one.detail)
		}
		b = append(b, '}')
		if i == len(t.told)-1 {
			b = append(b, ']')
		}
	}
	a.body = append(b, '}', '\n')
	t.x.out = a.body
	return a
}
