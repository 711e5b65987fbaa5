package pulsar

import (
	"slices"
	"strconv"
	"strings"

	client "github.com/apache/pulsar-client-go/pulsar"

	"penstock.dev/penstock"
)

// ledger keeps account of the messages that are here and not yet acknowledged.
//
// A topic, or partition of one, is a row of ledgers, whose numbers grow; a ledger has entries, and an entry one message, or a batch of
// them. Those three numbers are the place of a message for all time. The broker knows entries: one is acknowledged when all of its messages are done.
//
// When a connection breaks, the broker gives everything again that it has not been told is acknowledged, in order where one consumer has the
// subscription to itself: messages that are being worked on, and those that were done while nobody could tell it. The ledger knows them. It is guarded by
// its owner.
type ledger struct {
	entries map[entryID]*entry
	pending []*entry // all messages of which are done, and those of which some are, since they were taken last
	parts   map[string]*part
}

// batchBits is how many bits of a position's offset number the message within its entry.
const batchBits = 20

// part is a topic, or a partition of one.
type part struct {
	name    string           // tenant/namespace/topic-partition-2
	from    map[int64]int64  // by ledger: the offset that reading goes on at
	floor   int64            // everything in ledgers before this one is done
	streams map[int64]string // by ledger: how positions name it
	open    map[int64]int    // by ledger: messages that were handed out and are not done
	done    int64            // the highest ledger of which something is known to be done, durably; -1: none
	last    int64            // the highest ledger that was seen
	latest  offset           // the highest message that was seen
}

// offset is a place in a part.
type offset struct{ ledger, entry int64 }

func (o offset) before(p offset) bool {
	return o.ledger < p.ledger || o.ledger == p.ledger && o.entry < p.entry
}

type entryID struct {
	part *part
	at   offset
}

// entry is one of a topic's entries.
type entry struct {
	entryID
	topic int // of the reader's
	index int32
	size  int32
	left  int32            // messages that are not done
	here  []uint64         // bits of messages that have come
	did   []uint64         // … and are done
	own   client.MessageID // of its one message, or of that which was done last
	queue bool
}

func has(b []uint64, i int32) bool { return b[i/64]&(1<<(i%64)) != 0 }
func set(b []uint64, i int32)      { b[i/64] |= 1 << (i % 64) }

// part finds a part by the topic's full name.
func (l *ledger) part(topic string) *part {
	p := l.parts[topic]
	if p == nil {
		if l.parts == nil {
			l.parts = map[string]*part{}
		}
		p = &part{name: strings.TrimPrefix(topic, "persistent://"), streams: map[int64]string{}, open: map[int64]int{}, from: map[int64]int64{}, done: -1, last: -1, latest: offset{-1, -1}}
		l.parts[topic] = p
	}
	return p
}

// stream names a ledger in positions.
func (p *part) stream(number int64) string {
	s := p.streams[number]
	if s == "" {
		s = p.name + "/" + strconv.FormatInt(number, 10)
		p.streams[number] = s
	}
	return s
}

// resume takes over how far an earlier run was.
func (l *ledger) resume(from []penstock.Position) {
	for _, at := range from {
		i := strings.LastIndexByte(at.Stream, '/')
		if i < 0 {
			continue
		}
		number, err := strconv.ParseInt(at.Stream[i+1:], 10, 64)
		if err != nil {
			continue
		}
		p := l.part("persistent://" + at.Stream[:i])
		p.from[number] = at.Next
		if p.done < 0 || number < p.floor {
			p.floor = number
		}
		p.done = max(p.done, number)
	}
}

