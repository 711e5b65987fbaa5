package penstock

import (
	"strings"
	"time"

	"penstock.dev/penstock/jsonview"
)

// Message is one message on its way through a flow. Its body is never changed in
// place: a step that makes a new body takes a new document from the batch, so that the
// message can still be dead-lettered as it came.
type Message struct {
	Body *jsonview.Doc // never nil once it is in a batch; the empty document is JSON null
	Key  string        // what order: per-key goes by; "" for none
	Meta Meta          // headers
	Vars []Value       // vars and the scoped names of steps, by the compiler's slots
	Pos  Position      // where the source had it
	Time time.Time     // when it happened, as the source knows; zero if it doesn't
	// Seq is the order among the messages that are processed together. The engine sets it.
	Seq uint64

	// Lineage ties the message to the source message that it came from. The engine sets it;
	// a step that makes one message of another copies it.
	Lineage Lineage
	// Descent tells the message apart from others that were made of the same source message. The engine sets it; a step that makes one
	// message of another copies it.
	Descent Descent
}

// Lineage is the engine's record of what a message came from. Drivers leave it alone.
type Lineage interface {
	// Origin names the source message and the path from it, for identities and traces.
	Origin() string
	// AppendIdentity appends what of an identity is the message's own, for the message at p of those that were made of the source
	// message: see [Env.AppendIdentity], which drivers ask.
	AppendIdentity(dst []byte, p Descent) []byte
}

// Position says where in its source a message stands, so that reading can go on there.
type Position struct {
	Stream string // file path, topic-partition, queue
	Offset int64  // byte offset, log offset, sequence number: of this message
	Next   int64  // where the message after it begins
	Line   int64  // line in a text file, from 1; 0 if there are none
	Tag    uint64 // the driver's own (a delivery tag)
	Mark   string // the driver's own words for where reading goes on, where a number can't say it; kept with the position
}

// MetaEntry is one header.
type MetaEntry struct {
	Name  string // lower-case
	Value Value
}

// Meta holds the headers of a message, few enough for a list. The zero Meta is empty.
type Meta struct{ entries []MetaEntry }

// Get finds a header by its lower-case name; Absent if it is not there.
func (m *Meta) Get(name string) Value {
	for i := range m.entries {
		if m.entries[i].Name == name {
			return m.entries[i].Value
		}
	}
	return Absent
}

// Set puts a header; an Absent value removes it. The name is lowered.
func (m *Meta) Set(name string, v Value) {
	name = strings.ToLower(name)
	for i := range m.entries {
		if m.entries[i].Name == name {
			if v.IsAbsent() {
				m.entries = append(m.entries[:i], m.entries[i+1:]...)
				return
			}
			m.entries[i].Value = v
			return
		}
	}
	if !v.IsAbsent() {
		m.entries = append(m.entries, MetaEntry{name, v})
	}
}

// Add puts a header that is not there yet, under a name that is lower-case already: what a
// source does for every message.
func (m *Meta) Add(name string, v Value) { m.entries = append(m.entries, MetaEntry{name, v}) }

// Entries lists the headers in the order they were set; not to be changed.
func (m *Meta) Entries() []MetaEntry { return m.entries }

// CopyFrom makes m equal to src without sharing its memory; the values are shared.
func (m *Meta) CopyFrom(src *Meta) { m.entries = append(m.entries[:0], src.entries...) }

// Reset empties m and keeps its memory.
func (m *Meta) Reset() { m.entries = m.entries[:0] }
