package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"penstock.dev/penstock"
)

// producer is the one client that all sinks of a flow write with which runs in transactions: a transaction is a client's.
type producer struct {
	cluster *cluster

	mu       sync.Mutex
	sinks    int    // that are open
	group    string // of the flow's source
	instance string // … and its member, if that has a name
	id       string // the transactional id
	how      how
	client   *kgo.Client
	old      bool // the cluster's transactions are those before KIP-890: offsets are announced

	limitsMu sync.Mutex
	limits   map[string]int32 // of batches, by topic
}

// how is how it writes: what its sinks say, taken together.
type how struct {
	compression string            // of the first that wants any
	linger      penstock.Duration // the shortest
	timeout     penstock.Duration // the longest
	most        penstock.Size     // the largest
	lasts       penstock.Duration // the longest
}

// writes notes what a sink wants.
func (p *producer) writes(c *SinkConfig, env penstock.Env) error {
	id, err := fixed(c.Transaction.ID, env)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if id != "" && p.id != "" && id != p.id {
		return wrong(c.Transaction.ID.Pos.String(), fmt.Sprintf("the sinks of a transaction write with one producer, whose transaction.id can't be both %s and %s", p.id, id), "say it at one of them")
	}
	if id != "" {
		p.id = id
	}
	h := &p.how
	if h.lasts == 0 {
		*h = how{c.Compression, c.Linger, c.Timeout, c.MaxMessage, c.Transaction.Timeout}
	}
	if h.compression == "none" {
		h.compression = c.Compression
	}
	h.linger, h.timeout, h.most, h.lasts = min(h.linger, c.Linger), max(h.timeout, c.Timeout), max(h.most, c.MaxMessage), max(h.lasts, c.Transaction.Timeout)
	return nil
}

// producerOf gives the producer of the transaction that an endpoint is part of, made at first use.
func producerOf(c *cluster, env penstock.Env) (*producer, error) {
	v, err := env.Shared("kafka transaction "+c.name+" "+env.Transaction, func() (any, error) { return &producer{cluster: c, limits: map[string]int32{}}, nil })
	if err != nil {
		return nil, err
	}
	return v.(*producer), nil
}

// Close ends the client, at the end of the run.
func (p *producer) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reset()
	return nil
}

// reset gives up the client; the next use makes another.
func (p *producer) reset() {
	if p.client != nil {
		p.client.Close()
		p.client = nil
	}
}

// reads notes who reads in the transaction.
func (p *producer) reads(group, instance string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.group, p.instance = group, instance
}

// open takes a sink in. The transactional id is taken up at once, so that what a process has left open that was killed is undone before anybody waits for it.
func (p *producer) open(ctx context.Context, env penstock.Env) (*kgo.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.id == "" {
		p.id = p.defaultID(env)
	}
	cl, err := p.connected(ctx)
	if err != nil {
		return nil, err
	}
	p.sinks++
	return cl, nil
}

// defaultID is the transactional id where none is said: of the group's member, if that has a name, else of the group on this machine.
func (p *producer) defaultID(env penstock.Env) string {
	id := "penstock-" + env.Transaction
	if p.group != "" {
		id = p.group + "-" + env.Transaction
	}
	switch host, err := os.Hostname(); {
	case p.instance != "":
		return id + "-" + p.instance
	case err == nil:
		return id + "-" + host
	}
	return id
}

// connected gives the client, with a producer id. p.mu is held.
func (p *producer) connected(ctx context.Context) (*kgo.Client, error) {
	if p.client != nil {
		return p.client, nil
	}
	opts, err := p.cluster.options()
	if err != nil {
		return nil, err
	}
	opts = append(opts, kgo.TransactionalID(p.id), kgo.TransactionTimeout(p.how.lasts.Std()), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(codecs[p.how.compression]),
		kgo.ProducerLinger(p.how.linger.Std()), kgo.ProducerBatchMaxBytesFn(p.limit), kgo.BrokerMaxWriteBytes(1<<30), kgo.MaxBufferedRecords(1<<20),
		kgo.UnknownTopicRetries(4), kgo.MetadataMinAge(250*time.Millisecond))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, wrong(p.cluster.name, err.Error(), "")
	}
	if err := p.begun(ctx, cl); err != nil {
		abandon(cl)
		return nil, err
	}
	p.client = cl
	return cl, nil
}

