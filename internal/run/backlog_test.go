package run

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// frozen is a store whose disk has stopped: transactions of messages wait until it goes on.
type frozen struct {
	store.Store
	goOn chan struct{}
}

func (s *frozen) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	if c == store.Small {
		return s.Store.Submit(c, f)
	}
	out := store.NewCommit()
	go func() {
		<-s.goOn
		out.Finish(s.Store.Submit(c, f).Wait(context.Background()))
	}()
	return out
}

func TestASourceWaitsForAStoreThatHasStopped(t *testing.T) {
	const n = 20000
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.None, Sources: fromLines("a"), Nodes: next(toChannel("c"))})
	src := &resumable{lines: lines{docs: docs(n, `{"n":%d}`), batch: 20}}
	p.source = func() penstock.Source { return src }
	slow := &frozen{Store: p.store, goOn: make(chan struct{})}
	r := p.runner()
	r.opts.Store = func() (store.Store, error) { return slow, nil }
	c := r.lives.flows[0].commit
	c.most.messages = 1000
	done := make(chan error, 1)
	go func() {
		_, err := r.Run(t.Context())
		done <- err
	}()
	for waits := false; !waits; runtime.Gosched() {
		c.mu.Lock()
		waits = c.moved.n > 0
		c.mu.Unlock()
	}
	if read := r.Snapshot().Flows[0].Read; read > 4096+2*1000 {
		t.Errorf("%d messages were read, and none of them is durable", read)
	}
	close(slow.goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := p.holds("c"); len(got) != n {
		t.Errorf("%d messages", len(got))
	}
}

// sized notes how much is written at a time.
type sized struct {
	store.Store
	mu      sync.Mutex
	largest int
	segment int
}

func (s *sized) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	return s.Store.Submit(c, func(tx store.Tx) error {
		t := &sizedTx{Tx: tx, s: s}
		err := f(t)
		s.mu.Lock()
		s.largest = max(s.largest, t.bytes)
		s.mu.Unlock()
		return err
	})
}

type sizedTx struct {
	store.Tx
	s     *sized
	bytes int
}

func (t *sizedTx) Append(channel string, b store.Bundle) (int64, error) {
	t.bytes += len(b.Data)
	t.s.mu.Lock()
	t.s.segment = max(t.s.segment, len(b.Data))
	t.s.mu.Unlock()
	return t.Tx.Append(channel, b)
}

func TestATransactionIsBoundedByBytesToo(t *testing.T) {
	in := docs(64, `{"n":%d,"x":"`+strings.Repeat("x", 1<<20)+`"}`)
	p := newPlant(t,
		&plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(toChannel("c"))},
		&plan.Flow{Name: "b", Order: plan.Total, Sources: fromChannel("b", "c"), Nodes: next(toChannel("d"))})
	p.source = func() penstock.Source { return &resumable{lines: lines{docs: in, batch: 1}} }
	s := &sized{Store: p.store}
	r := p.runner()
	r.opts.Store = func() (store.Store, error) { return s, nil }
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(p.holds("d")) != 64 {
		t.Errorf("%d messages", len(p.holds("d")))
	}
	if s.largest > 5<<20 {
		t.Errorf("a transaction of %d bytes", s.largest)
	}
}

func TestAMessageOfManyPartsIsWrittenInSeveralSegments(t *testing.T) {
	part := `{"x":"` + strings.Repeat("x", 1<<20) + `"}`
	in := []string{`{"l":[` + strings.Repeat(part+",", 40) + part + `]}`}
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(
		plan.Node{Name: "split", Verb: "split", Op: &plan.Split{Each: field("l"), As: -1, Index: -1}}, toChannel("c"))})
	p.source = func() penstock.Source { return &resumable{lines: lines{docs: in, batch: 1}} }
	s := &sized{Store: p.store}
	r := p.runner()
	r.opts.Store = func() (store.Store, error) { return s, nil }
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := p.holds("c"); len(got) != 41 || got[40] != part {
		t.Errorf("%d messages", len(got))
	}
	if s.segment > 8<<20 {
		t.Errorf("a segment of %d bytes", s.segment)
	}
}

func TestASourceThatIsBusyDoesNotHoldUpAnother(t *testing.T) {
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.None, Sources: append(fromLines("a"), &plan.Endpoint{Name: "a/from2", Driver: fromLines("a")[0].Driver}), Nodes: next(toChannel("c"))})
	p.source = func() penstock.Source { return &resumable{} }
	f := p.runner().lives.flows[0]
	c := f.commit
	arrive := func(p *pump, messages int) *intake {
		in := &intake{src: p, read: p.readSeq, count: messages, left: messages, tracks: make([]track, messages)}
		for i := range in.tracks {
			in.tracks[i].in, in.tracks[i].lasting = in, &lasting{}
			in.tracks[i].state.Store(trackDone)
		}
		p.readSeq++
		c.arrive(in)
		return in
	}
	for range 100 {
		arrive(f.pumps[0], 1000)
	}
	arrive(f.pumps[1], 1)
	c.gather(&c.unit)
	if f.pumps[1].nextSeq != 1 {
		t.Errorf("a transaction of %d messages takes nothing of the second source", c.unit.count)
	}
}
