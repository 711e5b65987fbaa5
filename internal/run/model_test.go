package run

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"penstock.dev/penstock/internal/plan"
)

// The model runs a plan the way it is meant: one message after the other, each to its end. The engine
// must come to the same.

// kind is what a node of the model does.
type kind int

const (
	kMark   kind = iota // changes the body
	kFilter             // drops some
	kHard               // fails some for good
	kFlaky              // fails some a few times
	kRoute
	kFinish
	kSend
	kCall
	kFork
	kEach
	kLoop
	kFan   // gives the body a list of parts
	kSplit // … of which it makes messages
	kPart  // which become known by their own name
	kGroup
	kGather // a list of messages becomes one
	kNorm   // what a fork joined becomes a body
	kStore  // sends to a durable channel
	kDedupe // lets the first of some pass
	kDelay  // holds everything for a while
)

// mnode is a node of the model: the same jumps as its plan.Node.
type mnode struct {
	kind    kind
	name    string
	next    *int
	catch   *int
	targets []*int // of a route; the last is else
	subs    [][]*mnode
	tries   int  // of its own; 0: what it inherits
	when    bool // has a condition
	size    int  // of a group, the rounds of a loop
	width   int  // of a window, of a fork
}

// chance gives a number for a message at a place, always the same.
func chance(place, id string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(place + "|" + id))
	v := h.Sum32()
	v ^= v >> 15
	v *= 0x2c1b3c6d
	return v ^ v>>12
}

func mix(h, by string) string { return fmt.Sprintf("%08x", chance(by, h)) }

func bodyOf(id, k, h string) string { return fmt.Sprintf(`{"id":%q,"k":%q,"h":%q}`, id, k, h) }

func fanOf(name, id, k, h string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"id":%q,"k":%q,"h":%q,"l":[`, id, k, h)
	for i := range int(chance(name, id) % 4) {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"%s/%d","k":%q,"h":%q}`, id, i, k, mix(h, fmt.Sprint(i)))
	}
	return b.String() + "]}"
}

// fails is how many times a message fails at a place before it succeeds.
func fails(place, id string) int {
	c := chance(place, id)
	if c%4 != 0 {
		return 0
	}
	return 1 + int(c/4)%4
}

// refused says that a sink or caller refuses a message for good.
func refused(place, id string) bool { return place[0] != 'x' && chance(place+"!", id)%13 == 0 }

// mmsg is a message of the model.
type mmsg struct {
	id, k, h string
	key      string // as the engine has it
	orig     string // the body of its dead letter
	list     []mmsg // parts
	text     string // what a fork joined
	from     []int  // source messages
	wrote    *[]*stored
}

// death is what a dead letter says.
type death struct {
	body, step string
	attempts   int
}

// mcount counts what the engine counts.
type mcount struct{ in, dropped, retries int64 }

type written struct{ key, body string }

// model interprets.
type model struct {
	nodes    []*mnode
	attempts int // of the flow
	tried    map[string]int
	groups   map[*mnode]*mgroups
	dead     []death
	out      map[string][]written
	made     map[int]map[string][]string // by source message: bodies by sink, "" the dead letter
	steps    map[string]*mcount
	total    FlowSummary

	stored map[string][]*stored // by durable channel
	passed map[string]bool      // by dedupe and key
	mended bool                 // nothing fails
	ends   []mmsg               // what reached the end, or was stopped
}

// stored is a message in a durable channel.
type stored struct {
	id, k, body string
	gone        bool // taken back
}

type mgroups struct {
	order []string
	open  map[string][]mmsg
}

func newModel(nodes []*mnode, attempts int) *model {
	return &model{nodes: nodes, attempts: attempts, tried: map[string]int{}, groups: map[*mnode]*mgroups{}, out: map[string][]written{}, made: map[int]map[string][]string{}, steps: map[string]*mcount{},
		stored: map[string][]*stored{}, passed: map[string]bool{}}
}

