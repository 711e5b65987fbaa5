package pulsar

import (
	"errors"
	"io"
	"testing"
	"time"

	client "github.com/apache/pulsar-client-go/pulsar"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestNegativeAck: what the flow gives up on comes again, as often as is said, and those of its batch that are done do not. Then it is acknowledged.
func TestNegativeAck(t *testing.T) {
	t.Parallel()
	f := on(t, service.Pulsar(t))
	topic := f.topic(t, 0)
	f.send(t, topic, drive.Numbered(0, 3)...)
	config := SourceConfig{Topic: drive.Template(topic), Type: shared, Subscription: drive.Template("s"), NegativeAck: &NegativeAck{Delay: penstock.Duration(100 * time.Millisecond), Deliveries: 3}}
	in := f.source(t, config)
	if err := in.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := drive.Read(t, in, 3)
	drive.SettleAll(t, in, all[0], all[2])
	given := all[1]
	for i := range 3 {
		if err := in.Settle(t.Context(), []penstock.Outcome{{Pos: given.Pos, Dead: true}}); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			break
		}
		next := drive.Read(t, in, 1)
		if given = next[0]; len(next) != 1 || given.Body != all[1].Body || given.Pos != all[1].Pos {
			t.Fatalf("it came again as %+v", next)
		}
	}
	// An acknowledgement that fails while the consumer is being closed is none: the message may come again.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for r, late := in.(*reader), time.After(time.Minute); ; {
		r.mu.Lock()
		left := len(r.ledger.entries)
		r.mu.Unlock()
		if left == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d entries are not acknowledged", left)
		}
	}
	if err := in.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.env.Once = true
	in = drive.Opened(t, f.source(t, config))
	var b penstock.Batch
	if err := in.Read(t.Context(), &b); !errors.Is(err, io.EOF) {
		t.Errorf("%v, %v", err, drive.Bodies(drive.Those(t, &b)))
	}
}

// TestWhatIsNotSettledComesAgain: only what is done is acknowledged. What the flow was not done with, and what it never spoke of, comes to the next consumer, by whatever type the
// subscription is.
func TestWhatIsNotSettledComesAgain(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{exclusive, failover, shared, keyShared} {
		t.Run(kind, func(t *testing.T) {
			f := on(t, service.Pulsar(t))
			topic := f.topic(t, 0)
			for _, body := range drive.Numbered(0, 6) {
				f.send(t, topic, body) // each alone: a batch is acknowledged when all of it is done
			}
			config := SourceConfig{Topic: drive.Template(topic), Type: kind, Subscription: drive.Template("s")}
			in := f.source(t, config)
			if err := in.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			all := drive.Read(t, in, 6)
			drive.SettleAll(t, in, all[4], all[0], all[1])
			if err := in.Settle(t.Context(), []penstock.Outcome{{Pos: all[2].Pos, Err: io.ErrUnexpectedEOF}}); err != nil {
				t.Fatal(err)
			}
			if err := in.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			in = drive.Opened(t, f.source(t, config))
			rest := drive.Read(t, in, 3)
			drive.Compare(t, drive.Bodies(rest), []string{all[2].Body, all[3].Body, all[5].Body})
			drive.SettleAll(t, in, rest...)
		})
	}
}

// batched is the id of a message of a batch of so many.
type batched struct {
	client.MessageID
	size int32
}

// BatchSize implements the client's MessageID.
func (b batched) BatchSize() int32 { return b.size }

// TestGivenBack holds the account of messages that are given back: they are to come again, and their batch is done when they are.
func TestGivenBack(t *testing.T) {
	var l ledger
	p := l.part("persistent://public/default/t")
	arrive := func(i int32) (*delivery, bool) {
		id := batched{client.NewMessageID(7, 3, i, 0), 2}
		_, e, fresh := l.arrive(0, id, p)
		return &delivery{entry: e, index: i, id: id}, fresh
	}
	first, _ := arrive(0)
	second, _ := arrive(1)
	l.settled(first)
	l.givenBack(second)
	if _, fresh := arrive(0); fresh {
		t.Error("what is done is to be done again")
	}
	again, fresh := arrive(1)
	if !fresh || again.entry != first.entry {
		t.Fatal("it is not handed out again")
	}
	l.settled(again)
	if again.entry.left != 0 || len(p.open) != 0 {
		t.Errorf("%d are left, %v are open", again.entry.left, p.open)
	}
}
