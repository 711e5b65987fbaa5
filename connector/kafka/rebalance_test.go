package kafka

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/service"
)

// ledger is what the outside knows: which messages were done, and how often.
type ledger struct {
	mu   sync.Mutex
	done map[string]int
	last map[string]int // of each key, the last message
	late int            // messages that came behind a later one of their key
}

func newLedger() *ledger { return &ledger{done: map[string]int{}, last: map[string]int{}} }

func (l *ledger) add(key, body string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[body]++
	n, err := strconv.Atoi(body)
	if before, ok := l.last[key]; err != nil || ok && n < before {
		l.late++
	}
	l.last[strings.Clone(key)] = n
}

// count gives how many were done at least once, and how many times too often.
func (l *ledger) count() (done, twice int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.done {
		done++
		twice += n - 1
	}
	return done, twice
}

// member is an engine around a source: batches are worked on for a while, several at once, and settled in order.
type member struct {
	s      penstock.Source
	ledger *ledger
	pause  func() time.Duration // how long a batch takes
}

// run runs until ctx ends, and then until everything that was read is done.
func (m *member) run(ctx context.Context, t *testing.T) {
	work := make(chan *penstock.Batch, 4)
	var settling sync.WaitGroup
	settling.Go(func() {
		for b := range work {
			timer := time.NewTimer(m.pause())
			<-timer.C
			outcomes := make([]penstock.Outcome, len(b.Msgs))
			for i, msg := range b.Msgs {
				m.ledger.add(msg.Key, conform.Text(t, msg.Body))
				outcomes[i].Pos = msg.Pos
			}
			if err := m.s.Settle(context.Background(), outcomes); err != nil {
				t.Error(err)
			}
		}
	})
	for ctx.Err() == nil {
		b := new(penstock.Batch)
		err := m.s.Read(ctx, b)
		if len(b.Msgs) > 0 {
			work <- b
		}
		if errors.Is(err, penstock.ErrDisconnected) {
			err = m.s.Open(ctx)
		}
		if err != nil && ctx.Err() == nil {
			t.Error(err)
			break
		}
	}
	close(work)
	settling.Wait()
}

// TestMembersComeAndGo: members of a group join and leave all the time, while messages are written. None is lost; and since each member finishes what it has before it gives a
// partition up, none is done twice, and those of a key keep their order. PENSTOCK_STORM=60 goes on for so many seconds.
func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	lasts := 6 * time.Second
	if text := os.Getenv("PENSTOCK_STORM"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("PENSTOCK_STORM=%q is no number of seconds", text)
		}
		lasts = time.Duration(seconds) * time.Second
	}
	server := service.Kafka(t)
	topic := service.KafkaName(t)
	server.Topic(t, topic, 6)
	l := newLedger()
	ctx, stop := context.WithTimeout(t.Context(), lasts)
	defer stop()
	var all sync.WaitGroup
	written := 0
	all.Go(func() {
		cl := server.Client(t)
		for ctx.Err() == nil {
			var records []*kgo.Record
			for range 20 {
				records = append(records, &kgo.Record{Topic: topic, Key: []byte(strconv.Itoa(written % 50)), Value: []byte(strconv.Itoa(written))})
				written++
			}
			if err := cl.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
				t.Error(err)
				return
			}
			pause(ctx, 5*time.Millisecond)
		}
	})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	joined := make([]int, 4)
	for slot := range joined {
		all.Go(func() {
			dice := rand.New(rand.NewPCG(seed, uint64(slot)))
			for ctx.Err() == nil {
				m := newMember(t, sourceConfig(connection(server.Brokers()), topic, topic), l, func() time.Duration { return time.Duration(rand.IntN(20)) * time.Millisecond })
				joined[slot]++
				stay, leave := context.WithTimeout(ctx, time.Duration(200+dice.IntN(1500))*time.Millisecond)
				m.run(stay, t)
				leave()
				if err := m.s.Close(context.Background()); err != nil {
					t.Error(err)
				}
				pause(ctx, time.Duration(dice.IntN(500))*time.Millisecond)
			}
		})
	}
	all.Wait()
	finish(t, server, topic, l, written)
	done, twice := l.count()
	t.Logf("%d messages, members joined %v times, %d done twice", done, joined, twice)
	if done != written {
		t.Errorf("%d of %d messages were done", done, written)
	}
	if twice > 0 || l.late > 0 {
		t.Errorf("%d messages were done twice, %d behind a later one of their key", twice, l.late)
	}
}

func newMember(t *testing.T, c SourceConfig, l *ledger, took func() time.Duration) *member {
	t.Helper()
	s, err := newSource(c, environment(t))
	if err == nil {
		err = s.Open(within(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	return &member{s: s, ledger: l, pause: took}
}

// finish reads what nobody has read yet.
func finish(t *testing.T, server *service.KafkaServer, topic string, l *ledger, written int) {
	t.Helper()
	m := newMember(t, sourceConfig(connection(server.Brokers()), topic, topic), l, func() time.Duration { return 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if done, _ := l.count(); done >= written {
				return
			}
			pause(ctx, 10*time.Millisecond)
		}
	}()
	m.run(ctx, t)
	if err := m.s.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// pause lets time pass that the broker needs.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
