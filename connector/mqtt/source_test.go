package mqtt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func topics(names ...string) (out []penstock.Template) {
	for _, n := range names {
		out = append(out, text(n))
	}
	return out
}

// TestWhatIsNotSettledComesAgain: at the next start, in order; and nothing is acknowledged in front of what is not settled.
func TestWhatIsNotSettledComesAgain(t *testing.T) {
	for _, qos := range []int{1, 2} {
		t.Run(fmt.Sprint("qos ", qos), func(t *testing.T) {
			t.Parallel()
			f := onServer(t)
			topic := unique(t)
			c := SourceConfig{Topics: topics(topic), QoS: qos}
			s := drive.Opened(t, f.source(t, topic, c))
			w := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic), QoS: qos}))
			if err := w.Write(t.Context(), conform.Batch("0", "1", "2", "3", "4")); err != nil {
				t.Fatal(err)
			}
			ms := drive.Some(t, s, 5)
			drive.Settle(t, s, ms[4], ms[0], ms[2])
			if err := s.Settle(t.Context(), []penstock.Outcome{{Pos: ms[1].Pos, Err: errors.New("the run stops")}}); err != nil {
				t.Fatal(err)
			}
			drive.Closed(t, s)
			s = drive.Opened(t, f.source(t, topic, c, once))
			if got := everything(t, s); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
				t.Errorf("%v came again; 0 alone was acknowledged in order", got)
			}
			drive.Closed(t, s)
			if got := everything(t, drive.Opened(t, f.source(t, topic, c, once))); len(got) > 0 {
				t.Errorf("%v came again after it was settled", got)
			}
		})
	}
}

// TestALostConnection: the session goes on, and what is being worked on is not given to the flow again.
func TestALostConnection(t *testing.T) {
	for _, qos := range []int{1, 2} {
		t.Run(fmt.Sprint("qos ", qos), func(t *testing.T) {
			t.Parallel()
			server := service.Mosquitto(t)
			proxy := service.NewProxy(t, server.Address())
			f, direct := on(server, address(proxy)), on(server, server.Address())
			topic := unique(t)
			c := SourceConfig{Topics: topics(topic), QoS: qos}
			s := drive.Opened(t, f.source(t, topic, c))
			w := drive.Opened(t, direct.sink(t, SinkConfig{Topic: text(topic), QoS: qos}))
			write := func(bodies ...string) {
				t.Helper()
				if err := w.Write(t.Context(), conform.Batch(bodies...)); err != nil {
					t.Fatal(err)
				}
			}
			write("0", "1", "2")
			ms := drive.Some(t, s, 3)
			drive.Settle(t, s, ms[1])
			proxy.Cut()
			err := s.Read(t.Context(), new(penstock.Batch))
			if !errors.Is(err, penstock.ErrDisconnected) {
				t.Fatalf("Read: %v", err)
			}
			drive.Settle(t, s, ms[0]) // while there is no connection
			write("3")
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			last := drive.Some(t, s, 1)
			if got := conform.Text(t, last[0].Body); got != "3" {
				t.Errorf("%s came again", got)
			}
			drive.Settle(t, s, ms[2], last[0])
			drive.Closed(t, s)
			if got := everything(t, drive.Opened(t, direct.source(t, topic, c, once))); len(got) > 0 {
				t.Errorf("%v came again after it was settled", got)
			}
		})
	}
}

func TestShared(t *testing.T) {
	f := onServer(t)
	topic := unique(t)
	c := SourceConfig{Topics: topics(topic + "/+"), QoS: 1, Share: "workers"}
	one, two := drive.Opened(t, f.source(t, topic+"-1", c, once)), drive.Opened(t, f.source(t, topic+"-2", c, once))
	w := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic + "/a"), QoS: 1}))
	if err := w.Write(t.Context(), conform.Batch("0", "1", "2", "3", "4", "5")); err != nil {
		t.Fatal(err)
	}
	a, b := everything(t, one), everything(t, two)
	all := slices.Sorted(slices.Values(append(slices.Clone(a), b...)))
	if !slices.Equal(all, []string{"0", "1", "2", "3", "4", "5"}) || len(a) == 0 || len(b) == 0 {
		t.Errorf("%v and %v", a, b)
	}
}

func TestRetained(t *testing.T) {
	f := onServer(t)
	topic := unique(t)
	w := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic), QoS: 1, Retain: true}))
	if err := w.Write(t.Context(), conform.Batch("1")); err != nil {
		t.Fatal(err)
	}
	for retained, want := range map[string]int{"new": 1, "always": 2, "never": 0} {
		c := SourceConfig{Topics: topics(topic), QoS: 1, Retained: retained}
		n := 0
		for range 2 { // the second time the session is there already
			s := drive.Opened(t, f.source(t, topic+retained, c, once))
			n += len(everything(t, s))
			drive.Closed(t, s)
		}
		if n != want {
			t.Errorf("%s: it came %d times, want %d", retained, n, want)
		}
	}
	s := drive.Opened(t, f.source(t, topic+"meta", SourceConfig{Topics: topics(topic), QoS: 1}))
	if m := drive.Some(t, s, 1)[0]; !m.Meta.Get("retain").Bool() || m.Meta.Get("topic").Str() != topic || m.Meta.Get("qos").Int() != 1 {
		t.Error(m.Meta.Entries())
	}
}

