package file

import (
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io/fs"
	"strconv"
	"strings"

	"penstock.dev/penstock"
)

// How a source that goes on where it stopped knows a file again. What the engine keeps of a file is a Position: the name of its
// stream, two offsets and a Tag.
//
//   - The stream is the name of the file and a fingerprint of the state in which it was first seen: in/x.csv@1f00c3d2. So a
//     file that takes the place of another has a stream of its own, and offsets never mean two things.
//   - The tag has a checksum of everything up to the position, and what the inode and the time of change were.
//
// A file is the one that a position speaks of if neither inode nor time have changed, or one of them has and its content up to
// the position is the same. So a file that grew, was touched or was restored is gone on with. One that was put in the place of
// another (both are new) or was written over with something else is a new version.

// stamp is what a look at a file from outside tells of its state.
type stamp struct {
	size  int64
	mtime int64  // Unix nanoseconds
	ino   uint64 // 0 where the system has none
}

func stampOf(info fs.FileInfo) stamp {
	return stamp{size: info.Size(), mtime: info.ModTime().UnixNano(), ino: inodeOf(info)}
}

// streamOf names the stream of the n-th version of a file that has the same stamp, from 1.
func streamOf(name string, s stamp, n int) string {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, s.size, s.mtime, s.ino) // never fails
	if n > 1 {
		return fmt.Sprintf("%s@%08x.%d", name, h.Sum32(), n)
	}
	return fmt.Sprintf("%s@%08x", name, h.Sum32())
}

// nameOf is the file of a stream that streamOf named.
func nameOf(stream string) (name string, ok bool) {
	at := strings.LastIndexByte(stream, '@')
	if at < 0 {
		return "", false
	}
	hash, number, numbered := strings.Cut(stream[at+1:], ".")
	if len(hash) != 8 {
		return "", false
	}
	if _, err := strconv.ParseUint(hash, 16, 32); err != nil {
		return "", false
	}
	if numbered {
		if n, err := strconv.Atoi(number); err != nil || n < 2 {
			return "", false
		}
	}
	return stream[:at], true
}

// tag is the Position.Tag of a message. From the top: 32 bits of checksum (CRC-32C, RFC 3720 §12.1) of all that stands before
// Next, as the records see it; 15 bits of the inode, 14 of the time of change, as they were when the file was opened;
// and three flags.
type tag uint64

// The flags of a tag.
const (
	// dirty: something before here could not be framed. What a framer then remembers is not told by the head of the
	// file alone.
	dirty tag = 1 << iota
	// tail: the content ended with this record.
	tail
	// direct: offsets are those of the file itself.
	direct
)

const (
	inoBits, inoShift     = 15, 17
	mtimeBits, mtimeShift = 14, 3
)

// fold mixes the bits of n into the given number of them.
func fold(n uint64, bits int) tag { return tag((n * 0x9e3779b97f4a7c15) >> (64 - bits)) }

// tag is the part of a tag that is the same for all records of a file while it is read.
func (s stamp) tag() tag {
	return fold(s.ino, inoBits)<<inoShift | fold(uint64(s.mtime), mtimeBits)<<mtimeShift //nolint:gosec // bits, no number
}

func (t tag) crc() uint32 { return uint32(t >> 32) }

// sameInode and sameTime report whether a file that looks like s now may be the one that the tag was made for.
func (t tag) sameInode(s stamp) bool { return (t^s.tag())>>inoShift&(1<<inoBits-1) == 0 }
func (t tag) sameTime(s stamp) bool  { return (t^s.tag())>>mtimeShift&(1<<mtimeBits-1) == 0 }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ledger follows the content of a file while it is cut into records, and writes the tags.
type ledger struct {
	base   tag // of the file, and the flags that stay
	crc    uint32
	bytes  []byte // read from the file, and not yet before the end of a message
	at     int64  // offset of bytes
	ended  bool   // there is nothing behind bytes
	record penstock.Position
}

// begin forgets everything: content begins at an offset, with a checksum of what stands before.
func (l *ledger) begin(at int64, crc uint32) {
	l.at, l.crc, l.bytes, l.ended = at, crc, l.bytes[:0], false
}

// took notes what was read.
func (l *ledger) took(p []byte) { l.bytes = append(l.bytes, p...) }

// mark writes the tags of the messages of b from start on.
func (l *ledger) mark(b *penstock.Batch, start int) {
	used := int64(0)
	for i := start; i < len(b.Msgs); i++ {
		m := b.Msgs[i]
		if b.Err(i) != nil {
			l.base |= dirty
		}
		upTo := m.Pos.Next - l.at
		l.crc = crc32.Update(l.crc, castagnoli, l.bytes[used:upTo])
		used = upTo
		t := l.base | tag(l.crc)<<32
		if l.ended && upTo == int64(len(l.bytes)) {
			t |= tail
		}
		m.Pos.Tag = uint64(t)
	}
	if n := len(b.Msgs); n > start {
		l.record = b.Msgs[n-1].Pos
	}
	l.bytes = append(l.bytes[:0], l.bytes[used:]...)
	l.at += used
}
