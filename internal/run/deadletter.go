package run

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// dead sends a message to the flow's dead letter: the body as it came, and meta.dead that
// says why. A dead letter that can't be written stops the run: nothing is lost silently.
func (x *exec) dead(w *work, m *penstock.Message, cause error, stepName string, attempts int) {
	cause = x.f.hide(cause)
	x.died(m, stepName, cause)
	if t, ok := m.Lineage.(*track); ok && t.in.src.takesJobs() && x.f.durable {
		x.failJob(w, m, cause, stepName)
		return
	}
	if x.f.dead.outlet != nil {
		x.deadKept(w, m, cause, stepName, attempts)
		return
	}
	b := &penstock.Batch{Runtime: x.f.runtime}
	c := b.Append()
	c.Key, c.Pos, c.Time, c.Lineage, c.Descent = m.Key, m.Pos, m.Time, m.Lineage, m.Descent
	c.Meta.CopyFrom(&m.Meta)
	c.Vars = append(c.Vars, m.Vars...)
	c.Body = m.Body
	switch l := m.Lineage.(type) {
	case *track:
		c.Body = l.orig
	case *lineages:
		c.Body = l.orig
	}
	c.Body = readable(b, c.Body)
	c.Meta.Set("dead", x.f.deadMeta(cause, stepName, attempts, m, entryFrom))
	x.f.envelop(b, c)
	if err := x.f.dead.write(x.ctx, b, false); err != nil {
		x.f.fatal(&penstock.Error{Code: penstock.CodeOf(err), Op: "dead letter of " + x.f.plan.Name, Err: err, Hint: notSettled(err)})
		x.f.log.Error("dead letter not written", "cause", cause, "error", err)
		w.mem--
		return
	}
	if t, ok := m.Lineage.(*track); ok && x.f.durable { // as where dead letters are kept in the store
		t.recorded.takeBack(m)
	}
	x.f.stats.reject(cause, stepName)
	x.logDead(m, cause, stepName)
	x.end(w, []*penstock.Message{m}, fateDead)
}

// envelop makes a dead letter's body hold its key and headers, too, for a sink that has no place for them.
func (f *flow) envelop(b *penstock.Batch, m *penstock.Message) {
	if f.envelope {
		text := bytes.TrimSuffix(appendDead(nil, m), []byte("\n"))
		m.Body = b.NewDoc()
		m.Body.Reset(jsonview.JSON, text)
	}
}

// notSettled is the hint of a dead letter that could not be written, where its cause has none.
func notSettled(err error) string {
	var e *penstock.Error
	if errors.As(err, &e) && e.Hint != "" {
		return ""
	}
	return "the message was not settled; it is read again at the next start where its source can"
}

// readable gives d, or, where d can't be read, its bytes as text or binary: a dead letter must be
// writable by every connector and readable by every flow, above all one that is dead for its syntax.
func readable(b *penstock.Batch, d *jsonview.Doc) *jsonview.Doc {
	if !d.Parsed() { // reading changes it, and other messages may be made of it
		c := b.NewDoc()
		d.CloneInto(c, nil)
		d = c
	}
	if d.Parse(jsonview.Limits{}) == nil {
		return d
	}
	raw := b.NewDoc()
	format := jsonview.Text
	if !utf8.Valid(d.Original()) {
		format = jsonview.Binary
	}
	raw.Reset(format, d.Original())
	return raw
}

// deadMeta is meta.dead: error (code, message, path), step, attempts, flow, origin (the stream and the line),
// offset (the byte at which the message begins there), entry (where it is to be given in again), held and number (with order: park, the key that
// it holds back, and its place among those), redriven (how often it was given in
// again before, from the first time on), identity (of the message where it is written, in flows that send to what knows its messages), trace (its identity, where the message has one), time.
func (f *flow) deadMeta(cause error, stepName string, attempts int, m *penstock.Message, entry string) penstock.Value {
	str := penstock.StringValue
	e := errorValue(cause, stepName, attempts)
	fields := append([]penstock.Entry(nil), e.Map().Entries...)
	fields = append(fields,
		penstock.Entry{Key: str("flow"), Value: str(f.plan.Name)},
		penstock.Entry{Key: str("origin"), Value: str(m.Lineage.Origin())},
	)
	if t, ok := m.Lineage.(*track); ok && t.pos.Line > 0 { // the origin has the line
		fields = append(fields, penstock.Entry{Key: str("offset"), Value: penstock.IntValue(t.pos.Offset)})
	}
	fields = append(fields, penstock.Entry{Key: str("entry"), Value: str(entry)})
	if t, ok := m.Lineage.(*track); ok && f.parked != nil {
		fields = append(fields, penstock.Entry{Key: str("held"), Value: str(t.heldKey)}, penstock.Entry{Key: str("number"), Value: penstock.IntValue(t.number)})
	}
	if t, ok := m.Lineage.(*track); ok && t.lasting != nil && t.times > 0 {
		fields = append(fields, penstock.Entry{Key: str(timesField), Value: penstock.IntValue(t.times)})
	}
	if t, ok := m.Lineage.(*track); ok && f.knows {
		fields = append(fields, penstock.Entry{Key: str(identityField), Value: str(string(t.AppendIdentity(nil, 0)))})
	}
	if trace := traceOf(m); !trace.IsZero() {
		fields = append(fields, penstock.Entry{Key: str("trace"), Value: str(hex.EncodeToString(trace.TraceID[:]))})
	}
	fields = append(fields,
		penstock.Entry{Key: str("time"), Value: str(f.r.clock.Now().UTC().Format(time.RFC3339Nano))},
	)
	return penstock.MapValue(&penstock.Map{Entries: fields})
}

