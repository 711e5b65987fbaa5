package jsonview

import (
	"math"
	"strings"
)

// Decoder cuts the text of a record into cells when it is first read. It is immutable and safe for concurrent use, since
// all the records of a stream share one.
type Decoder interface {
	// DecodeRecord fills d from src: it calls d.ResetRecord, d.AddCell and d.EndRecord, and takes memory for what it
	// rewrites from d.Scratch. On an error the document has no nodes.
	DecodeRecord(d *Doc, src []byte) error
}

// lazy is what a Doc knows of a record that is decoded when it is first read.
type lazy struct {
	dec     Decoder
	raw     []byte // the record as it came
	scratch []byte // memory for rewritten cells, owned by the Doc
	busy    bool   // the decoder is at work: ResetRecord belongs to it
}

// keepScratch is how much scratch memory, in bytes, a Reset keeps.
const keepScratch = 64 << 10

// reset forgets the record and keeps the memory.
func (l *lazy) reset() {
	l.dec, l.raw = nil, nil
	if cap(l.scratch) > keepScratch {
		l.scratch = nil
	} else if l.scratch != nil {
		Poison(l.scratch[:cap(l.scratch)])
	}
}

// ResetLazy makes d a Record over src that dec cuts into cells when [Doc.Parse] is called: until then d is not Parsed
// and has no nodes, as unread JSON. src must be shorter than 4 GiB (it panics otherwise) and stay unchanged as long as d is read.
func (d *Doc) ResetLazy(src []byte, dec Decoder) {
	if uint64(len(src)) > math.MaxUint32 {
		panic("jsonview: a record of 4 GiB or more")
	}
	d.Reset(Record, src)
	d.nodes = d.nodes[:0]
	d.lazy.dec, d.lazy.raw = dec, src
	d.parsed = false
}

// decode is Parse for a lazy record.
func (d *Doc) decode() error {
	d.lazy.busy = true
	err := d.lazy.dec.DecodeRecord(d, d.lazy.raw)
	d.lazy.busy = false
	d.parsed = true
	if err != nil {
		d.nodes, d.shape, d.cells = d.nodes[:0], nil, 0
		d.src = d.lazy.raw
		d.err = err
	}
	return err
}

// Scratch gives n bytes of memory, not zeroed, that belong to d until its next Reset. The memory of an earlier call
// is given up. It is for a [Decoder].
func (d *Doc) Scratch(n int) []byte {
	if cap(d.lazy.scratch) < n {
		d.lazy.scratch = make([]byte, n+n/2)
	}
	return d.lazy.scratch[:n]
}

// Rebase puts src in the place of the source of the record that is being built. The cells added so far keep their
// ranges, so src must begin with the same bytes as far as they reach. It is for a [Decoder] that finds out in the middle
// of a row that it must rewrite cells: it copies the row to Scratch memory, writes the rewritten cells after it, and adds
// them from there.
func (d *Doc) Rebase(src []byte) {
	d.src = src
	d.nodes[0].end = uint32(len(src))
}

// Original gives the bytes that the document came as: for a lazy Record the whole row before it was cut and rewritten, for
// every other document its source. It is what a dead letter holds.
func (d *Doc) Original() []byte {
	if d.lazy.dec != nil {
		return d.lazy.raw
	}
	return d.src
}

// appendLazy is AppendJSON for a lazy record that nothing has read: d itself must not change, so a second document is
// decoded. A record that can't be decoded gives its text as a string, so that nothing is lost.
func (d *Doc) appendLazy(dst []byte) []byte {
	var t Doc
	t.ResetLazy(d.lazy.raw, d.lazy.dec)
	if t.Parse(Limits{}) != nil {
		return AppendString(dst, strings.ToValidUTF8(alias(d.lazy.raw), "\ufffd"))
	}
	return t.AppendJSON(dst, 0)
}

// cloneLazy is CloneInto for a lazy record: an unread one stays unread, of a read one the original is kept too.
func (d *Doc) cloneLazy(dst *Doc, alloc func(int) []byte) {
	if d.lazy.dec == nil {
		return
	}
	if !d.parsed {
		dst.lazy.dec, dst.lazy.raw = d.lazy.dec, dst.src
		return
	}
	var raw []byte
	if alloc != nil {
		raw = alloc(len(d.lazy.raw))[:len(d.lazy.raw)]
	} else {
		raw = make([]byte, len(d.lazy.raw))
	}
	copy(raw, d.lazy.raw)
	dst.lazy.dec, dst.lazy.raw = d.lazy.dec, raw
}
