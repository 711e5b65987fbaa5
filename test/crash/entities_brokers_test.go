package crash_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/test/service"
)

// sent is an event as it came to a broker.
type sent struct{ key, id, kind, body string }

// TestEventsToBrokersAreKilled kills a program with an entity whose events go to a broker, and now and then the broker, while customers send commands. What the
// broker has in the end is held to the events in the store, which are held to what customers were told: each event is there, at least once, under the
// identity that it always has, and those of a key came in their order.
func TestEventsToBrokersAreKilled(t *testing.T) {
	t.Run("nats", func(t *testing.T) {
		t.Parallel()
		server := service.NewNATS(t, service.NATSOptions{Sync: true})
		sold(t, fmt.Sprintf("{ nats: { urls: [%q] } }", server.URL()), "{ nats: { connection: bus, stream: EVENTS, subject: bank.events } }",
			func() { server.Kill(t); server.Start(t) }, func(n int) []sent { return inStream(t, server.URL(), n) })
	})
	t.Run("kafka", func(t *testing.T) {
		t.Parallel()
		server := service.NewKafka(t)
		sold(t, fmt.Sprintf("{ kafka: { brokers: [%q] } }", server.Brokers()), "{ kafka: { connection: bus, topic: bank.events, partitions: 3 } }",
			nil, func(n int) []sent { return inTopic(t, server, n) })
	})
}

// sold is one such test. away takes the broker away and brings it back; nil: it stays. arrived gives what is on the broker, once as many different ones are.
func sold(t *testing.T, connection, broker string, away func(), arrived func(n int) []sent) {
	t.Helper()
	kills, seed := number(t, "PENSTOCK_CRASHES", 5), number(t, "PENSTOCK_CRASH_SEED", 1)
	random := rand.New(rand.NewPCG(uint64(seed), 23))
	text := strings.Replace(fmt.Sprintf(accounts, "{}"), "metadata: { name: published }\nspec: { schema: money }",
		"metadata: { name: published }\nspec: { schema: money, broker: "+broker+" }\n---\napiVersion: penstock.dev/v1alpha1\nkind: Connection\nmetadata: { name: bus }\nspec: "+connection, 1)
	b := newBankOf(t, text, inFile(t))
	b.file, b.sends = true, true
	for i := range kills {
		p := b.start()
		done := b.opens()
		b.more(p, 1+random.IntN(200), 0)
		if away != nil && i%3 == 1 { // commands go on without it
			away()
			b.more(p, 1+random.IntN(50), 0)
		}
		p.kill()
		done(false)
	}
	p := b.start()
	done := b.opens()
	b.more(p, 50, 0)
	done(true)
	b.closes(p)
	st := b.open()
	defer func() { _ = st.Close() }()
	want, n := map[string][]sent{}, 0
	err := entity.List(t.Context(), st, entity.Listing{Entity: "account"}, func(e *entity.Listed) error {
		n++
		want[e.Key] = append(want[e.Key], sent{e.Key, fmt.Sprintf("%s/%d", e.Key, e.Version), e.Type, string(e.Data)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	first, seen, twice := map[string][]sent{}, map[string]sent{}, 0
	for _, s := range arrived(n) {
		if before, ok := seen[s.id]; ok {
			if twice++; s != before {
				t.Errorf("%s came as %+v, and then as %+v", s.id, before, s)
			}
			continue
		}
		seen[s.id] = s
		first[s.key] = append(first[s.key], s)
	}
	for key := range want {
		if len(first[key]) != len(want[key]) {
			t.Errorf("%d events of %s are on the broker, and %d in the store", len(first[key]), key, len(want[key]))
			continue
		}
		for i, s := range want[key] {
			if first[key][i] != s {
				t.Errorf("the %dth of %s is %+v on the broker, and %+v in the store", i, key, first[key][i], s)
				break
			}
		}
	}
	t.Logf("%d kills, %d events, %d twice on the broker", kills, n, twice)
}

// inStream reads the stream of the events.
func inStream(t *testing.T, url string, _ int) (out []sent) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	all := s.CachedInfo().State.Msgs
	c, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	it, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	for uint64(len(out)) < all {
		m, err := it.Next(jetstream.NextMaxWait(20 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		h := m.Headers()
		out = append(out, sent{h.Get("ce-subject"), h.Get("ce-id"), h.Get("ce-type"), string(m.Data())})
	}
	return out
}

// inTopic reads the topic of the events, until so many different ones were read.
func inTopic(t *testing.T, server *service.KafkaServer, n int) (out []sent) {
	t.Helper()
	cl := server.Client(t, kgo.ConsumeTopics("bank.events"), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	ids := map[string]bool{}
	for len(ids) < n && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			s := sent{key: string(r.Key), body: string(r.Value)}
			for _, h := range r.Headers {
				switch strings.Replace(h.Key, "_", "-", 1) {
				case "ce-id":
					s.id = string(h.Value)
				case "ce-type":
					s.kind = string(h.Value)
				}
			}
			ids[s.id] = true
			out = append(out, s)
		})
	}
	return out
}
