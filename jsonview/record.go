package jsonview

import (
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// Shape is the list of column names that all the records of one table share. It is immutable and safe for
// concurrent use.
type Shape struct {
	columns []string
	index   map[string]int
	keys    [][]byte // each column as it stands in JSON, with quotes and colon
	tape    []node   // what the tape of a record begins as
}

// NewShape makes a Shape. It refuses names that are empty, occur twice or are not UTF-8, naming the column, counted from 1.
// No columns at all are allowed: such a record is an empty object.
func NewShape(columns []string) (*Shape, error) {
	s := &Shape{
		columns: make([]string, len(columns)),
		index:   make(map[string]int, len(columns)),
		keys:    make([][]byte, len(columns)),
		tape:    make([]node, 1+2*len(columns)),
	}
	s.tape[0].meta = uint32(Object) | min(uint32(len(columns)), countMax)<<countShift
	for i, c := range columns {
		if c == "" {
			return nil, fmt.Errorf("column %d has no name", i+1)
		}
		if !utf8.ValidString(c) {
			return nil, fmt.Errorf("column %d: the name %q is not valid UTF-8", i+1, c)
		}
		if first, ok := s.index[c]; ok {
			return nil, fmt.Errorf("columns %d and %d have the same name %q", first+1, i+1, c)
		}
		c = strings.Clone(c)
		s.columns[i] = c
		s.index[c] = i
		s.keys[i] = append(AppendString(nil, c), ':')
		key := 1 + 2*i
		s.tape[key] = node{meta: uint32(String) | flagKey | flagEscaped}
		if i+1 < len(columns) {
			s.tape[key+1].next = uint32(key + 2)
		}
	}
	return s, nil
}

// Columns gives the names in order. The slice is for reading only.
func (s *Shape) Columns() []string { return s.columns }

// Index gives the position of a column, counted from 0, −1 if there is none of that name.
func (s *Shape) Index(name string) int {
	if i, ok := s.index[name]; ok {
		return i
	}
	return -1
}

// column gives the name for key node n.
func (s *Shape) column(n Node) string { return s.columns[(n-1)/2] }

// ResetRecord begins a record: d becomes a Record over src with the columns of s, all absent. Then come AddCell for the
// cells that are there, in any order, and EndRecord. src must be shorter than 4 GiB (it panics otherwise) and stay
// unchanged as long as d is read.
func (d *Doc) ResetRecord(src []byte, s *Shape) {
	if uint64(len(src)) > math.MaxUint32 {
		panic("jsonview: a record of 4 GiB or more")
	}
	d.src = src
	d.format = Record
	d.shape = s
	d.err = nil
	d.cells = 0
	if !d.lazy.busy {
		d.lazy.reset()
	}
	d.parsed = true
	d.nodes = append(d.nodes[:0], s.tape...)
}

// AddCell sets the cell of column col, counted from 0, to src[start:end]. k says what the text means: String (the
// plain text of the cell, without any quoting), Number, True, False or Null (the text is kept for Raw only). A
// Number whose text is no JSON number becomes a String, so that a record always renders as valid JSON. A column or range out of
// bounds panics, as an index does.
func (d *Doc) AddCell(col int, k Kind, start, end int) {
	_ = d.src[start:end]
	nd := &d.nodes[2+2*col]
	m := uint32(k)
	switch k {
	case String, True, False, Null:
	case Number:
		m = numberCell(d.src[start:end])
	default:
		panic("jsonview: no cell is of kind " + k.String())
	}
	if nd.meta == uint32(Invalid) {
		d.cells++
	}
	nd.start, nd.end, nd.meta = uint32(start), uint32(end), m
}

// numberCell gives the meta for a cell that is meant to be a number.
func numberCell(text []byte) uint32 {
	if len(text) > 0 && (text[0] == '-' || text[0]-'0' < 10) {
		if end, flags := scanNumber(text, 0); end == len(text) {
			return uint32(Number) | flags
		}
	}
	return uint32(String)
}

// EndRecord completes the record. Cells that were not added are absent: no field, not null.
func (d *Doc) EndRecord() {
	if d.cells == len(d.nodes)/2 {
		return
	}
	// Link each cell that is there to the next one that is.
	next := uint32(0)
	for v := len(d.nodes) - 1; v > 0; v -= 2 {
		if d.nodes[v].meta == uint32(Invalid) {
			continue
		}
		d.nodes[v].next = next
		next = uint32(v - 1)
	}
	d.nodes[0].meta = uint32(Object) | min(uint32(d.cells), countMax)<<countShift
}

// firstCell gives the key of the first cell that is there.
func (d *Doc) firstCell() Node {
	for v := 2; v < len(d.nodes); v += 2 {
		if d.nodes[v].meta != uint32(Invalid) {
			return Node(v - 1)
		}
	}
	return None
}

// findCell is Field for a record. Its places are columns + 1.
func (d *Doc) findCell(name string, h *Hint) Node {
	if d.shape == nil {
		return None
	}
	col := -1
	if h != nil {
		col = int(atomic.LoadUint32(&h.places)&0xffff)/2 - 1
	}
	if col < 0 || col >= len(d.shape.columns) || d.shape.columns[col] != name {
		i, ok := d.shape.index[name]
		if !ok {
			return None
		}
		col = i
		if place := uint32(2*col + 2); h != nil && place <= 0xffff {
			atomic.StoreUint32(&h.places, place)
		}
	}
	v := Node(2 + 2*col)
	if d.nodes[v].meta == uint32(Invalid) {
		return None
	}
	return v
}
