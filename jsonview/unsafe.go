package jsonview

import (
	"encoding/binary"
	"unsafe"
)

// All use of package unsafe is here: aliasing bytes as strings, and word loads whose bounds the caller has
// already tested.

// alias gives b as a string without a copy. The bytes must not change while the string is in use.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// load8 reads the 8 bytes of b from i on, the first in the lowest bits. The caller guarantees 0 ≤ i ≤ len(b)−8.
func load8(b []byte, i int) uint64 {
	return binary.LittleEndian.Uint64(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i)), 8))
}

// stringBytes gives the bytes of s without a copy, for reading only.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