// begun takes up the transactional id, and learns what kind of transactions the cluster has.
func (p *producer) begun(ctx context.Context, cl *kgo.Client) error {
	if err := p.cluster.reach(ctx, cl); err != nil {
		return err
	}
	err := p.cluster.persist(ctx, func(ctx context.Context) error {
		_, _, err := cl.ProducerID(ctx)
		return err
	})
	if err != nil {
		return err
	}
	var can *kmsg.ApiVersionsResponse
	err = p.cluster.persist(ctx, func(ctx context.Context) (err error) {
		can, err = kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, cl)
		return err
	})
	if err != nil {
		return err
	}
	p.old = true
	for _, f := range can.FinalizedFeatures {
		if f.Name == "transaction.version" && f.MaxVersionLevel >= 2 {
			p.old = false
		}
	}
	return nil
}

func (p *producer) limit(topic string) int32 {
	p.limitsMu.Lock()
	defer p.limitsMu.Unlock()
	own := int32(min(int64(p.how.most), 1<<30))
	if n, ok := p.limits[topic]; ok {
		return min(n, own)
	}
	return own
}

func (p *producer) limitTo(topic string, n int32) {
	p.limitsMu.Lock()
	defer p.limitsMu.Unlock()
	p.limits[topic] = n
}

// close lets a sink go.
func (p *producer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sinks--; p.sinks == 0 {
		p.reset()
	}
}

// transaction is one of a producer.
type transaction struct {
	p       *producer
	client  *kgo.Client
	pending sync.WaitGroup // records on their way
	moves   []move

	mu     sync.Mutex
	wrote  bool
	failed error // of a record: the transaction is doomed
}

// move is how far a source is done.
type move struct {
	from *source
	at   []penstock.Position
}

var (
	_ penstock.Transactor = (*sink)(nil)
	_ penstock.Tx         = (*transaction)(nil)
)

// Begin implements penstock.Transactor.
func (s *sink) Begin(ctx context.Context) (penstock.Tx, error) {
	if s.producer == nil {
		return nil, penstock.E(penstock.Internal, "kafka", s.env.Name, "the sink is in no transaction")
	}
	p := s.producer
	p.mu.Lock()
	defer p.mu.Unlock()
	for again := false; ; again = true {
		cl, err := p.connected(ctx)
		if err != nil {
			return nil, err
		}
		err = cl.BeginTransaction()
		if err == nil {
			return &transaction{p: p, client: cl}, nil
		}
		p.reset() // its producer id is spent; another client takes up another
		if again {
			return nil, p.cluster.failure(err)
		}
	}
}

// Write implements penstock.Tx: messages are on their way when it returns, and Commit waits for them.
func (t *transaction) Write(_ context.Context, to penstock.Sink, b *penstock.Batch) error {
	s, ok := to.(*sink)
	if !ok || s.producer != t.p {
		return penstock.E(penstock.Internal, "kafka", t.p.id, "the sink is not of this transaction")
	}
	if err := t.failure(); err != nil {
		return err
	}
	w := newWriting()
	var bad map[int]error
	for i, m := range b.Msgs {
		sl := w.slot(i)
		err := s.record(w, sl, b, m)
		if err == nil {
			err = s.fits(&sl.record)
		}
		if err != nil {
			if bad == nil {
				bad = map[int]error{}
			}
			bad[i], sl.skip = err, true
		}
	}
	for i := range b.Msgs {
		if sl := w.slots[i]; !sl.skip {
			t.pending.Add(1)
			t.client.Produce(context.Background(), &sl.record, t.arrived)
		}
	}
	t.mu.Lock()
	t.wrote = t.wrote || len(bad) < len(b.Msgs)
	t.mu.Unlock()
	if bad != nil {
		return &penstock.BatchError{Errs: bad}
	}
	return nil
}

// fits refuses what is too large for its topic.
func (s *sink) fits(r *kgo.Record) error {
	n := len(r.Key) + len(r.Value) + recordOverhead
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 8
	}
	if int64(n) <= int64(s.producer.limit(r.Topic)) {
		return nil
	}
	return s.cluster.failure(kerr.MessageTooLarge)
}

// arrived is told what became of a record.
func (t *transaction) arrived(_ *kgo.Record, err error) {
	if err != nil && !errors.Is(err, kgo.ErrAborting) {
		t.mu.Lock()
		if t.failed == nil {
			t.failed = err
		}
		t.mu.Unlock()
	}
	t.pending.Done()
}

