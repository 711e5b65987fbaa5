package kafka

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock"
)

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// Resume implements penstock.Positioned.
func (s *source) Resume(_ context.Context, from []penstock.Position) error {
	for _, p := range from {
		s.kept[p.Stream] = p.Next
	}
	return nil
}

// begin says where reading begins in partitions that the group has given: where the group is, or the engine, whichever is later; where neither has
// been yet, where the configuration says.
func (s *source) begin(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	topics := make([]string, 0, len(offsets))
	for t := range offsets {
		topics = append(topics, t)
	}
	w, err := s.watermarks(ctx, topics)
	if err != nil {
		return nil, s.cluster.failure(err)
	}
	var fresh map[string]map[int32]int64 // where new partitions begin; asked for when needed
	var added []*partition
	for topic, of := range offsets {
		for n, o := range of {
			p := &partition{topic: topic, number: n, id: w.ids[topic], stream: streamOf(topic, n, w.ids[topic]), committed: -1}
			at := o.EpochOffset().Offset
			if at >= 0 {
				p.committed = at
			}
			if kept, ok := s.kept[p.stream]; ok && !s.transacts() {
				at = max(at, kept)
			}
			if at < 0 {
				if fresh == nil {
					if fresh, err = s.fresh(ctx, topics, w); err != nil {
						return nil, s.cluster.failure(err)
					}
				}
				var ok bool
				if at, ok = fresh[topic][n]; !ok {
					return nil, errors.New("the offsets of " + p.stream + " are not known yet")
				}
			}
			if first, ok := w.start.Lookup(topic, n); ok && first.Err == nil && at < first.Offset {
				s.env.Logger.Warn("messages have been deleted before they were read: the topic's retention is over", "topic", topic, "partition", n, "messages", first.Offset-at, "group", s.group)
				at = first.Offset
			}
			if s.env.Once {
				if end, ok := w.end.Lookup(topic, n); ok && end.Err == nil {
					p.end = end.Offset
				}
			}
			p.read, p.handed, p.settled = at, at, at
			of[n] = kgo.NewOffset().At(at)
			added = append(added, p)
		}
	}
	s.parts.mu.Lock()
	defer s.parts.mu.Unlock()
	for _, p := range added {
		s.parts.add(p)
	}
	s.parts.assigned = true
	s.parts.signal() // so that the group knows where it has begun
	return offsets, nil
}

// watermarks are what there is of topics.
type watermarks struct {
	ids        map[string][16]byte
	start, end kadm.ListedOffsets
}

func (s *source) watermarks(ctx context.Context, topics []string) (w watermarks, err error) {
	adm := kadm.NewClient(s.client)
	details, err := adm.ListTopics(ctx, topics...)
	if err != nil {
		return w, err
	}
	w.ids = map[string][16]byte{}
	for _, d := range details {
		if d.Err != nil {
			return w, d.Err
		}
		w.ids[d.Topic] = d.ID
	}
	if w.start, err = adm.ListStartOffsets(ctx, topics...); err != nil {
		return w, err
	}
	if s.config.Isolation == readUncommitted {
		w.end, err = adm.ListEndOffsets(ctx, topics...)
	} else {
		w.end, err = adm.ListCommittedOffsets(ctx, topics...)
	}
	return w, err
}

// fresh says where partitions begin that nobody of the group has read yet. A partition that was added to a topic which the group reads already begins
// with its first message, whatever the configuration says: nothing of it came before the group's first start.
func (s *source) fresh(ctx context.Context, topics []string, w watermarks) (map[string]map[int32]int64, error) {
	adm := kadm.NewClient(s.client)
	from := w.start
	switch {
	case s.config.StartTime != "":
		at, err := time.Parse(time.RFC3339, s.config.StartTime)
		if err != nil {
			return nil, err
		}
		if from, err = adm.ListOffsetsAfterMilli(ctx, max(at.UnixMilli(), 0), topics...); err != nil {
			return nil, err
		}
	case s.config.Start == startLatest:
		var err error
		if from, err = adm.ListEndOffsets(ctx, topics...); err != nil {
			return nil, err
		}
	}
	out := map[string]map[int32]int64{}
	add := func(l kadm.ListedOffsets, topic string) {
		l.Each(func(o kadm.ListedOffset) {
			if o.Err == nil && o.Topic == topic {
				if out[topic] == nil {
					out[topic] = map[int32]int64{}
				}
				out[topic][o.Partition] = o.Offset
			}
		})
	}
	var known kadm.OffsetResponses
	if s.config.StartTime != "" || s.config.Start == startLatest {
		var err error
		if known, err = adm.FetchOffsets(ctx, s.group); err != nil {
			return nil, err
		}
	}
	for _, t := range topics {
		add(from, t)
		if len(known[t]) > 0 {
			add(w.start, t) // it was read before: what is not known is new
			for n, o := range known[t] {
				if o.Err == nil && o.At >= 0 {
					out[t][n] = o.At // another member has just said where the group begins
				}
			}
		}
	}
	if s.config.StartTime == "" && s.config.Start != startLatest {
		return out, nil
	}
	return out, s.pin(ctx, out, known)
}

// pin tells the group where it begins in all partitions of topics that it has not read before, also in those that other members have: whoever asks later then knows that a
// partition which is not among them is new.
func (s *source) pin(ctx context.Context, begin map[string]map[int32]int64, known kadm.OffsetResponses) error {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for topic, of := range begin {
		if len(known[topic]) > 0 {
			continue
		}
		offsets[topic] = map[int32]kgo.EpochOffset{}
		for n, at := range of {
			offsets[topic][n] = kgo.EpochOffset{Epoch: -1, Offset: at}
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	var failed error
	s.client.CommitOffsetsSync(ctx, offsets, commitResult(&failed))
	return failed
}