// mfail is a failure; inside a sub-program with the step that it comes from.
type mfail struct {
	transient bool
	step      string
	attempts  int
	final     bool
}

// scope is where a program runs: at the top, or inside a node.
type scope struct {
	nodes    []*mnode
	attempts int // inherited; 0: none
	inner    bool
	ends     *[]mmsg
}

func (m *model) run(msgs []mmsg) {
	top := scope{nodes: m.nodes, attempts: m.attempts}
	for _, msg := range msgs {
		m.total.Read++
		m.exec(top, 0, msg)
	}
	for _, n := range m.nodes {
		g := m.groups[n]
		if g == nil {
			continue
		}
		for len(g.order) > 0 {
			m.exec(top, *n.next, m.complete(g, g.order[0]))
		}
	}
}

func (m *model) complete(g *mgroups, k string) mmsg {
	out := mmsg{k: k, key: k, list: g.open[k], wrote: new([]*stored)}
	delete(g.open, k)
	g.order = slices.DeleteFunc(g.order, func(s string) bool { return s == k })
	var texts []string
	for _, p := range out.list {
		texts = append(texts, bodyOf(p.id, p.k, p.h))
		out.from = append(out.from, p.from...)
	}
	out.orig = "[" + strings.Join(texts, ",") + "]"
	m.total.Groups++
	return out
}

func (m *model) step(name string) *mcount {
	if m.steps[name] == nil {
		m.steps[name] = &mcount{}
	}
	return m.steps[name]
}

func (m *model) wrote(msg mmsg, where, body string) {
	for _, s := range slices.Compact(slices.Sorted(slices.Values(msg.from))) {
		if m.made[s] == nil {
			m.made[s] = map[string][]string{}
		}
		m.made[s][where] = append(m.made[s][where], body)
	}
}

// exec takes a message from a node to its end, or to its failure inside a node.
func (m *model) exec(sc scope, pc int, msg mmsg) *mfail {
	for {
		if pc == plan.End || pc >= len(sc.nodes) {
			m.ended(sc, msg)
			return nil
		}
		n := sc.nodes[pc]
		if n.when && chance(n.name+"?", msg.id)%2 == 0 {
			pc = *n.next
			continue
		}
		m.step(n.name).in++
		tries := n.tries
		if tries == 0 && *n.catch == plan.End {
			tries = sc.attempts
		}
		to, f := m.op(sc, n, &msg)
		attempt := 1
		for ; f != nil && f.transient && !f.final && attempt < tries; attempt++ {
			m.total.Retries++
			m.step(n.name).retries++
			to, f = m.op(sc, n, &msg)
		}
		switch {
		case f == nil && to == gone:
			return nil
		case f == nil:
			pc = to
			continue
		case f.step == "":
			f = &mfail{transient: f.transient, step: n.name, attempts: attempt, final: sc.attempts > 0 || tries > 0}
		}
		if *n.catch != plan.End {
			pc = *n.catch
			continue
		}
		if sc.inner {
			return f
		}
		m.dead = append(m.dead, death{msg.orig, f.step, f.attempts})
		msg.takeBack(0)
		m.wrote(msg, "", msg.orig)
		m.total.Dead++
		return nil
	}
}

func (m *model) ended(sc scope, msg mmsg) {
	if sc.inner {
		*sc.ends = append(*sc.ends, msg)
		return
	}
	m.total.Done++
	m.ends = append(m.ends, msg)
}

func (m *model) dropped(sc scope, n *mnode) {
	m.step(n.name).dropped++
	if !sc.inner {
		m.total.Filtered++
	}
}

const gone = -2 // the message has ended, or become others

// takeBack takes back what the message wrote to durable channels since the mark.
func (m *mmsg) takeBack(mark int) {
	if m.wrote != nil {
		for _, s := range (*m.wrote)[mark:] {
			s.gone = true
		}
		*m.wrote = (*m.wrote)[:mark]
	}
}