func (t *transaction) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.p.cluster.failure(t.failed)
}

// Positions implements penstock.Tx.
func (t *transaction) Positions(_ context.Context, from penstock.Source, at []penstock.Position) error {
	s, ok := from.(*source)
	if !ok || !s.transacts() {
		return penstock.E(penstock.Internal, "kafka", t.p.id, "the source is not of this transaction")
	}
	t.moves = append(t.moves, move{s, append([]penstock.Position(nil), at...)})
	return nil
}

// Commit implements penstock.Tx.
func (t *transaction) Commit(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, t.p.how.timeout.Std())
	err := t.client.Flush(bounded)
	cancel()
	if err != nil {
		return t.p.cluster.failure(err)
	}
	t.pending.Wait()
	if err := t.failure(); err != nil {
		return err
	}
	for _, m := range t.moves {
		if err := t.commitPositions(ctx, m); err != nil {
			return err
		}
	}
	if err := t.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return t.p.ended(err)
	}
	for _, m := range t.moves {
		m.from.transacted(m.at)
	}
	return nil
}

// commitPositions makes how far a source is a part of the transaction; where nothing was written there is none, and the group is told by itself.
func (t *transaction) commitPositions(ctx context.Context, m move) error {
	// Before the look at what is still ours: whoever gets a partition afterwards gets it in a later generation, and the broker refuses this one.
	member, generation := m.from.client.GroupMetadata()
	offsets, err := m.from.offsetsOf(m.at)
	if err != nil {
		return err
	}
	if !t.wrote {
		return m.from.commitNow(ctx, offsets)
	}
	id, epoch, err := t.client.ProducerID(ctx)
	if err != nil {
		return t.p.cluster.failure(err)
	}
	if t.p.old {
		if err := t.announce(ctx, id, epoch, m.from.group); err != nil {
			return t.p.ended(err)
		}
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = t.p.id, m.from.group, id, epoch
	req.Generation, req.MemberID = generation, member
	if m.from.instance != "" {
		req.InstanceID = &m.from.instance
	}
	for topic, of := range offsets {
		rt := kmsg.NewTxnOffsetCommitRequestTopic()
		rt.Topic = topic
		for n, o := range of {
			rt.TopicID = o.id
			rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch = n, o.offset, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	}
	return t.again(ctx, func() error {
		resp, err := req.RequestWith(ctx, t.client)
		if err != nil {
			return err
		}
		for _, rt := range resp.Topics {
			for _, rp := range rt.Partitions {
				if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// announce makes the group's offsets a part of the transaction.
func (t *transaction) announce(ctx context.Context, id int64, epoch int16, group string) error {
	return t.again(ctx, func() error {
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = t.p.id, id, epoch, group
		resp, err := req.RequestWith(ctx, t.client)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}

// again asks until the broker is done with the transaction before.
func (t *transaction) again(ctx context.Context, ask func() error) error {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := ask()
		if !errors.Is(err, kerr.ConcurrentTransactions) && !errors.Is(err, kerr.CoordinatorLoadInProgress) {
			return t.p.ended(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return t.p.cluster.failure(err)
		}
	}
}

// ended says what an error at the end of a transaction is. Most say that it is undone, and that another may be begun.
func (p *producer) ended(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.OperationNotAttempted), errors.Is(err, kerr.TransactionAbortable), errors.Is(err, kerr.InvalidTxnState), errors.Is(err, kerr.UnknownProducerID), errors.Is(err, kerr.GroupIDNotFound),
		errors.Is(err, kerr.UnknownServerError), errors.Is(err, kerr.UnknownTopicID):
		return &penstock.Error{Code: penstock.Conflict, Op: "kafka", Path: p.cluster.name + ", transaction " + p.id, Err: err}
	}
	return p.cluster.failure(err)
}

// Abort implements penstock.Tx.
func (t *transaction) Abort(ctx context.Context) error {
	err := t.client.AbortBufferedRecords(ctx)
	if err == nil {
		t.pending.Wait()
		err = t.client.EndTransaction(ctx, kgo.TryAbort)
	}
	if err == nil {
		return nil
	}
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	if t.p.client == t.client {
		t.p.reset() // whoever takes up the transactional id next undoes what is open
	}
	if penstock.CodeOf(t.p.ended(err)).Transient() || penstock.CodeOf(t.p.ended(err)) == penstock.Conflict {
		return nil
	}
	return t.p.ended(err)
}
