package kafka

import (
	"context"
	"encoding/base64"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"penstock.dev/penstock"
)

// partition is one that this member of the group has, and how far it is.
type partition struct {
	topic     string
	number    int32
	stream    string // Position.Stream of its messages
	read      int64  // where reading goes on: all before was handed out, or is nothing to hand out
	handed    int64  // behind the last message that was handed out
	settled   int64  // all before is done
	committed int64  // what the group knows
	end       int64  // once: where to stop
	id        [16]byte
}

// done says that nothing of it is in the flow.
func (p *partition) done() bool { return p.settled >= p.handed }

// streamOf names a partition for all time: a topic that was deleted and made anew is another one, with other messages under the same offsets.
func streamOf(topic string, number int32, id [16]byte) string {
	b := append([]byte(topic), '/')
	b = appendInt(b, int64(number))
	if id != ([16]byte{}) {
		b = append(b, '@')
		b = base64.RawURLEncoding.AppendEncode(b, id[:])
	}
	return string(b)
}

// account is what a source knows of its partitions.
type account struct {
	mu       sync.Mutex
	byStream map[string]*partition
	byTopic  map[string]map[int32]*partition
	assigned bool          // it is known what the group has given, and where that begins
	moved    chan struct{} // closed when something was settled, and made anew
	dirty    chan struct{} // there is something to commit; one element
	told     chan struct{} // closed when the group was told, and made anew
	leaving  bool          // the source is being closed: nothing waits any more
	failed   error         // what ends the source, told by Read
	lost     bool          // partitions were taken away whose messages are not done
}

func (a *account) init() {
	a.byStream, a.byTopic = map[string]*partition{}, map[string]map[int32]*partition{}
	a.moved, a.told, a.dirty = make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
	a.assigned, a.leaving, a.failed, a.lost = false, false, nil, false
}

func (a *account) add(p *partition) {
	a.byStream[p.stream] = p
	if a.byTopic[p.topic] == nil {
		a.byTopic[p.topic] = map[int32]*partition{}
	}
	a.byTopic[p.topic][p.number] = p
}

func (a *account) find(topic string, number int32) *partition { return a.byTopic[topic][number] }

func (a *account) drop(p *partition) {
	if a.byStream[p.stream] == p {
		delete(a.byStream, p.stream)
	}
	if a.byTopic[p.topic][p.number] == p {
		delete(a.byTopic[p.topic], p.number)
	}
}