// store is what a step does that sends to a durable channel.
func (m *model) store(n *mnode, msg *mmsg) {
	s := &stored{id: msg.id, k: msg.k, body: bodyOf(msg.id, msg.k, msg.h)}
	m.stored[n.name] = append(m.stored[n.name], s)
	*msg.wrote = append(*msg.wrote, s)
}

// dedupeKey is what a dedupe goes by: two thirds of the messages of a key are first ones.
func dedupeKey(n *mnode, id, k string) string {
	return fmt.Sprint(k, "|", chance(n.name, id)%uint32(n.size))
}

// dedupe says that the message is the first of its key.
func (m *model) dedupe(n *mnode, msg *mmsg) bool {
	key := n.name + "|" + dedupeKey(n, msg.id, msg.k)
	if m.passed[key] {
		return false
	}
	m.passed[key] = true
	msg.boundary()
	return true
}

// boundary is where the message goes on as a source message of its own.
func (m *mmsg) boundary() { m.wrote, m.orig = new([]*stored), bodyOf(m.id, m.k, m.h) }

// shaky fails a message as often as its place says.
func (m *model) shaky(n *mnode, id string) *mfail {
	if m.mended {
		return nil
	}
	m.tried[n.name+"|"+id]++
	if m.tried[n.name+"|"+id] <= fails(n.name, id) {
		return &mfail{transient: true}
	}
	return nil
}

func (m *model) op(sc scope, n *mnode, msg *mmsg) (int, *mfail) {
	switch n.kind {
	case kMark:
		msg.h = mix(msg.h, n.name)
	case kFilter:
		if chance(n.name, msg.id)%4 == 0 {
			m.dropped(sc, n)
			return gone, nil
		}
	case kHard:
		if !m.mended && chance(n.name, msg.id)%5 == 0 {
			return 0, &mfail{}
		}
	case kFlaky:
		return *n.next, m.shaky(n, msg.id)
	case kRoute:
		return *n.targets[int(chance(n.name, msg.id)%uint32(len(n.targets)))], nil
	case kFinish:
		m.ended(sc, *msg)
		return gone, nil
	case kSend, kCall:
		if f := m.shaky(n, msg.id); f != nil {
			return 0, f
		}
		if !m.mended && refused(n.name, msg.id) {
			return 0, &mfail{}
		}
		if n.kind == kCall {
			msg.h = mix(msg.h, n.name)
			break
		}
		body := bodyOf(msg.id, msg.k, msg.h)
		m.out[n.name] = append(m.out[n.name], written{msg.key, body})
		m.wrote(*msg, n.name, body)
	case kFan:
		var parts []mmsg
		for i := range int(chance(n.name, msg.id) % 4) {
			parts = append(parts, mmsg{id: fmt.Sprintf("%s/%d", msg.id, i), k: msg.k, key: msg.key, h: mix(msg.h, fmt.Sprint(i)), orig: msg.orig, from: msg.from, wrote: msg.wrote})
		}
		msg.list = parts
	case kSplit:
		if len(msg.list) == 0 {
			m.dropped(sc, n)
		}
		m.total.Split += int64(len(msg.list))
		for _, p := range msg.list {
			p.wrote = new([]*stored)
			m.exec(sc, *n.next, p)
		}
		return gone, nil
	case kStore:
		m.store(n, msg)
	case kDelay:
		msg.boundary()
	case kDedupe:
		if !m.dedupe(n, msg) {
			return gone, nil
		}
	case kGroup:
		return gone, m.group(sc, n, *msg)
	case kGather:
		var ids, hs []string
		for _, p := range msg.list {
			ids, hs = append(ids, p.id), append(hs, p.h)
		}
		msg.id, msg.h, msg.list = "g("+strings.Join(ids, "+")+")", mix(strings.Join(hs, "+"), n.name), nil
	case kFork, kEach:
		return *n.next, m.fork(sc, n, msg)
	case kLoop:
		return *n.next, m.loop(sc, n, msg)
	case kNorm:
		msg.h, msg.list = mix(msg.text, n.name), nil
	}
	return *n.next, nil
}

