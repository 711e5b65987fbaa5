package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"penstock.dev/penstock"
)

// source reads topics as a member of a group. What the group does with partitions is in partitions.go, where reading begins in positions.go, and
// how a record becomes a message in record.go.
type source struct {
	config  SourceConfig
	env     penstock.Env
	cluster *cluster
	group   string
	// instance is this member's own name, if it has one.
	instance string
	topics   []string
	reader   reader
	most     int // messages of a Read

	kept map[string]int64 // what the engine has kept, by stream

	client   *kgo.Client
	opened   bool // once, at least
	parts    account
	commitMu sync.Mutex
	stop     context.CancelFunc // ends the committing goroutine
	working  sync.WaitGroup
	failed   error       // told by the next Read, after what was read before it
	held     kgo.Fetches // what could not be read yet

	mu      sync.Mutex
	unblock context.CancelFunc // ends the Read that waits
}

var (
	_ penstock.Source     = (*source)(nil)
	_ penstock.Positioned = (*source)(nil)
	_ penstock.Forgetter  = (*source)(nil)
	_ penstock.Resolver   = (*SourceConfig)(nil)
	_ penstock.Overlapper = (*SourceConfig)(nil)
)

// readMessages is how many messages a Read gives at most, where the sinks have no measure of their own.
const readMessages = 512

func newSource(c SourceConfig, env penstock.Env) (penstock.Source, error) {
	cl, err := clusterOf(c.Connection, env)
	if err != nil {
		return nil, err
	}
	s := &source{config: c, env: env, cluster: cl, most: env.Batch, kept: map[string]int64{}}
	if s.most == 0 {
		s.most = readMessages
	}
	if s.group, err = fixed(c.Group, env); err != nil {
		return nil, err
	}
	if s.group == "" {
		s.group = flowOf(env)
	}
	if s.instance, err = fixed(c.InstanceID, env); err != nil {
		return nil, err
	}
	if env.Transaction != "" {
		p, err := producerOf(cl, env)
		if err != nil {
			return nil, err
		}
		p.reads(s.group, s.instance)
	}
	for _, t := range c.names() {
		name, err := fixed(t, env)
		if err != nil {
			return nil, err
		}
		if err := checkTopic(name); err != nil {
			return nil, wrong(t.Pos.String(), err.Error(), "")
		}
		s.topics = append(s.topics, name)
	}
	cl.broken = func(err error) {
		s.parts.fail(err)
		s.interrupt()
	}
	if err := s.reader.init(&s.config); err != nil {
		return nil, err
	}
	s.parts.init()
	return s, nil
}

// Open implements penstock.Source. Opened again, it begins anew as a member of the group; in a transaction, where it can, it only goes back to where the last
// one was committed.
func (s *source) Open(ctx context.Context) error {
	if s.transacts() && s.client != nil && s.failed == nil && s.parts.failure() == nil {
		return s.rewind(ctx)
	}
	s.leave(ctx)
	opts, err := s.options()
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return wrong(s.env.Name, err.Error(), "")
	}
	s.parts.init()
	s.client, s.failed = cl, nil
	if err := s.look(ctx); err != nil {
		s.client = nil
		abandon(cl)
		if s.opened {
			err = gone(err) // a broker that is away for long comes back
		}
		return err
	}
	s.opened = true
	var working context.Context
	working, s.stop = context.WithCancel(context.Background())
	s.working.Go(func() { s.commits(working) })
	return nil
}

