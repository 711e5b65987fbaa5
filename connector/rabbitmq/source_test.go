package rabbitmq

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
)

// left is what a queue holds, in the end: what was not acknowledged comes back when the channel is closed, which the server sees in its own time.
func (f *fixture) left(t testing.TB, queue string, want int) {
	t.Helper()
	ch := f.channel(t)
	defer func() { _ = ch.Close() }()
	var q amqp.Queue
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		var err error
		if q, err = ch.QueueDeclarePassive(queue, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		if q.Messages == want && q.Consumers == 0 {
			return
		}
		pause()
	}
	t.Fatalf("%d messages and %d consumers are there, want %d messages", q.Messages, q.Consumers, want)
}

// pause waits a little for what gives no sign.
func pause() {
	timer := time.NewTimer(5 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
}

func TestWhatIsNotSettledComesAgain(t *testing.T) {
	for _, kind := range []string{typeClassic, typeQuorum} {
		for _, mode := range []string{"push", modePull} {
			t.Run(kind+" "+mode, func(t *testing.T) {
				f := onServer(t)
				q := f.declare(t, kind, nil)
				f.put(t, q, "0", "1", "2", "3", "4", "5")
				s := drive.Opened(t, f.source(t, q, SourceConfig{Mode: mode, Every: 1}))
				ms := drive.Some(t, s, 6)
				drive.Settle(t, s, ms[4], ms[0], ms[1])
				if err := s.Settle(t.Context(), []penstock.Outcome{{Pos: ms[2].Pos, Err: errors.New("the run stops")}}); err != nil {
					t.Fatal(err)
				}
				drive.Closed(t, s)
				f.left(t, q, 3)
				s = drive.Opened(t, f.source(t, q, SourceConfig{}))
				for i, m := range drive.Some(t, s, 3) {
					if got, want := conform.Text(t, m.Body), []string{"2", "3", "5"}[i]; got != want || !m.Meta.Get("redelivered").Bool() {
						t.Errorf("%s, redelivered %v; want %s", got, m.Meta.Get("redelivered"), want)
					}
					if n := m.Meta.Get("x-delivery-count"); kind == typeQuorum && n.Int() != 1 {
						t.Errorf("it counts as delivered %v times before", n)
					}
					drive.Settle(t, s, m)
				}
				drive.Closed(t, s)
				f.left(t, q, 0)
			})
		}
	}
}

// TestSettlingAfterTheChannelWasLost: what was read before belongs to nobody any more, and must not be taken for what has come since.
func TestSettlingAfterTheChannelWasLost(t *testing.T) {
	f := onServer(t)
	q := f.declare(t, typeClassic, nil)
	f.put(t, q, "0", "1", "2")
	s := drive.Opened(t, f.source(t, q, SourceConfig{}))
	old := drive.Some(t, s, 3)
	if err := s.Open(t.Context()); err != nil { // as after ErrDisconnected
		t.Fatal(err)
	}
	again := drive.Some(t, s, 3)
	drive.Settle(t, s, old...)
	drive.Settle(t, s, again[0])
	drive.Closed(t, s)
	f.left(t, q, 2)
}

func TestPrefetchHoldsTheServerBack(t *testing.T) {
	f := onServer(t)
	q := f.declare(t, typeQuorum, nil)
	f.put(t, q, strings.Split(strings.Repeat("1 ", 100)+"1", " ")...)
	s := drive.Opened(t, f.source(t, q, SourceConfig{Prefetch: 10}))
	ms := drive.Some(t, s, 10)
	ch := f.channel(t)
	if info, err := ch.QueueDeclarePassive(q, true, false, false, false, nil); err != nil || info.Messages != 91 {
		t.Errorf("%d messages are left in the queue, %v", info.Messages, err)
	}
	drive.Settle(t, s, ms[:4]...)
	if ms = drive.Some(t, s, 4); len(ms) != 4 {
		t.Errorf("%d came for 4 that were settled", len(ms))
	}
}

func TestWhatCannotBeReadFailsAlone(t *testing.T) {
	f := onServer(t)
	q := f.declare(t, typeClassic, nil)
	f.put(t, q, `{"a":1}`, `{"a":`, "\xff\xfe", "", `{"a":2}`)
	ms := drive.Some(t, drive.Opened(t, f.source(t, q, SourceConfig{})), 5)
	for i, want := range []string{`{"a":1}`, "", "", "null", `{"a":2}`} {
		if want == "" {
			continue // it fails where it is read: see the engine
		}
		if got := conform.Text(t, ms[i].Body); got != want {
			t.Errorf("message %d is %s", i, got)
		}
	}
}

// TestTheQueuesOwnDeadLetters: what the flow gives up on, the queue's dead-letter exchange gets, where it is said so.
func TestTheQueuesOwnDeadLetters(t *testing.T) {
	f := onServer(t)
	for _, c := range []struct {
		dead string
		want int
	}{{"settle", 0}, {deadReject, 2}} {
		t.Run(c.dead, func(t *testing.T) {
			dead := f.declare(t, typeClassic, nil)
			q := f.declare(t, typeQuorum, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
			f.put(t, q, "0", "1", "2", "3")
			s := drive.Opened(t, f.source(t, q, SourceConfig{Dead: c.dead}))
			var o []penstock.Outcome
			for i, m := range drive.Some(t, s, 4) {
				o = append(o, penstock.Outcome{Pos: m.Pos, Dead: i%2 == 1})
			}
			if err := s.Settle(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			drive.Closed(t, s)
			f.left(t, q, 0)
			f.left(t, dead, c.want)
			s = drive.Opened(t, f.source(t, dead, SourceConfig{}))
			if c.want == 0 {
				return
			}
			for i, m := range drive.Some(t, s, c.want) {
				death := m.Meta.Get("x-death").String()
				if got := conform.Text(t, m.Body); got != fmt.Sprint(2*i+1) || !strings.Contains(death, `"reason":"rejected"`) || !strings.Contains(death, q) {
					t.Errorf("%s, x-death %s", got, death)
				}
			}
		})
	}
}

func TestExclusive(t *testing.T) {
	f, other := onServer(t), onServer(t)
	q := f.declare(t, typeClassic, nil)
	s := drive.Opened(t, f.source(t, q, SourceConfig{Exclusive: true}))
	err := other.source(t, q, SourceConfig{}).Open(t.Context())
	drive.Code(t, err, penstock.Conflict, "singleActiveConsumer")
	drive.Closed(t, s)
	f.left(t, q, 0)
	drive.Opened(t, other.source(t, q, SourceConfig{}))
}

func TestPriorityOfConsumers(t *testing.T) {
	f := onServer(t)
	q := f.declare(t, typeClassic, nil)
	low := drive.Opened(t, f.source(t, q, SourceConfig{}))
	high := drive.Opened(t, f.source(t, q, SourceConfig{Priority: 5, Prefetch: 3}))
	f.put(t, q, "0", "1", "2", "3", "4")
	if got := drive.Some(t, high, 3); len(got) != 3 {
		t.Error(len(got))
	}
	if got := drive.Some(t, low, 2); conform.Text(t, got[0].Body) != "3" {
		t.Error(len(got))
	}
}

// TestSingleActiveConsumer: another takes over, and has what the first had not settled.
func TestSingleActiveConsumer(t *testing.T) {
	f := onServer(t)
	c := SourceConfig{Declare: &QueueConfig{SingleActiveConsumer: true}}
	q := unique(t)
	first, second := drive.Opened(t, f.source(t, q, c)), drive.Opened(t, f.source(t, q, c))
	t.Cleanup(func() { _, _ = f.channel(t).QueueDelete(q, false, false, false) })
	f.put(t, q, "0", "1", "2")
	ms := drive.Some(t, first, 3)
	drive.Settle(t, first, ms[0])
	drive.Closed(t, first)
	if got := drive.Some(t, second, 2); conform.Text(t, got[0].Body) != "1" || conform.Text(t, got[1].Body) != "2" {
		t.Error("the second has not taken over where the first was")
	}
}

// TestTheServerEndsTheReading: the queue is deleted, and made again.
func TestTheServerEndsTheReading(t *testing.T) {
	for _, kind := range []string{typeClassic, typeQuorum, typeStream} {
		t.Run(kind, func(t *testing.T) {
			f := onServer(t)
			q := f.declare(t, kind, nil)
			f.put(t, q, "0")
			c := SourceConfig{}
			if kind == typeStream {
				c.Stream = &StreamConfig{}
			}
			s := drive.Opened(t, f.source(t, q, c))
			drive.Some(t, s, 1)
			ch := f.channel(t)
			if _, err := ch.QueueDelete(q, false, false, false); err != nil {
				t.Fatal(err)
			}
			err := s.Read(t.Context(), new(penstock.Batch))
			if !errors.Is(err, penstock.ErrDisconnected) {
				t.Fatalf("Read: %v", err)
			}
			drive.Code(t, s.Open(t.Context()), penstock.NotFound, q, "declare")
			if _, err := ch.QueueDeclare(q, true, false, false, false, amqp.Table{"x-queue-type": kind}); err != nil {
				t.Fatal(err)
			}
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestWhereAStreamBegins(t *testing.T) {
	f := onServer(t)
	q := f.declare(t, typeStream, nil)
	f.put(t, q, "0", "1", "2")
	f.put(t, q, "3")
	for offset, want := range map[string]string{"": "0", "first": "0", "1": "1", "3": "3", "1h": "0", "2020-01-01T00:00:00Z": "0"} {
		s := drive.Opened(t, f.source(t, q, SourceConfig{Stream: &StreamConfig{Offset: text(offset)}}))
		m := drive.Some(t, s, 1)[0]
		if got := conform.Text(t, m.Body); got != want || fmt.Sprint(m.Pos.Offset) != want || m.Pos.Stream != q {
			t.Errorf("%q: the first is %s, at %d", offset, got, m.Pos.Offset)
		}
	}
	s := drive.Opened(t, f.source(t, q, SourceConfig{Stream: &StreamConfig{Offset: text("next")}}))
	f.put(t, q, "4")
	if got := conform.Text(t, drive.Some(t, s, 1)[0].Body); got != "4" {
		t.Errorf("next: %s", got)
	}
	for _, bad := range []string{"-1", "soon", "-5m"} {
		c := SourceConfig{Connection: f.ref, Queue: text(q), Format: drive.JSON(t), Stream: &StreamConfig{Offset: text(bad)}}
		if len(c.Validate()) != 1 {
			t.Errorf("offset %q is not refused at check", bad)
		}
		_, err := newSource(c, f.env)
		drive.Code(t, err, penstock.Config, "none of first")
	}
}

// TestAStreamNeedsSettling: what is settled is what the server sends more for.
func TestAStreamNeedsSettling(t *testing.T) {
	f := onServer(t)
	q := f.declare(t, typeStream, nil)
	var all []string
	for i := range 500 {
		all = append(all, fmt.Sprint(i))
	}
	f.put(t, q, all...)
	s := drive.Opened(t, f.source(t, q, SourceConfig{Stream: &StreamConfig{}, Prefetch: 20}))
	for n := 0; n < 500; {
		ms := drive.Next(t, s).Msgs
		n += len(ms)
		drive.Settle(t, s, ms[len(ms)-1]) // it speaks for those before it
	}
}

func TestSourceConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		config SourceConfig
		want   []string
	}{
		{SourceConfig{}, nil},
		{SourceConfig{Mode: modePull, Exclusive: true, Priority: 1}, []string{"`exclusive`", "`priority`"}},
		{SourceConfig{Stream: &StreamConfig{}, Mode: modePull, Exclusive: true, Dead: deadReject}, []string{"only be pushed", "`exclusive`", "dead: reject", "`exclusive`"}},
		{SourceConfig{Declare: &QueueConfig{Type: typeStream}}, []string{"say `stream: {}`"}},
		{SourceConfig{Declare: &QueueConfig{}, Stream: &StreamConfig{}}, []string{"say `type: stream`"}},
		{SourceConfig{Declare: &QueueConfig{Type: typeStream, TTL: penstock.Duration(time.Hour)}, Stream: &StreamConfig{Offset: text("${params.from}")}}, nil},
	} {
		errs := c.config.Validate()
		ok := len(errs) == len(c.want)
		for i := range min(len(errs), len(c.want)) {
			ok = ok && strings.Contains(errs[i].Error(), c.want[i])
		}
		if !ok {
			t.Errorf("%+v: %v, want %q", c.config, errs, c.want)
		}
	}
	if s := (&SourceConfig{Stream: &StreamConfig{}}); s.NeedsState() == "" || (&SourceConfig{}).NeedsState() != "" {
		t.Error("a stream needs a run that keeps state, and a queue does not")
	}
}