// pick finds those of the partitions that the group names. a.mu is held.
func (a *account) pick(named map[string][]int32) (out []*partition) {
	for topic, numbers := range named {
		for _, n := range numbers {
			if p := a.find(topic, n); p != nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// settle takes up fates.
func (a *account) settle(outcomes []penstock.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	any := false
	for i := range outcomes {
		o := &outcomes[i]
		// A partition that is another's by now is not there. One that came back is where it is, or further.
		if p := a.byStream[o.Pos.Stream]; p != nil && o.Err == nil && o.Pos.Next > p.settled {
			p.settled, any = o.Pos.Next, true
		}
	}
	if any {
		close(a.moved)
		a.moved = make(chan struct{})
		a.signal()
	}
}

// signal says that there is something to commit.
func (a *account) signal() {
	select {
	case a.dirty <- struct{}{}:
	default:
	}
}

// fail ends the source with an error.
func (a *account) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil {
		a.failed = err
	}
}

func (a *account) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

// drain waits until nothing of some partitions is in the flow any more, at most for a time; it says how many messages still are, at most.
func (a *account) drain(ctx context.Context, clock penstock.Clock, of map[string][]int32, most time.Duration) (left int64) {
	fired, stop := clock.NewTimer(most)
	defer stop()
	for {
		a.mu.Lock()
		left = 0
		for _, p := range a.pick(of) {
			if !p.done() {
				left += p.handed - p.settled
			}
		}
		moved, leaving := a.moved, a.leaving
		a.mu.Unlock()
		if left == 0 || leaving || most <= 0 {
			return left
		}
		select {
		case <-moved:
		case <-fired:
			return left
		case <-ctx.Done():
			return left
		}
	}
}

// uncommitted lists what the group does not know yet: of some partitions, nil for all.
func (a *account) uncommitted(of map[string][]int32) map[string]map[int32]kgo.EpochOffset {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*partition
	if of != nil {
		all = a.pick(of)
	} else {
		for _, p := range a.byStream {
			all = append(all, p)
		}
	}
	out := map[string]map[int32]kgo.EpochOffset{}
	for _, p := range all {
		if p.settled > p.committed {
			if out[p.topic] == nil {
				out[p.topic] = map[int32]kgo.EpochOffset{}
			}
			out[p.topic][p.number] = kgo.EpochOffset{Epoch: -1, Offset: p.settled}
		}
	}
	return out
}

// known notes what the group knows by now.
func (a *account) known(offsets map[string]map[int32]kgo.EpochOffset) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for topic, of := range offsets {
		for n, o := range of {
			if p := a.find(topic, n); p != nil {
				p.committed = max(p.committed, o.Offset)
			}
		}
	}
	close(a.told)
	a.told = make(chan struct{})
}

// heard waits until the group knows all that is settled, but not for long: a broker that is away must not hold up the flow.
func (a *account) heard(ctx context.Context, clock penstock.Clock) {
	var fired <-chan time.Time
	for {
		a.mu.Lock()
		behind := false
		for _, p := range a.byStream {
			behind = behind || p.settled > p.committed
		}
		told, leaving := a.told, a.leaving
		a.mu.Unlock()
		if !behind || leaving {
			return
		}
		if fired == nil {
			var stop func()
			fired, stop = clock.NewTimer(heardWithin)
			defer stop()
		}
		select {
		case <-told:
		case <-fired:
			return
		case <-ctx.Done():
			return
		}
	}
}

const (
	// commitEvery is the least time between two commits: what isn't committed when the process dies is read again by the next.
	commitEvery = 20 * time.Millisecond
	// heardWithin is how long a Settle waits for a commit.
	heardWithin = 250 * time.Millisecond
)

// commits tells the group again and again how far it is, until ctx ends.
func (s *source) commits(ctx context.Context) {
	pause := commitEvery
	for {
		select {
		case <-s.parts.dirty:
		case <-ctx.Done():
			return
		}
		err := s.commit(ctx, nil)
		switch {
		case err == nil:
			pause = commitEvery
		case ctx.Err() != nil:
			return
		default:
			if !passing(err) {
				s.parts.fail(err)
				s.interrupt()
				return
			}
			s.env.Logger.Debug("the group could not be told how far the flow is; trying again", "group", s.group, "error", err.Error())
			s.parts.mu.Lock()
			s.parts.signal()
			s.parts.mu.Unlock()
			pause = min(2*pause, 5*time.Second)
		}
		fired, stop := s.env.Clock.NewTimer(pause)
		select {
		case <-fired:
		case <-ctx.Done():
			stop()
			return
		}
	}
}

// passing says that an error of a commit may pass by itself: the broker is away, or the group is just sharing out its partitions anew.
func passing(err error) bool {
	code := penstock.CodeOf(err)
	return code.Transient() || code == penstock.Conflict || code == penstock.Internal || code == penstock.Cancelled
}

// commit tells the group how far some partitions are, nil for all.
func (s *source) commit(ctx context.Context, of map[string][]int32) error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	offsets := s.parts.uncommitted(of)
	if len(offsets) == 0 {
		return nil
	}
	var failed error
	s.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			failed = err
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					failed = err
					delete(offsets[t.Topic], p.Partition)
				}
			}
		}
	})
	if failed == nil || !errors.Is(failed, context.Canceled) {
		s.parts.known(offsetsIf(failed, offsets))
	}
	if failed != nil {
		return s.cluster.failure(failed)
	}
	return nil
}

// offsetsIf gives those offsets that were committed for sure: after an error that speaks of some partitions, the others; after any other error none.
func offsetsIf(failed error, offsets map[string]map[int32]kgo.EpochOffset) map[string]map[int32]kgo.EpochOffset {
	if failed == nil {
		return offsets
	}
	return nil
}

// revoked is told that partitions go to other members: what is in the flow of them is done first, so that it is not done twice.
func (s *source) revoked(ctx context.Context, _ *kgo.Client, named map[string][]int32) {
	if len(named) == 0 {
		return
	}
	if left := s.parts.drain(ctx, s.env.Clock, named, s.config.Drain.Std()); left > 0 && !s.closing() {
		s.env.Logger.Warn("partitions go to another member of the group before everything that was read of them is done; it will be read again there", "group", s.group, "messages", left,
			"hint", "raise `drain`, or make the flow quicker")
	}
	bounded, cancel := context.WithTimeout(ctx, s.cluster.patience())
	defer cancel()
	if err := s.commit(bounded, named); err != nil {
		s.env.Logger.Warn("the group could not be told how far the partitions are that go to another member; messages may be read again there", "group", s.group, "error", err.Error())
	}
	if s.forget(named) {
		s.interrupt()
	}
}

// forgotten is told that partitions were lost: the group thought this member dead. Others read them already.
func (s *source) forgotten(_ context.Context, _ *kgo.Client, named map[string][]int32) {
	if len(named) > 0 && !s.closing() {
		s.env.Logger.Warn("the group has given this member's partitions to others, since it heard nothing of it; what is not committed is read again there", "group", s.group)
	}
	if s.forget(named) {
		s.interrupt()
	}
}

// forget drops partitions. It says whether messages of theirs are in a transaction, which then must not be committed.
func (s *source) forget(named map[string][]int32) (deprived bool) {
	s.parts.mu.Lock()
	defer s.parts.mu.Unlock()
	for _, p := range s.parts.pick(named) {
		if s.transacts() && !p.done() {
			s.parts.lost = true
		}
		s.parts.drop(p)
	}
	return s.parts.lost
}

func (s *source) closing() bool {
	s.parts.mu.Lock()
	defer s.parts.mu.Unlock()
	return s.parts.leaving
}
