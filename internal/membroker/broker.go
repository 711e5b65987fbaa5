// Package membroker is a broker in memory, for tests of what the project says to brokers: topics with partitions that groups
// read, transactions that take up a group's positions and fence zombies, topics that know messages by their identities, and queues
// that give again what was not acknowledged. It is as strict as the real ones are, and lets a test plant faults.
//
// It stands beside the tests against real brokers, never instead of them.
package membroker

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"penstock.dev/penstock"
)

// Broker holds everything. All of it is safe for concurrent use.
type Broker struct {
	// Fault is asked before an operation ("open", "read", "settle", "write", "begin", "txwrite", "positions", "commit", "committed", "abort"):
	// an error is what it gives. "committed" is asked behind a commit: an error then says that nobody has heard of the success.
	Fault func(op string) error
	// Clock tells topics when to forget identities; nil: the system's.
	Clock penstock.Clock

	mu     sync.Mutex
	moved  *sync.Cond
	topics map[string]*topic
	groups map[string]*group
	queues map[string]*queue
	epochs map[string]int // of producers, by transactional id
	ids    int
}

// New makes an empty broker.
func New() *Broker {
	b := &Broker{topics: map[string]*topic{}, groups: map[string]*group{}, queues: map[string]*queue{}, epochs: map[string]int{}}
	b.moved = sync.NewCond(&b.mu)
	return b
}

func (b *Broker) fault(op string) error {
	if b.Fault == nil {
		return nil
	}
	return b.Fault(op)
}

func (b *Broker) now() time.Time {
	if b.Clock == nil {
		return time.Now()
	}
	return b.Clock.Now()
}

type topic struct {
	name       string
	partitions [][]entry
	window     time.Duration // identities are known for so long; 0: none is
	known      map[string]time.Time
}

// entry is one place of a log. What a transaction has written is seen when it is committed.
type entry struct {
	Record
	tx *tx // nil: of none, or it is committed
}

// Record is a message as the broker keeps it.
type Record struct {
	Key  string
	Body string // JSON
	ID   string // its identity, where the sink gives one
}

// Topic makes a topic, where there is none of the name.
func (b *Broker) Topic(name string, partitions int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topic(name, partitions)
}

// Knows lets a topic drop messages whose identity came within the window before.
func (b *Broker) Knows(name string, window time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topic(name, 1)
	t.window, t.known = window, map[string]time.Time{}
}

func (b *Broker) topic(name string, partitions int) *topic {
	t := b.topics[name]
	if t == nil {
		t = &topic{name: name, partitions: make([][]entry, partitions)}
		b.topics[name] = t
	}
	return t
}

// Put publishes records, outside of transactions.
func (b *Broker) Put(name string, records ...Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range records {
		b.put(b.topic(name, 1), entry{Record: r})
	}
}

// put appends e; the lock must be held.
func (b *Broker) put(t *topic, e entry) {
	if t.window > 0 && e.ID != "" {
		if at, seen := t.known[e.ID]; seen && b.now().Sub(at) < t.window {
			return
		}
		t.known[e.ID] = b.now()
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(e.Key))
	p := int(h.Sum32() % uint32(len(t.partitions)))
	t.partitions[p] = append(t.partitions[p], e)
	b.moved.Broadcast()
}

// Committed lists what readers of committed messages see of a topic, partition after partition.
func (b *Broker) Committed(name string) (out []Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.topic(name, 1).partitions {
		for _, e := range p[:stable(p)] {
			if e.tx == nil {
				out = append(out, e.Record)
			}
		}
	}
	return out
}

// All counts what is in a topic, also what was undone or is not committed yet.
func (b *Broker) All(name string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.topic(name, 1).partitions {
		n += len(p)
	}
	return n
}

// stable is how far a partition can be read: to the first message of a transaction that is open.
func stable(p []entry) int {
	for i := range p {
		if p[i].tx != nil && !p[i].tx.aborted {
			return i
		}
	}
	return len(p)
}

// group shares the partitions of its topic among members. What a member knows holds for one generation.
type group struct {
	topic      *topic
	generation int
	members    []*Source
	positions  map[int]int // next to read, by partition
}

func (b *Broker) group(t *topic, name string) *group {
	key := t.name + "\x00" + name
	g := b.groups[key]
	if g == nil {
		g = &group{topic: t, positions: map[int]int{}}
		b.groups[key] = g
	}
	return g
}

// Positions is what a group has done of each partition of a topic.
func (b *Broker) Positions(topic, name string) map[int]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[int]int{}
	for p, at := range b.group(b.topic(topic, 1), name).positions {
		out[p] = at
	}
	return out
}

// Await waits until a group has done so many messages of a topic, in all; false where ctx ended before.
func (b *Broker) Await(ctx context.Context, topic, name string, done int) bool {
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.moved.Broadcast()
	})
	defer stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for ctx.Err() == nil {
		n := 0
		for _, at := range b.group(b.topic(topic, 1), name).positions {
			n += at
		}
		if n >= done {
			return true
		}
		b.moved.Wait()
	}
	return false
}

// Expel takes a member for dead: its partitions go to the others. It doesn't notice before it asks for something.
func (b *Broker) Expel(s *Source) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.group.leave(b, s)
}

// Members are those of a group.
func (b *Broker) Members(topic, name string) []*Source {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.group(b.topic(topic, 1), name).members)
}

// Rebalance begins another generation of a group, with the same members.
func (b *Broker) Rebalance(topic, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.group(b.topic(topic, 1), name).rebalance(b)
}

func (g *group) join(b *Broker, s *Source) {
	if !slices.Contains(g.members, s) {
		g.members = append(g.members, s)
		g.rebalance(b)
	}
}

func (g *group) leave(b *Broker, s *Source) {
	if i := slices.Index(g.members, s); i >= 0 {
		g.members = slices.Delete(g.members, i, i+1)
		g.rebalance(b)
	}
}

func (g *group) rebalance(b *Broker) {
	g.generation++
	b.moved.Broadcast()
}

// owned lists the partitions of a member.
func (g *group) owned(s *Source) (out []int) {
	i := slices.Index(g.members, s)
	for p := range g.topic.partitions {
		if i >= 0 && p%len(g.members) == i {
			out = append(out, p)
		}
	}
	return out
}

func stream(t *topic, partition int) string { return fmt.Sprintf("%s/%d", t.name, partition) }
