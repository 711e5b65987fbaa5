package record

import "encoding/binary"

// Fields reads what was written field by field: numbers as varints, and bytes with their length in front, as encoding/binary writes them. What is not
// there reads as zero, sets Bad and ends the reading, so that one look at Bad, at the end, is enough. The zero value with Rest set is ready to use.
type Fields struct {
	Rest []byte // what was not read yet
	Bad  bool   // something was cut off or malformed
}

// Uvarint reads an unsigned number.
func (f *Fields) Uvarint() uint64 {
	v, n := binary.Uvarint(f.Rest)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.Rest = f.Rest[n:]
	return v
}

// Varint reads a signed number.
func (f *Fields) Varint() int64 {
	v, n := binary.Varint(f.Rest)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.Rest = f.Rest[n:]
	return v
}

// Bytes reads a length and as many bytes, which alias what is read.
func (f *Fields) Bytes() []byte {
	n := f.Uvarint()
	if n > uint64(len(f.Rest)) {
		f.fail()
		return nil
	}
	b := f.Rest[:n:n]
	f.Rest = f.Rest[n:]
	return b
}

func (f *Fields) fail() { f.Bad, f.Rest = true, nil }
