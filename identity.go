package penstock

import (
	"crypto/sha256"
	"encoding/hex"
	"math/bits"
	"strconv"
)

// Descent tells apart what was made of one source message: which part of a split it is, which element of a forEach, which turn of a
// loop. The zero Descent is the message itself. Equal messages that are worked on again have equal descents.
//
// It is small for the sake of messages: three levels of up to two million each are held as they are, what is deeper or wider as a
// number of 63 bits that depends on all of it.
type Descent uint64

const (
	levelBits = 21
	hashed    = Descent(1) << 63
)

// Part is the descent of the i-th of what was made of the message at d, from 0.
func (d Descent) Part(i int) Descent {
	if n := uint64(i) + 1; d&hashed == 0 && bits.Len64(uint64(d)) <= 2*levelBits && n < 1<<levelBits {
		return d<<levelBits | Descent(n)
	}
	x := uint64(d) + (uint64(i)+1)*0x9e3779b97f4a7c15 // the finisher of splitmix64
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return Descent(x^x>>31) | hashed
}

// Append appends d as text: ".3.0" for the first part of the fourth part, nothing for the message itself.
func (d Descent) Append(dst []byte) []byte {
	if d&hashed != 0 {
		return strconv.AppendUint(append(dst, '.', '~'), uint64(d&^hashed), 36)
	}
	for shift := 2 * levelBits; shift >= 0; shift -= levelBits {
		if n := uint64(d>>shift) & (1<<levelBits - 1); n != 0 {
			dst = strconv.AppendUint(append(dst, '.'), n-1, 10)
		}
	}
	return dst
}

// MaxIdentity is how many bytes an identity has at most: what an AMQP message-id holds, the shortest of those that take one.
const MaxIdentity = 255

// AppendIdentity appends what a message is known by to the driver whose Env this is: the text for a message id that its target
// compares with those it has seen (NATS: Nats-Msg-Id, CloudEvents: id, AMQP: message-id). It is made of the driver's place in
// the configuration (Name), the source message, and the way from that to m:
//
//	orders/to:from@orders/0:17       offset 17 of partition 0 of orders, written by step `to` of flow orders
//	orders/to:from.3@orders/0:17     … the fourth part that a split made of it
//	orders/to:from#INV-17            … of a source with `id: …`, which was INV-17
//	orders/to:from@k3v9x2ab7q/in:17  … message 17 of channel in of the store that is called k3v9x2ab7q
//
// No two messages that m's driver writes share one; the same message has the same again after a crash, wherever its source gives
// messages with positions or identities that last ([ReplayPosition], `id: …`, a durable channel). Of other sources it is unique, and not the same again.
// It is at most [MaxIdentity] bytes of printable ASCII without white space; what would be longer or hold others is written as a hash.
// It does not allocate where dst has room. Safe for concurrent use.
func (e *Env) AppendIdentity(dst []byte, m *Message) []byte {
	from := len(dst)
	dst = append(append(dst, e.Name...), ':')
	dst = m.appendOrigin(dst)
	if id := dst[from:]; len(id) > MaxIdentity || !visible(id) {
		sum := sha256.Sum256(id)
		dst = append(dst[:from], '~')
		dst = hex.AppendEncode(dst, sum[:])
	}
	return dst
}

// appendOrigin appends the part of an identity that is the message's own.
func (m *Message) appendOrigin(dst []byte) []byte {
	if m.Lineage == nil { // nobody runs it: a driver's own test
		dst = append(m.Descent.Append(dst), '@')
		dst = append(append(dst, m.Pos.Stream...), ':')
		return strconv.AppendInt(dst, m.Pos.Offset, 10)
	}
	return m.Lineage.AppendIdentity(dst, m.Descent)
}

func visible(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}