func (s *source) options() ([]kgo.Opt, error) {
	opts, err := s.cluster.options()
	if err != nil {
		return nil, err
	}
	c := &s.config
	opts = append(opts, kgo.ConsumerGroup(s.group), kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(c.Session.Std()), kgo.HeartbeatInterval(max(min(3*time.Second, c.Session.Std()/3), time.Millisecond)), kgo.RebalanceTimeout(c.Drain.Std()+30*time.Second),
		kgo.OnPartitionsAssigned(s.assigned), kgo.OnPartitionsRevoked(s.revoked), kgo.OnPartitionsLost(s.forgotten), kgo.AdjustFetchOffsetsFn(s.begin),
		kgo.FetchMaxBytes(int32(c.Fetch.MaxBytes)), kgo.FetchMaxPartitionBytes(int32(c.Fetch.PartitionBytes)), kgo.FetchMinBytes(int32(c.Fetch.MinBytes)), kgo.FetchMaxWait(c.Fetch.MaxWait.Std()),
		kgo.MetadataMaxAge(c.Discover.Std()), kgo.MetadataMinAge(min(c.Discover.Std(), 250*time.Millisecond)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.WithPools(&s.reader.pool))
	if c.Isolation != readUncommitted {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if s.env.Once {
		opts = append(opts, kgo.KeepControlRecords()) // they are what a partition may end with
	}
	if s.instance != "" {
		opts = append(opts, kgo.InstanceID(s.instance))
	}
	if c.Pattern == "" {
		return append(opts, kgo.ConsumeTopics(s.topics...)), nil
	}
	return append(opts, kgo.ConsumeTopics("^(?:"+c.Pattern+")$"), kgo.ConsumeRegex(), kgo.ConsumeExcludeTopics("^__")), nil
}

// look makes sure that the cluster answers, and that the topics are there.
func (s *source) look(ctx context.Context) error {
	if err := s.cluster.reach(ctx, s.client); err != nil {
		return err
	}
	if len(s.topics) == 0 {
		return nil
	}
	return s.cluster.need(ctx, s.client, s.topics...)
}

// need makes sure that topics are there.
func (c *cluster) need(ctx context.Context, cl *kgo.Client, topics ...string) error {
	var details kadm.TopicDetails
	err := c.persist(ctx, func(ctx context.Context) (err error) {
		details, err = kadm.NewClient(cl).ListTopics(ctx, topics...)
		return err
	})
	if err != nil {
		return err
	}
	var missing []string
	for _, t := range topics {
		switch err := details[t].Err; {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			missing = append(missing, t)
		case err != nil && kerr.IsRetriable(err):
			return c.failure(err)
		case err != nil:
			e := c.failure(err)
			var known *penstock.Error
			if errors.As(e, &known) {
				known.Path = c.name + ", topic " + t
			}
			return e
		}
	}
	if len(missing) > 0 {
		return &penstock.Error{Code: penstock.Config, Op: "kafka", Path: c.name, Err: fmt.Errorf("the cluster has no topic %s, or this user may not see it", strings.Join(missing, ", ")),
			Hint: "make it: kafka-topics.sh --bootstrap-server " + c.seeds[0] + " --create --topic " + missing[0] + " --partitions 6; or check its name"}
	}
	return nil
}

// assigned is told which partitions the group has given. Where they begin is asked for afterwards.
func (s *source) assigned(_ context.Context, _ *kgo.Client, named map[string][]int32) {
	s.parts.mu.Lock()
	defer s.parts.mu.Unlock()
	s.parts.assigned = len(named) == 0
}

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	if s.client == nil {
		if s.opened { // an Open after a disconnection has failed
			return penstock.ErrDisconnected
		}
		return penstock.E(penstock.Internal, "kafka", s.env.Name, "the source is not open")
	}
	for {
		if err := s.over(); err != nil {
			return err
		}
		if s.env.Once && s.ended() {
			return io.EOF
		}
		fetches := s.held
		if fetches == nil {
			var err error
			if fetches, err = s.poll(ctx); err != nil {
				return err
			}
		}
		if s.held = fetches; !s.prepared(ctx, fetches) {
			return ctx.Err()
		}
		s.held = nil
		n := s.take(fetches, into)
		s.client.AllowRebalance()
		s.failed = s.told(fetches)
		if n > 0 {
			return nil
		}
	}
}

// prepareEvery is how often is asked for what records need to be read.
const prepareEvery = time.Second

// prepared asks for what the records need to be read, for as long as it takes: a registry that is away holds the flow up. It is false where ctx has ended first. Meanwhile
// the group may give partitions to others: their records are left out.
func (s *source) prepared(ctx context.Context, fetches kgo.Fetches) bool {
	if !s.reader.bodies.Prepares() {
		return true
	}
	said := false
	for at := fetches.RecordIter(); !at.Done(); {
		r := at.Next()
		for !r.Attrs.IsControl() {
			err := s.reader.bodies.Prepare(ctx, r.Value)
			if err == nil {
				break
			}
			if ctx.Err() == nil && !said {
				said = true
				s.env.Logger.Warn("messages can't be read now; the flow waits", "topic", r.Topic, "error", err)
			}
			s.client.AllowRebalance()
			fired, stop := s.env.Clock.NewTimer(prepareEvery)
			select {
			case <-fired:
			case <-ctx.Done():
				stop()
				return false
			}
		}
	}
	return true
}

// over is why there is nothing more to read.
func (s *source) over() error {
	if err := s.parts.failure(); err != nil {
		return err
	}
	if s.deprived() {
		return fmt.Errorf("%w: the group has given partitions to others whose messages were not committed", penstock.ErrDisconnected)
	}
	err := s.failed
	s.failed = nil
	return gone(err)
}

// onceEvery is how often a run that ends looks whether everything was read.
const onceEvery = 100 * time.Millisecond

// poll waits for records.
func (s *source) poll(ctx context.Context) (kgo.Fetches, error) {
	waiting, cancel := context.WithCancel(ctx)
	if s.env.Once {
		waiting, cancel = context.WithTimeout(ctx, onceEvery)
	}
	defer cancel()
	s.mu.Lock()
	s.unblock = cancel
	s.mu.Unlock()
	if s.parts.failure() != nil || s.deprived() {
		cancel()
	}
	fetches := s.client.PollRecords(waiting, s.most)
	if waiting.Err() == nil || fetches.NumRecords() > 0 {
		return fetches, nil
	}
	s.client.AllowRebalance()
	return nil, ctx.Err()
}

// interrupt ends a Read that waits.
func (s *source) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unblock != nil {
		s.unblock()
	}
}

