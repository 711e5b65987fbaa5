package sql

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// decoder makes messages of what pgoutput sends (PostgreSQL's manual, "Logical Replication Message Formats", protocol version 1: whole transactions, in the order
// of their commits).
type decoder struct {
	slot   string
	typ    *types.Type
	lookUp func(r *relation) error // completes a relation
	wanted func(schema, table string) bool
	// behind says that a transaction is to be left out whole: it is in the snapshot.
	behind func(commit lsn, xid uint32) bool

	relations map[uint32]*relation
	at        place // of the next change
	within    bool  // a transaction
	out       bool  // it is left out
	region    uint64
	stream    string // of the region
	lsnText   string
	xid       int64
	time      time.Time
	done      place // up to here changes were given, or are known to be settled
	ever      bool  // done is set

	old, new  tuple
	unchanged []int
}

// commitEnd is a transaction that came to its end.
type commitEnd struct {
	region uint64
	last   place // its last change that was given
	given  bool  // any was
	end    lsn   // behind its commit
}

// change takes one message of pgoutput; a commit gives the transaction.
func (d *decoder) change(src []byte, into *penstock.Batch) (*commitEnd, error) {
	if len(src) == 0 {
		return nil, errTuple
	}
	kind, src := src[0], src[1:]
	switch kind {
	case 'B':
		return nil, d.begin(src)
	case 'C':
		if len(src) < 25 || !d.within {
			return nil, errTuple
		}
		d.within = false
		// Its messages may have been given on a connection before this one.
		given := d.ever && d.done.commit>>unitBits == d.at.commit>>unitBits
		return &commitEnd{region: d.at.commit.region(), last: d.done, given: given, end: lsn(binary.BigEndian.Uint64(src[9:]))}, nil
	case 'R':
		r, err := readRelation(src)
		if err != nil {
			return nil, err
		}
		r.skip = !d.wanted(r.schema, r.name)
		if d.relations == nil {
			d.relations = map[uint32]*relation{}
		}
		d.relations[r.oid] = r
		if r.skip {
			return nil, nil
		}
		return nil, d.lookUp(r)
	case 'I', 'U', 'D':
		return nil, d.row(kind, src, into)
	case 'T':
		return nil, d.truncate(src, into)
	}
	return nil, nil // origins, names of types: nothing that is asked for here
}

func (d *decoder) begin(src []byte) error {
	if len(src) < 20 || d.within {
		return errTuple
	}
	commit := lsn(binary.BigEndian.Uint64(src))
	xid := binary.BigEndian.Uint32(src[16:])
	d.at, d.within = place{commit: commit}, true
	d.out = d.behind != nil && d.behind(commit, xid)
	if d.out {
		return nil
	}
	if r := commit.region(); d.stream == "" || r != d.region {
		d.region, d.stream = r, streamOf(d.slot, r)
	}
	d.time, d.xid, d.lsnText = pgTime(binary.BigEndian.Uint64(src[8:])), int64(xid), commit.String()
	return nil
}

// next counts a change, and says whether it is to be given.
func (d *decoder) next(r *relation) (at place, give bool, err error) {
	if !d.within || r == nil {
		return at, false, errTuple
	}
	at = d.at
	if d.at.index++; d.at.index > maxIndex {
		return at, false, &penstock.Error{Code: penstock.TooLarge, Op: "cdc", Path: "slot " + d.slot, Err: fmt.Errorf("the transaction %d has more than %d changes", d.xid, int64(maxIndex))}
	}
	return at, !d.out && !r.skip && (!d.ever || !d.done.covers(at)), nil
}

func (d *decoder) row(kind byte, src []byte, into *penstock.Batch) error {
	if len(src) < 5 {
		return errTuple
	}
	r := d.relations[binary.BigEndian.Uint32(src)]
	at, give, err := d.next(r)
	if err != nil || !give {
		return err
	}
	size := len(src)
	d.old.there, d.new.there = false, false
	keysOnly := false
	for src = src[4:]; len(src) > 0; {
		what := src[0]
		t := &d.new
		if what != 'N' {
			t, keysOnly = &d.old, what == 'K'
		}
		if src, err = t.read(src[1:]); err != nil {
			return err
		}
		if len(t.cells) != len(r.columns) {
			return errTuple
		}
	}
	if d.new.there == (kind == 'D') || kind == 'D' && !d.old.there {
		return errTuple
	}
	a := into.Arena()
	dst := a.Tail(size + size/4 + 32*len(r.columns) + 128)
	d.unchanged = d.unchanged[:0]
	var bad, worse error
	switch kind {
	case 'I':
		dst = append(dst, `{"operation":"create","before":null,"after":`...)
	case 'U':
		dst = append(dst, `{"operation":"update","before":`...)
	case 'D':
		dst = append(dst, `{"operation":"delete","before":`...)
	}
	switch {
	case d.old.there:
		dst, bad = r.appendRow(dst, &d.old, nil, keysOnly, &d.unchanged)
		d.unchanged = d.unchanged[:0]
	case kind == 'U':
		dst = append(dst, "null"...)
	}
	row := &d.new
	switch kind {
	case 'D':
		row = &d.old
		dst = append(dst, `,"after":null`...)
	case 'U':
		dst = append(dst, `,"after":`...)
		fallthrough
	default:
		old := &d.old
		if keysOnly {
			old = nil // what is no key is NULL in it
		}
		dst, worse = r.appendRow(dst, &d.new, old, false, &d.unchanged)
	}
	dst = r.appendUnchanged(dst, d.unchanged)
	if bad == nil {
		bad = worse
	}
	m := d.message(into, r, at, a.Keep(append(dst, '}')))
	m.Key = unsafeText(a.Keep(r.appendKey(a.Tail(64), row)))
	if n := len(m.Body.Original()); n > maxReply {
		bad = &penstock.Error{Code: penstock.TooLarge, Op: "cdc", Path: "table " + r.full(), Err: fmt.Errorf("the change has %d bytes, and a message at most %d", n, maxReply)}
		m.Body.Reset(jsonview.JSON, []byte(`{"operation":"`+operations[kind]+`","before":null,"after":null}`))
	}
	if bad != nil {
		into.Fail(len(into.Msgs)-1, bad)
	}
	return nil
}

