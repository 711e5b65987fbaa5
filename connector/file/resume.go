package file

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"io"

	"penstock.dev/penstock"
)

// goTo goes on behind the record at p, if this is the file that p speaks of. Where it is not, the reading of o is
// somewhere: it is to be opened again.
func (o *opened) goTo(ctx context.Context, p penstock.Position) (same bool, err error) {
	t := tag(p.Tag)
	ino, mtime := t.sameInode(o.stamp), t.sameTime(o.stamp)
	switch {
	case p.Offset < 0, p.Next <= p.Offset:
		return false, nil
	case !ino && !mtime: // another file was put in its place
		return false, nil
	case o.direct && p.Next > o.size:
		return false, nil
	case t&dirty != 0:
		return o.replay(ctx, p)
	case o.direct && t&direct != 0 && ino && mtime:
		return true, o.seek(p)
	}
	return o.follow(ctx, p)
}

// seek goes straight to a place in a file that was not changed.
func (o *opened) seek(p penstock.Position) error {
	if err := o.records.Head(); err != nil {
		return err
	}
	n, err := lines(io.NewSectionReader(o.f, p.Offset, p.Next-p.Offset))
	if err != nil {
		return o.failed(err)
	}
	if _, err := o.f.Seek(p.Next, io.SeekStart); err != nil {
		return o.failed(err)
	}
	o.read = p.Next
	o.ledger.begin(p.Next, tag(p.Tag).crc())
	o.records.SetPosition(p.Next, max(p.Line, 1)+n)
	return nil
}

// follow reads the content up to p and compares its checksum.
func (o *opened) follow(ctx context.Context, p penstock.Position) (same bool, err error) {
	if err := o.records.Head(); err != nil {
		return false, err
	}
	if err := o.again(); err != nil {
		return false, err
	}
	var at int64
	var crc uint32
	var record []byte // the one at p
	buf := make([]byte, bufferSize)
	for at < p.Next {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		want := buf[:min(int64(len(buf)), p.Next-at)]
		n, err := o.chain.Read(want)
		got := want[:n]
		crc = crc32.Update(crc, castagnoli, got)
		if from := p.Offset - at; from < int64(n) {
			record = append(record, got[max(from, 0):]...)
		}
		at += int64(n)
		switch {
		case err == nil, at == p.Next:
		case errors.Is(err, io.EOF):
			return false, nil // it is shorter
		default:
			return false, o.failed(err)
		}
	}
	if crc != tag(p.Tag).crc() {
		return false, nil
	}
	if tag(p.Tag)&tail != 0 {
		grown, err := o.tornBefore(record)
		if grown || err != nil {
			return false, err
		}
	}
	o.ledger.begin(p.Next, crc)
	o.records.SetPosition(p.Next, max(p.Line, 1)+int64(bytes.Count(record, []byte{'\n'})))
	return true, nil
}

// tornBefore reports whether record, with which the content once ended, was not whole: it has no end of its own, and what
// follows now does not begin with one. The byte that it looks at is put back.
func (o *opened) tornBefore(record []byte) (bool, error) {
	framer := o.s.codec.NewFramer(o.name)
	if n, _, err := framer.Frame(record, false); n > 0 || err != nil || selfContained(framer, record) {
		return false, nil //nolint:nilerr // a record of its own, if no good one
	}
	var next [1]byte
	n, err := io.ReadFull(o.chain, next[:])
	if n == 0 {
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, o.failed(err)
	}
	o.chain = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(next[:]), o.chain), o.chain}
	return !bytes.ContainsAny(next[:], " \t\r\n,]"), nil
}

// replay cuts the content into records again from its beginning, for a framer that remembers more than the head.
func (o *opened) replay(ctx context.Context, p penstock.Position) (same bool, err error) {
	b := new(penstock.Batch)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		b.Reset()
		if err := o.records.Next(b); err != nil {
			if errors.Is(err, io.EOF) {
				return false, nil
			}
			return false, err
		}
		o.ledger.mark(b, 0)
		for i, m := range b.Msgs {
			switch {
			case m.Pos.Next < p.Next:
				continue
			case m.Pos.Next != p.Next, m.Pos.Offset != p.Offset, tag(m.Pos.Tag).crc() != tag(p.Tag).crc():
				return false, nil
			}
			if drop(b, i+1); len(b.Msgs) > 0 {
				o.left = b
			}
			return true, nil
		}
	}
}

// drop takes the first n messages out of a batch.
func drop(b *penstock.Batch, n int) {
	errs := make([]error, 0, len(b.Msgs)-n)
	for i := range b.Msgs[n:] {
		errs = append(errs, b.Err(n+i))
	}
	b.Msgs = append(b.Msgs[:0], b.Msgs[n:]...)
	b.ClearErrors()
	for i, err := range errs {
		if err != nil {
			b.Fail(i, err)
		}
	}
}

// again begins to read the content from its beginning, beside what the records have seen.
func (o *opened) again() error {
	if err := o.rewind(); err != nil {
		return err
	}
	_ = o.chain.Close()
	return o.start()
}

// lines counts the line ends of r.
func lines(r io.Reader) (n int64, err error) {
	buf := make([]byte, 32<<10)
	for {
		k, err := r.Read(buf)
		n += int64(bytes.Count(buf[:k], []byte{'\n'}))
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
