package store

import (
	"encoding/binary"
	"errors"
)

// Bundle is messages on their way into a channel.
type Bundle struct {
	N       int    // messages
	Data    []byte // their frames, one after the other: see AppendFrame
	MinTime int64  // Unix nanoseconds: when the first and the last of them came
	MaxTime int64
}

// Segment is a run of messages of a channel, as it is stored: one row for each commit and channel.
type Segment struct {
	Channel string
	Base    int64 // position of the first message
	N       int
	MinTime int64
	MaxTime int64
	Data    []byte // frames; shared, not to be changed
}

// End is the position behind the segment.
func (s Segment) End() int64 { return s.Base + int64(s.N) }

// ErrTorn says that frames don't come out even.
var ErrTorn = errors.New("the segment is damaged: its frames don't come out even")

// AppendFrame appends a message to the data of a bundle: its length as a varint, and its bytes.
func AppendFrame(dst, message []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(message)))
	return append(dst, message...)
}

// NextFrame cuts the first message off the data of a segment. The message aliases data.
func NextFrame(data []byte) (message, rest []byte, err error) {
	n, w := binary.Uvarint(data)
	if w <= 0 || n > uint64(len(data)-w) {
		return nil, nil, ErrTorn
	}
	end := w + int(n)
	return data[w:end:end], data[end:], nil
}