var operations = map[byte]string{'I': "create", 'U': "update", 'D': "delete"}

// appendUnchanged lists the columns that were not sent.
func (r *relation) appendUnchanged(dst []byte, columns []int) []byte {
	if len(columns) == 0 {
		return dst
	}
	dst = append(dst, `,"unchanged":[`...)
	for n, i := range columns {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, r.columns[i].quoted...)
	}
	return append(dst, ']')
}

func (d *decoder) truncate(src []byte, into *penstock.Batch) error {
	if len(src) < 5 {
		return errTuple
	}
	n := int(binary.BigEndian.Uint32(src))
	if src = src[5:]; len(src)/4 < n || n < 0 {
		return errTuple
	}
	for i := range n {
		r := d.relations[binary.BigEndian.Uint32(src[4*i:])]
		at, give, err := d.next(r)
		if err != nil {
			return err
		}
		if give {
			d.message(into, r, at, into.Arena().Copy([]byte(`{"operation":"truncate","before":null,"after":null}`)))
		}
	}
	return nil
}

// message appends the message of a change.
func (d *decoder) message(into *penstock.Batch, r *relation, at place, body []byte) *penstock.Message {
	m := into.Append()
	m.Body.Reset(jsonview.JSON, body)
	offset := at.offset()
	m.Pos = penstock.Position{Stream: d.stream, Offset: offset, Next: offset + 1}
	m.Time = d.time
	m.Meta.Add("schema", penstock.StringValue(r.schema))
	m.Meta.Add("table", penstock.StringValue(r.name))
	m.Meta.Add("lsn", penstock.StringValue(d.lsnText))
	m.Meta.Add("xid", penstock.IntValue(d.xid))
	m.Meta.Add("committed", penstock.TimestampValue(d.time))
	d.done, d.ever = at, true
	return m
}

// cdcSnapshot is what a snapshot sees: all transactions that were over when it was taken (PostgreSQL's manual, "Transaction ID and Snapshot Information Functions").
type cdcSnapshot struct {
	text       string
	xmin, xmax uint64
	running    map[uint64]bool
	before     lsn // what it sees has its commit before this
}

// parseSnapshot reads xmin:xmax:xid,xid,…
func parseSnapshot(text string, before lsn) (*cdcSnapshot, error) {
	s := &cdcSnapshot{text: text, before: before, running: map[uint64]bool{}}
	wrong := fmt.Errorf("%q is no snapshot", text)
	part, n := [3]string{}, 0
	for i, from := 0, 0; i <= len(text); i++ {
		if i == len(text) || text[i] == ':' {
			if n == 3 {
				return nil, wrong
			}
			part[n], from = text[from:i], i+1
			n++
		}
	}
	var err1, err2 error
	s.xmin, err1 = strconv.ParseUint(part[0], 10, 64)
	s.xmax, err2 = strconv.ParseUint(part[1], 10, 64)
	if n != 3 || err1 != nil || err2 != nil {
		return nil, wrong
	}
	for i, from := 0, 0; i <= len(part[2]) && part[2] != ""; i++ {
		if i == len(part[2]) || part[2][i] == ',' {
			x, err := strconv.ParseUint(part[2][from:i], 10, 64)
			if err != nil {
				return nil, wrong
			}
			s.running[x], from = true, i+1
		}
	}
	return s, nil
}

// sees says that a transaction is in the snapshot. Its number comes without its epoch: it is the one nearest to those of the snapshot.
func (s *cdcSnapshot) sees(commit lsn, xid uint32) bool {
	if commit >= s.before {
		return false
	}
	full := s.xmax + uint64(int64(int32(xid-uint32(s.xmax)))) //nolint:gosec // the distance, with its sign
	return full < s.xmax && !s.running[full]
}