// deadFile is the dead letter of a flow that names none: a file of JSON lines, made when
// the first one comes, appended to, and synced before anything is settled.
type deadFile struct {
	path  string
	file  *os.File
	count int
	buf   []byte
}

// Open implements penstock.Sink. The file is made with the first dead letter.
func (*deadFile) Open(context.Context) error { return nil }

// Write appends one line for each message: its body as JSON, as text, or base64 where it
// is neither, with key, meta and the reason under meta.dead.
func (d *deadFile) Write(_ context.Context, b *penstock.Batch) error {
	if err := d.begin(); err != nil {
		return d.failed(err)
	}
	d.buf = d.buf[:0]
	for _, m := range b.Msgs {
		start := len(d.buf)
		if d.buf = appendDead(d.buf, m); bytes.IndexByte(d.buf[start:len(d.buf)-1], '\n') >= 0 {
			d.buf = oneLine(d.buf[:start], d.buf[start:])
		}
	}
	n, err := d.file.Write(d.buf)
	if err != nil && n > 0 { // a torn line is never left for the next writer
		if end, e := d.file.Seek(0, 2); e == nil {
			_ = d.file.Truncate(end - int64(n))
		}
	}
	d.count += len(b.Msgs)
	return d.failed(err)
}

// begin opens the file, where it is not open yet.
func (d *deadFile) begin() error {
	if d.file != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(d.path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	if err := mend(f); err != nil {
		_ = f.Close()
		return err
	}
	d.file = f
	return nil
}

// failed says which file can't be written, and what to do.
func (d *deadFile) failed(err error) error {
	if err == nil {
		return nil
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err // the name is said already
	}
	return &penstock.Error{Code: penstock.Unavailable, Op: "write", Path: d.path, Err: err,
		Hint: "make room there, or name another folder for dead letters; the message was not settled and is read again at the next start, where its source can"}
}

// mend cuts off a torn last line, which a crash may have left.
func mend(f *os.File) error {
	end, err := f.Seek(0, 2)
	if err != nil {
		return err
	}
	var b [4096]byte
	keep := end
	for keep > 0 {
		from := max(0, keep-int64(len(b)))
		part := b[:keep-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return err
		}
		for i := len(part) - 1; i >= 0; i-- {
			if part[i] == '\n' {
				if at := from + int64(i) + 1; at != end {
					return f.Truncate(at)
				}
				return nil
			}
		}
		keep = from
	}
	if end > 0 {
		return f.Truncate(0)
	}
	return nil
}

// Flush implements penstock.Flusher.
func (d *deadFile) Flush(context.Context) error {
	if d.file == nil {
		return nil
	}
	return d.failed(d.file.Sync())
}

// Close implements penstock.Sink.
func (d *deadFile) Close(context.Context) error {
	if d.file == nil {
		return nil
	}
	return d.failed(errors.Join(d.file.Sync(), d.file.Close()))
}

// oneLine appends line, which ends with a line end, without the white space between its tokens: a
// document that stood over several lines keeps its layout everywhere but here.
func oneLine(dst, line []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, line) != nil {
		return append(dst, line...) // it was made of what was read: it can't be
	}
	return append(append(dst, b.Bytes()...), '\n')
}

func appendDead(dst []byte, m *penstock.Message) []byte {
	dst = append(dst, `{"body":`...)
	dst = m.Body.AppendJSON(dst, 0) // readable made it so
	switch m.Body.Format() {
	case jsonview.Text:
		dst = append(dst, `,"encoding":"text"`...)
	case jsonview.Binary:
		dst = append(dst, `,"encoding":"base64"`...)
	}
	if m.Key != "" {
		dst = append(dst, `,"key":`...)
		dst = jsonview.AppendString(dst, m.Key)
	}
	dst = append(dst, `,"meta":{`...)
	first := true
	for _, e := range m.Meta.Entries() {
		mark := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		dst = jsonview.AppendString(dst, e.Name)
		dst = append(dst, ':')
		out, err := e.Value.AppendJSON(dst)
		if err != nil {
			dst = dst[:mark]
			continue
		}
		dst, first = out, false
	}
	return append(dst, "}}\n"...)
}