// arrive notes a message. It is to be handed out if position is set; otherwise it is here already, or done.
func (l *ledger) arrive(topicIndex int, id client.MessageID, p *part) (at penstock.Position, e *entry, fresh bool) {
	place := offset{id.LedgerID(), id.EntryID()}
	size := max(id.BatchSize(), 1)
	i := max(id.BatchIdx(), 0)
	if i >= size {
		size = i + 1
	}
	key := entryID{p, place}
	e = l.entries[key]
	if e == nil {
		words := (size + 63) / 64
		bits := make([]uint64, 2*words)
		e = &entry{entryID: key, topic: topicIndex, index: id.PartitionIdx(), size: size, left: size, here: bits[:words], did: bits[words:]}
		if l.entries == nil {
			l.entries = map[entryID]*entry{}
		}
		l.entries[key] = e
	}
	if p.latest.before(place) {
		p.latest = place
	}
	if has(e.here, i) {
		return at, e, false
	}
	set(e.here, i)
	if size == 1 {
		e.own = id
	}
	p.last = max(p.last, place.ledger)
	at = penstock.Position{Stream: p.stream(place.ledger), Offset: place.entry<<batchBits | int64(i)}
	at.Next = at.Offset + 1
	if i == e.size-1 {
		at.Next = (place.entry + 1) << batchBits
	}
	if place.ledger < p.floor || at.Offset < p.from[place.ledger] {
		l.did(e, i, id)
		return at, e, false
	}
	p.open[place.ledger]++
	return at, e, true
}

// did notes that a message is done.
func (l *ledger) did(e *entry, i int32, id client.MessageID) {
	if has(e.did, i) {
		return
	}
	set(e.did, i)
	e.left--
	if e.size > 1 {
		e.own = id
	}
	if !e.queue {
		e.queue = true
		l.pending = append(l.pending, e)
	}
}

// settled notes that a message that was handed out is done.
func (l *ledger) settled(d *delivery) {
	l.did(d.entry, d.index, d.id)
	p := d.entry.part
	n := d.entry.at.ledger
	if p.open[n]--; p.open[n] <= 0 {
		delete(p.open, n)
	}
	p.done = max(p.done, n)
}

// givenBack notes that a message that was handed out comes again, and is to be handed out again then.
func (l *ledger) givenBack(d *delivery) {
	e := d.entry
	e.here[d.index/64] &^= 1 << (d.index % 64)
	if p := e.part; p.open[e.at.ledger] > 0 {
		if p.open[e.at.ledger]--; p.open[e.at.ledger] == 0 {
			delete(p.open, e.at.ledger)
		}
	}
	if !slices.ContainsFunc(e.here, func(w uint64) bool { return w != 0 }) {
		delete(l.entries, e.entryID) // another consumer may get it
	}
}

// over names the streams that nothing more comes of, and whose positions are no longer needed: those of ledgers that are wholly done, where something is kept of a later
// one, by which everything before it is known to be done.
func (l *ledger) over() (names []string) {
	for _, p := range l.parts {
		for number, name := range p.streams {
			if number < p.done && number < p.last && p.open[number] == 0 && !p.waits(number) {
				names = append(names, name)
				delete(p.streams, number)
			}
		}
		for number := range p.from {
			if number < p.done && number < p.last && p.open[number] == 0 && !p.waits(number) {
				if _, named := p.streams[number]; !named {
					names = append(names, p.name+"/"+strconv.FormatInt(number, 10))
				}
				delete(p.from, number)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// waits says that an older ledger than this is not done: they are let go in order, so that the oldest that is kept says what is done.
func (p *part) waits(number int64) bool {
	for n := range p.open {
		if n < number {
			return true
		}
	}
	return false
}

// take takes what is to be acknowledged, of one topic of the reader's, at most n entries.
func (l *ledger) take(n int) []*entry {
	if len(l.pending) == 0 {
		return nil
	}
	n = min(n, len(l.pending))
	out := slices.Clone(l.pending[:n])
	rest := copy(l.pending, l.pending[n:])
	clear(l.pending[rest:])
	l.pending = l.pending[:rest]
	for _, e := range out {
		e.queue = false
	}
	return out
}

// acknowledged notes that the broker knows.
func (l *ledger) acknowledged(e *entry, whole bool) {
	if whole && e.left == 0 {
		delete(l.entries, e.entryID)
	}
}

// again puts back what could not be acknowledged.
func (l *ledger) again(e *entry) {
	if !e.queue {
		e.queue = true
		l.pending = append(l.pending, e)
	}
}
