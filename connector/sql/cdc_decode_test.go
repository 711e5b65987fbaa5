package sql

import (
	"encoding/binary"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// testDecoder is a decoder that knows the types of PostgreSQL's own.
func testDecoder() *decoder {
	d := &decoder{slot: "s", wanted: func(string, string) bool { return true }}
	d.lookUp = func(r *relation) error {
		return r.complete(nil, func(oid uint32) (pgType, error) { return pgType{oid: oid, sep: ','}, nil }, func() ([]string, error) { return nil, nil })
	}
	return d
}

func beginMessage(commit uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'B'}, commit)
	b = binary.BigEndian.AppendUint64(b, 1)
	return binary.BigEndian.AppendUint32(b, 700)
}

func commitMessage(commit uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'C', 0}, commit)
	b = binary.BigEndian.AppendUint64(b, commit+48)
	return binary.BigEndian.AppendUint64(b, 1)
}

func relationMessage() []byte {
	b := append([]byte{'R', 0, 0, 0, 9}, "public\x00orders\x00d\x00\x04"...)
	for _, c := range []struct {
		name string
		key  byte
		oid  uint32
	}{{"id", 1, pgtype.Int8OID}, {"customer", 0, pgtype.TextOID}, {"total", 0, pgtype.NumericOID}, {"at", 0, pgtype.TimestamptzOID}} {
		b = append(append(append(b, c.key), c.name...), 0)
		b = binary.BigEndian.AppendUint32(b, c.oid)
		b = append(b, 0xff, 0xff, 0xff, 0xff)
	}
	return b
}

func tupleOf(dst []byte, cells ...string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(cells)))
	for _, c := range cells {
		if c == "n" || c == "u" {
			dst = append(dst, c[0])
			continue
		}
		dst = binary.BigEndian.AppendUint32(append(dst, 't'), uint32(len(c)))
		dst = append(dst, c...)
	}
	return dst
}

var orderCells = []string{"4711", "a customer with a name of some length", "1234.50", "2026-11-23 17:20:39.335438+00"}

func insertMessage() []byte { return tupleOf([]byte{'I', 0, 0, 0, 9, 'N'}, orderCells...) }

func FuzzCDCDecoder(f *testing.F) {
	f.Add(insertMessage(), commitMessage(1<<20))
	f.Add(tupleOf([]byte{'U', 0, 0, 0, 9, 'N'}, "1", "u", "n", "infinity"), commitMessage(1<<20))
	f.Add(append(tupleOf([]byte{'U', 0, 0, 0, 9, 'O'}, orderCells...), tupleOf([]byte{'N'}, orderCells...)...), []byte("T\x00\x00\x00\x01\x00\x00\x00\x00\x09"))
	f.Add(tupleOf([]byte{'D', 0, 0, 0, 9, 'K'}, "1", "n", "n", "n"), relationMessage())
	f.Add([]byte("O"), []byte("Y"))
	var b penstock.Batch // of all inputs: its memory is most of what one costs
	f.Fuzz(func(t *testing.T, first, second []byte) {
		d := testDecoder()
		b.Reset()
		for _, m := range [][]byte{relationMessage(), beginMessage(1 << 20), first, second} {
			if _, err := d.change(m, &b); err != nil {
				break
			}
		}
		for i, m := range b.Msgs {
			if err := m.Body.Parse(jsonview.Limits{}); err != nil && b.Err(i) == nil && plainCells(first) && plainCells(second) {
				t.Fatalf("%q: %v", m.Body.Original(), err)
			}
		}
	})
}

// plainCells says that a message holds only what a server could have written in a column of a whole number.
func plainCells(src []byte) bool {
	if len(src) < 6 || src[0] == 'R' {
		return false
	}
	var t tuple
	for rest := src[5:]; len(rest) > 0; {
		var err error
		if rest, err = t.read(rest[1:]); err != nil {
			return false
		}
		if len(t.cells) == 0 || t.cells[0].kind == 't' && !jsonview.ValidNumber(t.cells[0].text) {
			return false
		}
	}
	return true
}

func TestCDCPlaces(t *testing.T) {
	last := place{}
	for i, p := range []place{{1 << 5, 0}, {1 << 5, 1}, {1<<5 + 40, 0}, {1<<20 + 8, maxIndex}, {1<<20 + 48, 0}, {1<<regionBits - 40, 7}} {
		if p.offset() <= last.offset() && i > 0 {
			t.Errorf("%v is not behind %v", p, last)
		}
		if back := placeOf(p.commit.region(), p.offset()); !back.covers(p) || !p.covers(back) || back.commit > p.commit || p.commit-back.commit >= 1<<unitBits {
			t.Errorf("%v comes back as %v", p, back)
		}
		last = p
	}
	at := place{3<<regionBits | 1234568, 5}
	if r, ok := regionOf("s", streamOf("s", at.commit.region())); !ok || !placeOf(r, at.offset()).covers(at) {
		t.Error("a region is lost")
	}
}

func TestCDCSnapshotSees(t *testing.T) {
	s, err := parseSnapshot("4294967290:4294967310:4294967295,4294967300", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		commit lsn
		xid    uint64
		want   bool
	}{{10, 4294967289, true}, {10, 4294967295, false}, {10, 4294967300, false}, {10, 4294967301, true}, {10, 4294967310, false}, {10, 4294967400, false}, {1000, 4294967289, false}, {10, 4000000000, true}} {
		if got := s.sees(c.commit, uint32(c.xid)); got != c.want {
			t.Errorf("%d at %d: %v", c.xid, c.commit, got)
		}
	}
	for _, wrong := range []string{"", "1:2", "a:b:", "1:2:3:4", "1:2:x"} {
		if _, err := parseSnapshot(wrong, 0); err == nil {
			t.Errorf("%q is read", wrong)
		}
	}
}

// TestCDCAllocations: a row of a transaction costs no allocation.
func TestCDCAllocations(t *testing.T) {
	d := testDecoder()
	var b penstock.Batch
	row := insertMessage()
	for _, m := range [][]byte{relationMessage(), beginMessage(1 << 20)} {
		if _, err := d.change(m, &b); err != nil {
			t.Fatal(err)
		}
	}
	round := func() {
		b.Reset()
		for range 100 {
			if _, err := d.change(row, &b); err != nil {
				t.Fatal(err)
			}
		}
	}
	round()
	if n := testing.AllocsPerRun(10, round); n > 0 {
		t.Errorf("%v allocations in 100 rows", n)
	}
}

func BenchmarkCDCDecode(b *testing.B) {
	d := testDecoder()
	var batch penstock.Batch
	row := insertMessage()
	for _, m := range [][]byte{relationMessage(), beginMessage(1 << 20)} {
		if _, err := d.change(m, &batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%1000 == 0 {
			batch.Reset()
		}
		if _, err := d.change(row, &batch); err != nil {
			b.Fatal(err)
		}
	}
}