func (m *model) group(sc scope, n *mnode, msg mmsg) *mfail {
	g := m.groups[n]
	if g == nil {
		g = &mgroups{open: map[string][]mmsg{}}
		m.groups[n] = g
	}
	if len(g.open[msg.k]) == 0 {
		g.order = append(g.order, msg.k)
	}
	g.open[msg.k] = append(g.open[msg.k], msg)
	m.total.Grouped++
	if len(g.open[msg.k]) == n.size {
		m.exec(sc, *n.next, m.complete(g, msg.k))
	}
	return nil
}

// within is the scope of a program inside n.
func (sc scope) within(n *mnode, i int, ends *[]mmsg) scope {
	in := scope{nodes: n.subs[i], inner: true, ends: ends, attempts: sc.attempts}
	if n.tries > 0 || *n.catch != plan.End {
		in.attempts = 0
	}
	return in
}

func (m *model) fork(sc scope, n *mnode, msg *mmsg) *mfail {
	children := []mmsg{*msg, *msg}
	if n.kind == kEach {
		children = msg.list
	}
	var texts []string
	var failed *mfail
	mark := 0
	if msg.wrote != nil {
		mark = len(*msg.wrote)
	}
	for i, c := range children {
		var ends []mmsg
		sub, label := 0, ""
		if n.kind == kFork {
			sub, label = i, fmt.Sprintf(`"b%d":`, i)
		}
		if f := m.exec(sc.within(n, sub, &ends), 0, c); f != nil && failed == nil {
			failed = f
		}
		for _, e := range ends {
			texts = append(texts, label+bodyOf(e.id, e.k, e.h))
		}
	}
	if failed != nil {
		msg.takeBack(mark)
		return failed
	}
	msg.text = "{" + strings.Join(texts, ",") + "}"
	if n.kind == kEach {
		msg.text = "[" + strings.Join(texts, ",") + "]"
	}
	return nil
}

func over(h string) bool { return chance("until", h)%3 == 0 }

func (m *model) loop(sc scope, n *mnode, msg *mmsg) *mfail {
	cur := *msg
	for range n.size {
		var ends []mmsg
		if f := m.exec(sc.within(n, 0, &ends), 0, cur); f != nil {
			return f
		}
		if cur = ends[0]; over(cur.h) {
			msg.h = cur.h
			return nil
		}
	}
	return &mfail{}
}

// dump shows a program, for a failure's report.
func dump(nodes []*mnode, indent string) string {
	names := []string{"mark", "filter", "hard", "flaky", "route", "finish", "send", "call", "fork", "each", "loop", "fan", "split", "part", "group", "gather", "norm", "store", "dedupe", "delay"}
	var b strings.Builder
	for i, n := range nodes {
		fmt.Fprintf(&b, "%s%d %s %s → %d", indent, i, n.name, names[n.kind], *n.next)
		for _, t := range n.targets {
			fmt.Fprintf(&b, " [%d]", *t)
		}
		fmt.Fprintf(&b, " catch %d tries %d when %v size %d width %d\n", *n.catch, n.tries, n.when, n.size, n.width)
		for _, s := range n.subs {
			b.WriteString(dump(s, indent+"    | "))
		}
	}
	return b.String()
}

func sorted[T any](in []T) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = fmt.Sprintf("%+v", v)
	}
	slices.Sort(out)
	return out
}

// perKey gives the bodies of each key in order.
func perKey(in []written) map[string][]string {
	out := map[string][]string{}
	for _, w := range in {
		out[w.key] = append(out[w.key], w.body)
	}
	return out
}

func sameKeys(a, b []written) string {
	x, y := perKey(a), perKey(b)
	for _, k := range slices.Sorted(maps.Keys(x)) {
		if !slices.Equal(x[k], y[k]) {
			return fmt.Sprintf("key %q: got\n  %s\nwant\n  %s", k, strings.Join(x[k], "\n  "), strings.Join(y[k], "\n  "))
		}
	}
	return ""
}
