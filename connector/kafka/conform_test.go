package kafka

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/service"
)

func TestSourceConforms(t *testing.T) {
	t.Parallel()
	server := service.Kafka(t)
	for _, c := range []struct {
		name    string
		ordered bool
		parts   int
	}{{"one partition", true, 1}, {"several partitions", false, 3}} {
		t.Run(c.name, func(t *testing.T) {
			conform.Source(t, conform.SourceHarness{
				Fill: func(t testing.TB, bodies []string) func(testing.TB) penstock.Source {
					topic := service.KafkaName(t)
					server.Topic(t, topic, c.parts)
					for i := range c.parts {
						var own []string
						for k := i; k < len(bodies); k += c.parts {
							own = append(own, bodies[k])
						}
						produce(t, server, topic, int32(i), own...)
					}
					return func(t testing.TB) penstock.Source {
						env := environment(t)
						env.Once, env.Resumes = true, true
						s, err := newSource(sourceConfig(connection(server.Brokers()), topic, service.KafkaName(t)), env)
						if err != nil {
							t.Fatal(err)
						}
						return s
					}
				},
				Spec:     sourceSpec,
				Features: conform.SourceFeatures{Finite: true, Ordered: c.ordered, Resumes: true},
			})
		})
	}
}

func TestSinkConforms(t *testing.T) {
	t.Parallel()
	server := service.NewKafka(t)
	conform.Sink(t, conform.SinkHarness{
		New: func(t testing.TB) conform.SinkMedium {
			topic := service.KafkaName(t)
			server.Topic(t, topic, 1)
			server.Proxy().Refuse(false)
			config := sinkConfig(connection(server.Proxied()), topic)
			config.Timeout = penstock.Duration(1e9)
			return conform.SinkMedium{
				Sink: func(t testing.TB) penstock.Sink {
					s, err := newSink(config, environment(t))
					if err != nil {
						t.Fatal(err)
					}
					return s
				},
				Written: func(t testing.TB) (out []string) {
					for _, r := range records(t, server, topic) {
						out = append(out, string(r.Value))
					}
					return out
				},
				Crash: func(t testing.TB) {
					server.Kill(t)
					server.Start(t)
				},
				Break: func(testing.TB) {
					server.Proxy().Refuse(true)
					server.Proxy().Cut()
				},
			}
		},
		Features: conform.SinkFeatures{Continues: true},
		Refused:  `{"n":"` + string(make1M()) + `"}`,
		Crashes:  1,
	})
}

// wires are the connections of a source, which a test may cut.
type wires struct {
	mu   sync.Mutex
	dead bool
	all  []net.Conn
}

// of puts a source's connections under control.
func (w *wires) of(s penstock.Source) penstock.Source {
	c := s.(*source).cluster
	open := c.open
	c.open = func(ctx context.Context, network, host string) (net.Conn, error) {
		conn, err := open(ctx, network, host)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil && w.dead {
			_ = conn.Close()
			return nil, errors.New("cut")
		}
		w.all = append(w.all, conn)
		return conn, err
	}
	return s
}

// cut breaks all connections, for good if so.
func (w *wires) cut(good bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = good
	for _, c := range w.all {
		if c != nil {
			_ = c.Close()
		}
	}
	w.all = nil
}

func TestGroupConforms(t *testing.T) {
	t.Parallel()
	server := service.Kafka(t)
	conform.Broker(t, conform.BrokerHarness{
		Spec:     sourceSpec,
		Features: conform.BrokerFeatures{Shares: true},
		New: func(t testing.TB) conform.BrokerMedium {
			topic := service.KafkaName(t)
			server.Topic(t, topic, 4)
			config := sourceConfig(connection(server.Brokers()), topic, topic)
			config.Session, config.Drain = penstock.Duration(1500*time.Millisecond), penstock.Duration(2*time.Second)
			all := map[penstock.Source]*wires{}
			return conform.BrokerMedium{
				Put: func(t testing.TB, bodies []string) {
					parts := make([][]string, 4)
					for i, b := range bodies {
						parts[i%4] = append(parts[i%4], b)
					}
					for i, p := range parts {
						produce(t, server, topic, int32(i), p...)
					}
				},
				Source: func(t testing.TB) penstock.Source {
					s, err := newSource(config, environment(t))
					if err != nil {
						t.Fatal(err)
					}
					all[s] = new(wires)
					return all[s].of(s)
				},
				Die: func(_ testing.TB, s penstock.Source) { all[s].cut(true) },
				Cut: func(testing.TB) {
					for _, w := range all {
						w.cut(false)
					}
				},
			}
		},
	})
}

func TestTransactionsConform(t *testing.T) {
	t.Parallel()
	server := service.Kafka(t)
	conform.Transactor(t, conform.TransactorHarness{
		Refused: `{"n":"` + string(make1M()) + `"}`,
		New: func(t testing.TB) conform.TransactorMedium {
			in, out := service.KafkaName(t), service.KafkaName(t)
			server.Topic(t, in, 3)
			server.Topic(t, out, 2)
			members := 0
			shared := map[string]any{}
			env := environment(t)
			env.Transaction = "flow"
			env.Shared = func(key string, build func() (any, error)) (any, error) {
				key += strconv.Itoa(members) // each member is a process of its own
				if v, ok := shared[key]; ok {
					return v, nil
				}
				v, err := build()
				shared[key] = v
				return v, err
			}
			return conform.TransactorMedium{
				Put: func(t testing.TB, bodies []string) {
					parts := make([][]string, 3)
					for i, b := range bodies {
						parts[i%3] = append(parts[i%3], b)
					}
					for i, p := range parts {
						produce(t, server, in, int32(i), p...)
					}
				},
				Sink: func(t testing.TB) penstock.Sink {
					members++
					config := sinkConfig(connection(server.Brokers()), out)
					config.Transaction.ID = text(out + strconv.Itoa(members))
					s, err := newSink(config, env)
					if err != nil {
						t.Fatal(err)
					}
					return s
				},
				Source: func(t testing.TB) penstock.Source {
					config := sourceConfig(connection(server.Brokers()), in, in)
					config.Drain, config.Session = penstock.Duration(time.Second), penstock.Duration(6*time.Second)
					s, err := newSource(config, env)
					if err != nil {
						t.Fatal(err)
					}
					return s
				},
				Committed: func(t testing.TB) (bodies []string) {
					for _, r := range records(t, server, out) {
						bodies = append(bodies, string(r.Value))
					}
					return bodies
				},
				Expel: func(t testing.TB, s penstock.Source) { expel(t, server, s.(*source)) },
			}
		},
	})
}

// expel has the group take a member for dead.
func expel(t testing.TB, server *service.KafkaServer, s *source) {
	t.Helper()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = s.group
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, _ = s.client.GroupMetadata()
	req.Members = append(req.Members, m)
	if resp, err := req.RequestWith(within(t), server.Client(t)); err != nil || resp.ErrorCode != 0 {
		t.Fatal(err, resp)
	}
}

// make1M is a text that is too large for a topic.
func make1M() []byte {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = 'x'
	}
	return b
}
