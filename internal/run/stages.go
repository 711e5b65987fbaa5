package run

import (
	"strconv"
	"sync/atomic"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/stage"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// stageNode is a durable step of a flow in a run that keeps state: a stage boundary.
type stageNode struct {
	f       *flow
	node    *node
	index   int // among the flow's durable steps
	at      int // of the node in the program
	space   string
	machine stage.Machine
	out     *outlet // the channel that the rest of the flow reads
	pump    *pump   // … and its reader
	ended   atomic.Bool
	due     atomic.Int64
	held    atomic.Int64 // taken in this run, and neither passed on nor given up: they count as grouped
	waiting atomic.Int64 // messages that have left the step, and are not done behind it
	counted map[stage.Counted]*atomic.Int64
}

// addStage makes a node a stage boundary, and its flow a reader of what leaves it.
func (f *flow) addStage(n *node, at int) {
	name := f.plan.Name + "/" + n.Name
	s := &stageNode{f: f, node: n, at: at, index: len(f.stages), space: name, counted: map[stage.Counted]*atomic.Int64{}}
	for _, c := range []stage.Counted{stage.Dropped, stage.Late, stage.Groups, stage.ByBound, stage.Gaps, stage.Unfinished, stage.Repeated} {
		s.counted[c] = new(atomic.Int64)
	}
	switch op := n.Op.(type) {
	case *plan.Group:
		s.machine = stage.NewAggregate(op, f.plan.Time != nil, name)
	case *plan.Stage:
		switch spec := op.Spec.(type) {
		case *plan.Dedupe:
			s.machine = stage.NewDedupe(spec, name)
		case *plan.Resequence:
			s.machine = stage.NewResequence(spec, name)
		case *plan.Delay:
			s.machine = stage.NewDelay(spec, op.Until != nil, name)
		case *plan.Throttle:
			s.machine = stage.NewThrottle(spec, name)
		case *plan.Changes:
			s.machine = stage.NewChanges(spec, name)
		case *plan.Window:
			s.machine = stage.NewWindow(spec, name)
		}
	}
	d := f.net.internal(name, f.r.wiring())
	s.out = d.out
	src := f.r.newChannelSource(d, f, name)
	s.pump = newPump(f, f.inner(&plan.Endpoint{Name: name, Channel: name, Pos: n.Pos, Label: "behind " + n.Name}), src)
	s.pump.channel, s.pump.stage, s.pump.counts = src, s, false
	src.entry, src.stage = s.behind(), s
	n.stage = s
	f.stages = append(f.stages, s)
}

func (s *stageNode) count(what stage.Counted, n int) {
	if c := s.counted[what]; c != nil {
		c.Add(int64(n))
	}
}

// absorb records messages for a durable step. They end here; what the step makes of them starts anew.
func (x *exec) absorb(w *work, n *node, ms []*penstock.Message) {
	s, now := n.stage, x.f.now()
	kept := ms[:0]
	for _, m := range ms {
		it, err := s.item(w.batch, m)
		if err != nil {
			x.fail(m, err)
			continue
		}
		m.Lineage.(*track).absorb(s, m, it, x.f.header(m, now), x.f.plan.Vars)
		kept = append(kept, m)
	}
	s.held.Add(int64(len(kept)))
	x.end(w, kept, fateGrouped)
	x.give(ms)
}

// leave notes that n messages are not held any more: they are passed on, dropped or dead, and counted as that. It returns how many of
// them an earlier run had taken in, or were made by the step.
func (s *stageNode) leave(n int64) (others int64) {
	own := min(n, s.held.Load()) // only lanes add to it meanwhile
	s.held.Add(-own)
	s.f.stats.Grouped.Add(-own)
	return n - own
}

// gathers says that the step makes one message of several, which are gone with that.
func (s *stageNode) gathers() bool {
	_, ok := s.node.Op.(*plan.Group)
	return ok
}

// item reads what the step has to know of a message.
func (s *stageNode) item(b *penstock.Batch, m *penstock.Message) (it stage.Item, err error) {
	f, name := s.f, s.node.Name
	switch op := s.node.Op.(type) {
	case *plan.Group:
		if op.By != nil {
			if it.Key, err = text(op.By, b.Frame(m), name+" by"); err != nil {
				return it, err
			}
		}
		if op.When != nil {
			if it.Flag, err = test(op.When, b.Frame(m), name+" when"); err != nil {
				return it, err
			}
		}
		if err := m.Body.Parse(jsonview.Limits{}); err != nil {
			return it, &penstock.Error{Code: penstock.Invalid, Op: name, Path: "body", Err: err}
		}
	case *plan.Stage:
		if err = s.read(b, m, op, &it); err != nil {
			return it, err
		}
	}
	if f.plan.Time != nil {
		it.At, err = eventTime(f.plan.Time, b.Frame(m))
		return it, err
	}
	it.At = f.r.clock.Now().UnixNano()
	return it, nil
}

func (s *stageNode) read(b *penstock.Batch, m *penstock.Message, op *plan.Stage, it *stage.Item) (err error) {
	name := s.node.Name
	if op.By != nil {
		if it.Key, err = text(op.By, b.Frame(m), name+" by"); err != nil {
			return err
		}
	}
	if op.Of != nil {
		if it.Of, err = text(op.Of, b.Frame(m), name+" of"); err != nil {
			return err
		}
	}
	if op.Number != nil {
		n, err := text(op.Number, b.Frame(m), name+" number")
		if err != nil {
			return err
		}
		if it.Number, err = strconv.ParseInt(n, 10, 64); err != nil {
			return &penstock.Error{Code: penstock.Invalid, Op: name, Path: "number", Err: err}
		}
	}
	if op.Until != nil {
		if it.Due, err = eventTime(op.Until, b.Frame(m)); err != nil {
			return err
		}
	}
	if _, ok := op.Spec.(*plan.Changes); ok {
		if err := m.Body.Parse(jsonview.Limits{}); err != nil {
			return &penstock.Error{Code: penstock.Invalid, Op: name, Path: "body", Err: err}
		}
	}
	return nil
}

// begun completes a message that comes from a durable step: a group goes where the step's `into` says.
func (s *stageNode) begun(b *penstock.Batch, m *penstock.Message) error {
	op, ok := s.node.Op.(*plan.Group)
	if !ok || op.Into.Root == step.Body && len(op.Into.Steps) == 0 {
		return nil
	}
	d := m.Body
	m.Body = b.NewDoc()
	m.Body.Reset(jsonview.JSON, []byte("{}"))
	return s.f.assign(b, m, op.Into, &reply{doc: d})
}

// header is what a record says of a message beside its content.
func (f *flow) header(m *penstock.Message, now int64) record.Header {
	return record.Header{Time: now, Origin: m.Lineage.Origin()}
}

func (f *flow) now() int64 { return f.r.clock.Now().UnixNano() }

// claim checks bodies in, or brings them back.
func (x *exec) claim(w *work, n *node, op *plan.Claim, ms []*penstock.Message) {
	kept := ms[:0]
	for _, m := range ms {
		var err error
		if op.Redeem == nil {
			err = x.checkIn(w, n, op, m)
		} else {
			err = x.redeem(w, n, op, m)
		}
		if err != nil {
			x.fail(m, err)
			continue
		}
		kept = append(kept, m)
	}
	x.put(w, n.Next, kept)
}
