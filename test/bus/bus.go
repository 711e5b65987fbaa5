// Package bus is a broker in memory, for tests of what the engine does with brokers. It stands beside the real ones, never instead of them.
//
// It has the two kinds that there are: `log`, whose messages keep their positions and are read by groups, as in Kafka; and `post`,
// whose messages are handed out and acknowledged one by one and come again if they are not, known by a message id, as in RabbitMQ.
package bus

import (
	"context"
	"errors"
	"slices"
	"sync"

	"penstock.dev/penstock"
)

// Record is a message in the broker.
type Record struct {
	Key  string
	Meta map[string]string
	Body string
}

// Broker keeps topics and queues. It is safe for concurrent use. The zero Broker is empty and can be used.
type Broker struct {
	mu     sync.Mutex
	cond   *sync.Cond
	topics map[string]*topic
	down   bool
	write  func(Record) error
	again  int
	calls  int
}

type topic struct {
	parts  int // as it was made
	log    []Record
	groups map[string]*group
}

// group is how far readers who belong together are.
type group struct {
	next int         // of log
	out  map[int]int // handed out and not acknowledged, with how often; post
	back []int       // to be handed out again; post
}

// brokers are those of the process by their address: what a Connection names, as it would one on the network.
var brokers sync.Map

// At is the broker at an address.
func At(address string) *Broker {
	b, _ := brokers.LoadOrStore(address, &Broker{})
	return b.(*Broker)
}

func (b *Broker) lock() func() {
	b.mu.Lock()
	if b.cond == nil {
		b.cond, b.topics = sync.NewCond(&b.mu), map[string]*topic{}
	}
	return b.mu.Unlock
}

// Down cuts everybody off, or lets them in again.
func (b *Broker) Down(down bool) {
	defer b.lock()()
	b.down = down
	for _, t := range b.topics {
		for _, g := range t.groups {
			for i := range g.out {
				g.back = append(g.back, i)
			}
			slices.Sort(g.back)
			clear(g.out)
		}
	}
	b.cond.Broadcast()
}

// Refuse has refuse looked at each message that is written: an error is given back to who writes it. Nil refuses nothing.
func (b *Broker) Refuse(refuse func(Record) error) {
	defer b.lock()()
	b.write = refuse
}

// LoseAnswers lets the next n writes do their work and fail all the same.
func (b *Broker) LoseAnswers(n int) {
	defer b.lock()()
	b.again = n
}

// Make makes a topic of so many parts, as somebody else would.
func (b *Broker) Make(name string, parts int, groups ...string) {
	defer b.lock()()
	t := b.make(name, parts)
	for _, g := range groups {
		t.group(g)
	}
}

// Remove removes a topic with all that is in it, as somebody might.
func (b *Broker) Remove(name string) {
	defer b.lock()()
	delete(b.topics, name)
}

func (b *Broker) make(name string, parts int) *topic {
	t := b.topics[name]
	if t == nil {
		t = &topic{parts: parts, groups: map[string]*group{}}
		b.topics[name] = t
	}
	return t
}

func (t *topic) group(name string) *group {
	g := t.groups[name]
	if g == nil {
		g = &group{out: map[int]int{}}
		t.groups[name] = g
	}
	return g
}

// Send writes messages, as another program would.
func (b *Broker) Send(name string, records ...Record) {
	defer b.lock()()
	t := b.make(name, 1)
	t.log = append(t.log, records...)
	b.cond.Broadcast()
}

// Records are all messages that were ever written to a topic.
func (b *Broker) Records(name string) []Record {
	defer b.lock()()
	if t := b.topics[name]; t != nil {
		return slices.Clone(t.log)
	}
	return nil
}

// Await waits until a topic holds n messages, or ctx ends.
func (b *Broker) Await(ctx context.Context, name string, n int) error {
	stop := context.AfterFunc(ctx, func() { defer b.lock()(); b.cond.Broadcast() })
	defer stop()
	defer b.lock()()
	for ctx.Err() == nil {
		if t := b.topics[name]; t != nil && len(t.log) >= n {
			return nil
		}
		b.cond.Wait()
	}
	return ctx.Err()
}

// Groups are the names of the groups of a topic, sorted.
func (b *Broker) Groups(name string) []string {
	defer b.lock()()
	var out []string
	if t := b.topics[name]; t != nil {
		for g := range t.groups {
			out = append(out, g)
		}
	}
	slices.Sort(out)
	return out
}

// Left is how many messages a group has not done with.
func (b *Broker) Left(name, of string) int {
	defer b.lock()()
	t := b.topics[name]
	if t == nil || t.groups[of] == nil {
		return 0
	}
	g := t.groups[of]
	return len(t.log) - g.next + len(g.out) + len(g.back)
}

// Writes is how many times a sink has written, in one call or another.
func (b *Broker) Writes() int {
	defer b.lock()()
	return b.calls
}

var errDown = &penstock.Error{Code: penstock.Unavailable, Op: "bus", Err: errors.New("the broker is down")}

// find gives a topic that is there.
func (b *Broker) find(name string) (*topic, error) {
	if b.down {
		return nil, errDown
	}
	if t := b.topics[name]; t != nil {
		return t, nil
	}
	return nil, &penstock.Error{Code: penstock.Config, Op: "bus", Path: name, Err: errors.New("there is no such topic"), Hint: "make it"}
}
