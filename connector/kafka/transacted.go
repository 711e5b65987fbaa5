package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock"
)

// What a source does that is part of transactions: nobody tells it fates, and the group learns how far it is by the transaction itself.

// transacts says that the source is part of transactions.
func (s *source) transacts() bool { return s.env.Transaction != "" }

// deprived says that partitions were taken away whose messages are in a transaction that is not committed.
func (s *source) deprived() bool {
	s.parts.mu.Lock()
	defer s.parts.mu.Unlock()
	return s.parts.lost
}

// offset is one that a transaction commits.
type offset struct {
	id     [16]byte // of the topic
	offset int64
}

// offsetsOf gives what a transaction commits for positions. It refuses where a partition is no longer the one that was read.
func (s *source) offsetsOf(at []penstock.Position) (map[string]map[int32]offset, error) {
	s.parts.mu.Lock()
	defer s.parts.mu.Unlock()
	out := map[string]map[int32]offset{}
	for _, pos := range at {
		p := s.parts.byStream[pos.Stream]
		if p == nil || s.parts.lost {
			return nil, &penstock.Error{Code: penstock.Conflict, Op: "kafka", Path: s.group, Err: fmt.Errorf("the partition %s has gone to another member of the group", pos.Stream)}
		}
		if out[p.topic] == nil {
			out[p.topic] = map[int32]offset{}
		}
		out[p.topic][p.number] = offset{p.id, pos.Next}
	}
	return out, nil
}

// commitNow tells the group how far it is where nothing was written that would have to happen together with it.
func (s *source) commitNow(ctx context.Context, offsets map[string]map[int32]offset) error {
	own := map[string]map[int32]kgo.EpochOffset{}
	for topic, of := range offsets {
		own[topic] = map[int32]kgo.EpochOffset{}
		for n, o := range of {
			own[topic][n] = kgo.EpochOffset{Epoch: -1, Offset: o.offset}
		}
	}
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	var failed error
	s.client.CommitOffsetsSync(ctx, own, commitResult(&failed))
	return s.cluster.failure(failed)
}

// transacted notes what a transaction has committed.
func (s *source) transacted(at []penstock.Position) {
	s.parts.mu.Lock()
	for _, pos := range at {
		if p := s.parts.byStream[pos.Stream]; p != nil {
			p.committed = max(p.committed, pos.Next)
		}
	}
	s.parts.mu.Unlock()
	outcomes := make([]penstock.Outcome, len(at))
	for i := range at {
		outcomes[i].Pos = at[i]
	}
	s.parts.settle(outcomes)
}

// rewind goes back to where the group is, in all partitions that it has given.
func (s *source) rewind(ctx context.Context) error {
	// A poll with a context that has ended gives nothing, and holds off the group until the next word: what is asked for now stays so.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	s.client.PollRecords(ended, 1)
	defer s.client.AllowRebalance()
	bounded, cancel := context.WithTimeout(kadm.RequireStable(ctx), s.cluster.patience())
	defer cancel()
	known, err := kadm.NewClient(s.client).FetchOffsets(bounded, s.group)
	if err == nil {
		err = known.Error()
	}
	if err != nil {
		return gone(s.cluster.failure(err))
	}
	s.parts.mu.Lock()
	to := map[string]map[int32]kgo.EpochOffset{}
	for _, p := range s.parts.byStream {
		at := p.settled
		if o, ok := known.Lookup(p.topic, p.number); ok && o.At >= 0 {
			at = o.At
		}
		p.read, p.handed, p.settled, p.committed = at, at, at, at
		if to[p.topic] == nil {
			to[p.topic] = map[int32]kgo.EpochOffset{}
		}
		to[p.topic][p.number] = kgo.EpochOffset{Epoch: -1, Offset: at}
	}
	s.parts.lost = false
	s.parts.mu.Unlock()
	s.client.SetOffsets(to)
	return nil
}