// TestTheReceiveMaximumHoldsTheBrokerBack: what is not settled is no more than that. (Once something is acknowledged, Mosquitto 2.0.11 sends more than it should.)
func TestTheReceiveMaximumHoldsTheBrokerBack(t *testing.T) {
	f := onServer(t)
	topic := unique(t)
	c := SourceConfig{Topics: topics(topic), QoS: 1, ReceiveMaximum: 5}
	s := drive.Opened(t, f.source(t, topic, c, once))
	var bodies []string
	for i := range 40 {
		bodies = append(bodies, fmt.Sprint(i))
	}
	if err := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic), QoS: 1})).Write(t.Context(), conform.Batch(bodies...)); err != nil {
		t.Fatal(err)
	}
	var ms []*penstock.Message
	for {
		var b penstock.Batch
		if err := s.Read(t.Context(), &b); err != nil { // nothing more comes
			break
		}
		ms = append(ms, b.Msgs...)
	}
	if len(ms) != 5 {
		t.Fatalf("%d messages are on their way", len(ms))
	}
	drive.Settle(t, s, ms...)
	if got := everything(t, s); !slices.Equal(got, bodies[5:]) {
		t.Error(got)
	}
}

// TestQoS0IsLostWhereThereIsNoRoom: it is counted, and nothing else is.
func TestQoS0IsLostWhereThereIsNoRoom(t *testing.T) {
	s := f0(t)
	l := &line{}
	for i := range 25 {
		s.arrive(l, &paho.Publish{Topic: "a", Payload: []byte(fmt.Sprint(i))})
	}
	if s.lost != 5 || len(s.queue) != 20 {
		t.Errorf("%d are lost, %d are here", s.lost, len(s.queue))
	}
}

// f0 is a source that is not connected.
func f0(t *testing.T) *source {
	t.Helper()
	f := &fixture{config: &ConnectionConfig{URL: text("mqtt://127.0.0.1:1")}}
	f.ref = penstock.ConnectionRef{Name: "test", Config: f.config}
	return f.source(t, "c", SourceConfig{Topics: topics("a"), ReceiveMaximum: 2}).(*source)
}

// TestFormerSubscriptions: those of a session that an earlier run has made.
func TestFormerSubscriptions(t *testing.T) {
	f := onServer(t)
	topic := unique(t)
	drive.Closed(t, drive.Opened(t, f.source(t, topic, SourceConfig{Topics: topics(topic+"/a", topic+"/b"), QoS: 1})))
	for _, sub := range []string{"/a", "/b", "/a"} {
		if err := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic + sub), QoS: 1})).Write(t.Context(), conform.Batch(`"`+sub+`"`)); err != nil {
			t.Fatal(err)
		}
	}
	s := drive.Opened(t, f.source(t, topic, SourceConfig{Topics: topics(topic + "/b"), QoS: 1}, once))
	if got := everything(t, s); !slices.Equal(got, []string{`"/b"`}) {
		t.Error(got)
	}
	drive.Closed(t, s)
	if got := everything(t, drive.Opened(t, f.source(t, topic, SourceConfig{Topics: topics(topic + "/#"), QoS: 1}, once))); len(got) > 0 {
		t.Errorf("%v was not acknowledged", got)
	}
}

// TestAnotherClientOfThisName: one that was put out by it says so, and does not come back to put that out. (Mosquitto 2.0.11 says nothing.)
func TestAnotherClientOfThisName(t *testing.T) {
	s := f0(t)
	s.opened = true
	s.line = &line{down: make(chan struct{})}
	s.line.lost(disconnected(&paho.Disconnect{ReasonCode: packets.DisconnectSessionTakenOver}))
	l := s.line
	s.line = nil // there is nothing to close
	err := s.gone(t.Context(), l)
	drive.Code(t, err, penstock.Conflict, "clientId")
	if errors.Is(err, penstock.ErrDisconnected) {
		t.Error("it would come back, and put the other out")
	}
}

func TestLargeMessages(t *testing.T) {
	f := onServer(t)
	topic := unique(t)
	c := SourceConfig{Topics: topics(topic), QoS: 1}
	s := drive.Opened(t, f.source(t, topic, c, once))
	var bodies []string
	for i := range 8 {
		bodies = append(bodies, fmt.Sprintf(`{"n":%d,"x":"%s"}`, i, strings.Repeat("x", 1<<20)))
	}
	w := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic), QoS: 1}))
	if err := w.Write(t.Context(), conform.Batch(bodies...)); err != nil {
		t.Fatal(err)
	}
	if got := everything(t, s); !slices.Equal(got, bodies) {
		t.Errorf("%d messages", len(got))
	}
}

func TestSourceConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		config SourceConfig
		want   []string
	}{
		{SourceConfig{Topics: topics("a/#", "${params.x}/+")}, nil},
		{SourceConfig{Topics: topics("a#", "$share/g/a"), Share: "a/b"}, []string{"alone between slashes", "say `share", "without /"}},
		{SourceConfig{Topics: topics("a"), Share: "g", NoLocal: true}, []string{"noLocal"}},
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
	week := penstock.ConnectionRef{Name: "c", Config: &ConnectionConfig{SessionExpiry: penstock.Duration(time.Hour)}}
	for _, c := range []struct {
		config SourceConfig
		want   penstock.Replay
	}{
		{SourceConfig{Connection: week, QoS: 1}, penstock.ReplayAgain},
		{SourceConfig{Connection: week, QoS: 0}, penstock.ReplayNone},
		{SourceConfig{Connection: penstock.ConnectionRef{Name: "c", Config: &ConnectionConfig{}}, QoS: 2}, penstock.ReplayNone},
	} {
		if got := c.config.SpecFor(sourceSpec).Replay; got != c.want {
			t.Errorf("%+v: %q", c.config, got)
		}
	}
}
