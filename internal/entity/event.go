package entity

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unsafe"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/jsonview"
)

// Hash is the SHA-256 (FIPS 180-4) of an event as it is stored.
type Hash = [sha256.Size]byte

// ErasedType is the type of an event that says that a subject was erased. It is no event of the entity's own: its Version is 0, and it
// changes no state.
const ErasedType = "penstock.erased"

// Event is one event, as it is read.
type Event struct {
	Part     int
	Position int64  // in its part
	Key      string // of the entity that it happened to
	Version  int64  // of that entity, from 1; 0: it is of type ErasedType
	Type     string
	Schema   int    // version of the schema that Data was written with
	Time     int64  // Unix nanoseconds of the engine's clock
	Cause    string // what the command was known by; "" where by nothing
	Prev     Hash   // of the event before it in the part; zeros for the first
	Subject  []byte // id of the key that personal fields are encrypted with; nil: there are none
	// Data is the event's data, a JSON text: with all that is known of it where a Reader gives it, else without personal fields.
	Data []byte
	// Erased says that it has personal fields that can't be read any more: they are null.
	Erased bool

	sealed []byte // personal fields, encrypted
	hash   Hash   // of its own bytes, where somebody wants it
}

// layout is the first byte of an event: the version of its layout.
//
//	byte    layout, 1
//	byte    bits: 0 it has a cause, 1 it has a subject
//	8 bytes time, Unix nanoseconds, little-endian
//	32 bytes hash of the event before it in the part
//	varint  version of the entity
//	varint  version of the schema
//	string  key               a string is its length as a varint, and its bytes
//	string  type
//	string  cause                                       where bit 0 is set
//	string  id of the key, and what is encrypted with it as a string   … bit 1
//	data, to the end
//
// What is encrypted is a nonce of 12 bytes and the output of AES-256-GCM (NIST SP 800-38D); its plain text is a JSON list of pairs, a path (a
// list of names) and a value. Its additional data is the key of the entity, a zero byte, and the version as 8 bytes, little-endian.
const layout = 1

const (
	hasCause   = 1
	hasSubject = 2
)

// prevAt is where the hash of the event before stands.
const prevAt = 10

var (
	errLayout  = errors.New("the event was written by a newer version of Penstock")
	errDamaged = errors.New("the event is damaged")
)

// appendEvent appends an event as it is stored, with zeros for the hash of the one before it.
func appendEvent(dst []byte, e *Event) []byte {
	bits := byte(0)
	if e.Cause != "" {
		bits |= hasCause
	}
	if e.Subject != nil {
		bits |= hasSubject
	}
	dst = append(dst, layout, bits)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Time))
	dst = append(dst, e.Prev[:]...)
	dst = binary.AppendUvarint(dst, uint64(e.Version))
	dst = binary.AppendUvarint(dst, uint64(e.Schema))
	dst = appendText(dst, e.Key)
	dst = appendText(dst, e.Type)
	if bits&hasCause != 0 {
		dst = appendText(dst, e.Cause)
	}
	if bits&hasSubject != 0 {
		dst = appendText(dst, text(e.Subject))
		dst = appendText(dst, text(e.sealed))
	}
	return append(dst, e.Data...)
}

// parse reads an event as it is stored. It aliases rec.
func (e *Event) parse(rec []byte) error {
	*e = Event{Part: e.Part, Position: e.Position}
	if len(rec) < prevAt+len(e.Prev) {
		return fmt.Errorf("%w: it is shorter than any can be", errDamaged)
	}
	if rec[0] != layout {
		if rec[0] == 0 {
			return fmt.Errorf("%w: it has no layout", errDamaged)
		}
		return fmt.Errorf("%w: layout %d; this one knows %d", errLayout, rec[0], layout)
	}
	bits := rec[1]
	if bits&^(hasCause|hasSubject) != 0 {
		return fmt.Errorf("%w: it has parts that are not known", errDamaged)
	}
	e.Time = int64(binary.LittleEndian.Uint64(rec[2:]))
	copy(e.Prev[:], rec[prevAt:])
	r := record.Fields{Rest: rec[prevAt+len(e.Prev):]}
	e.Version, e.Schema = int64(r.Uvarint()), int(r.Uvarint())
	e.Key, e.Type = text(r.Bytes()), text(r.Bytes())
	if bits&hasCause != 0 {
		e.Cause = text(r.Bytes())
	}
	if bits&hasSubject != 0 {
		e.Subject, e.sealed = r.Bytes(), r.Bytes()
	}
	if r.Bad || e.Version < 0 || e.Schema < 0 {
		return fmt.Errorf("%w: its parts don't come out even", errDamaged)
	}
	e.Data = r.Rest
	return nil
}

// hashOf is the hash over an event as it is stored.
func hashOf(rec []byte) Hash { return sha256.Sum256(rec) }

// ID names the event among all: entity/account#07@123.
func (e *Event) ID(channel string) string { return channel + "@" + strconv.FormatInt(e.Position, 10) }

// Message appends a message to b that is the event: the data as its body, the key, the time, and headers of a CloudEvent (ce-type, ce-id,
// ce-source, ce-subject, ce-time) with `version`. It aliases the event's data and texts. Vars, Pos, Seq and Lineage are the caller's.
func (e *Event) Message(b *penstock.Batch, entity string) *penstock.Message {
	m := b.Append()
	m.Key, m.Time = e.Key, time.Unix(0, e.Time).UTC()
	m.Body.Reset(jsonview.JSON, e.Data)
	id := strconv.AppendInt(append(append(b.Arena().Tail(48), e.partName(entity)...), '@'), e.Position, 10)
	m.Meta.Add("ce-specversion", penstock.StringValue("1.0"))
	m.Meta.Add("ce-type", penstock.StringValue(e.Type))
	m.Meta.Add("ce-id", penstock.StringValue(text(b.Arena().Keep(id))))
	m.Meta.Add("ce-source", penstock.StringValue("/entity/"+entity))
	m.Meta.Add("ce-subject", penstock.StringValue(e.Key))
	m.Meta.Add("ce-time", penstock.TimestampValue(m.Time))
	m.Meta.Add("version", penstock.IntValue(e.Version))
	return m
}

func (e *Event) partName(entity string) string { return partOfChannel(entity, e.Part) }

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// text is b as a string that aliases it.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