// told looks for errors among what was fetched.
func (s *source) told(fetches kgo.Fetches) (failed error) {
	fetches.EachError(func(topic string, n int32, err error) {
		var loss *kgo.ErrDataLoss
		var joining *kgo.ErrGroupSession
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		case errors.As(err, &loss):
			s.env.Logger.Warn("the cluster has lost messages that were read before; reading goes on at its end of them", "topic", topic, "partition", n, "from", loss.ResetTo, "was", loss.ConsumedTo)
		case errors.Is(err, kerr.UnknownTopicID):
			// Deleted, and perhaps made anew: opened again, the source finds that one, or says that it is missing.
			failed = fmt.Errorf("%w: %w", penstock.ErrDisconnected, s.cluster.failure(err))
		case failed == nil:
			failed = s.cluster.failure(err)
			if errors.As(err, &joining) && passing(failed) {
				failed = nil // the client goes on trying to join the group
				return
			}
			var known *penstock.Error
			if errors.As(failed, &known) && topic != "" {
				known.Path += ", topic " + topic
			}
		}
	})
	return failed
}

// ended says that a run that ends has read what was there when each partition came to it.
func (s *source) ended() bool {
	s.parts.mu.Lock()
	defer s.parts.mu.Unlock()
	if !s.parts.assigned {
		return false
	}
	for _, p := range s.parts.byStream {
		if p.read < p.end {
			return false
		}
	}
	return true
}

// Settle implements penstock.Source: the group is told. Where the engine keeps the positions nobody waits for that.
func (s *source) Settle(ctx context.Context, outcomes []penstock.Outcome) error {
	s.parts.settle(outcomes)
	if !s.env.Resumes {
		s.parts.heard(ctx, s.env.Clock)
	}
	return nil
}

// Over implements penstock.Forgetter: a topic that was deleted and made anew has other streams.
func (s *source) Over() []string { return nil }

// Close implements penstock.Source. What can't be told to the group any more is read again by the next member.
func (s *source) Close(ctx context.Context) error {
	s.leave(ctx)
	return nil
}

// leaving is how long a member that leaves waits for the broker.
const leaving = 5 * time.Second

// leave commits what is done, and leaves the group.
func (s *source) leave(ctx context.Context) {
	if s.client == nil {
		return
	}
	s.parts.mu.Lock()
	s.parts.leaving = true
	close(s.parts.moved)
	s.parts.moved = make(chan struct{})
	s.parts.mu.Unlock()
	s.stop()
	s.working.Wait()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaving)
	defer cancel()
	if err := s.commit(bounded, nil); err != nil {
		s.env.Logger.Warn("the group could not be told how far the flow is; the last messages may be read again", "group", s.group, "error", err.Error())
	}
	s.client.AllowRebalance()
	if err := s.client.LeaveGroupContext(bounded); err != nil {
		s.env.Logger.Debug("the group was not told that this member leaves; it waits for it", "group", s.group, "error", err.Error())
	}
	s.client.CloseAllowingRebalance()
	s.client, s.held = nil, nil
}

// commitResult keeps the error of a commit.
func commitResult(failed *error) func(*kgo.Client, *kmsg.OffsetCommitRequest, *kmsg.OffsetCommitResponse, error) {
	return func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			*failed = err
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					*failed = err
				}
			}
		}
	}
}
