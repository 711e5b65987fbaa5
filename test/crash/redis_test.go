package crash_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"penstock.dev/penstock/test/service"
)

// redisFlow reads Redis, makes two messages of each that it reads, and writes them somewhere.
const redisFlow = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: copies }
spec: { %s }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: db }
spec: { redis: { url: %q, fsync: true } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: halves }
spec: { mode: topic }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: copy }
spec:
  from: %s
  delivery: %s
  steps:
    - map: { halves: [ { number: "${body.number}", half: 0 }, { number: "${body.number}", half: 1 } ] }
    - split: { each: body.halves, as: part }
    - map: "${part}"
  to: %s
`

// TestRedisCopiesAreKilled kills a flow that reads from Redis again and again, while another program writes. That one's ledger says in the end what must be there:
// everything that was taken, twice halved. Where the compiler has granted effectively-once it is there once; else it is counted how often.
//
// An ordinary run kills 4 times; PENSTOCK_CRASHES=50 so many times.
func TestRedisCopiesAreKilled(t *testing.T) {
	const keeps, once = "store: { path: store.db }", "effectively-once"
	const stream, list = "{ redis: { connection: db, stream: %[1]s-in } }", "{ redis: { connection: db, list: %[1]s-in } }"
	for name, c := range map[string]struct{ integration, from, delivery, to string }{
		"stream to stream":        {"", stream, "at-least-once", "{ redis: { connection: db, stream: %[1]s-out } }"},
		"shared stream to stream": {"", "{ redis: { connection: db, stream: %[1]s-in, shared: true, claimAfter: 1s } }", "at-least-once", "{ redis: { connection: db, stream: %[1]s-out } }"},
		"list to list":            {"", list, "at-least-once", "{ redis: { connection: db, list: %[1]s-out } }"},
		"stream to store":         {keeps, stream, once, "{ channel: halves }"},
		"stream to keys":          {keeps, stream, once, `{ redis: { connection: db, set: "%[1]s-out:${body.number}:${body.half}" } }`},
	} {
		t.Run(name, func(t *testing.T) {
			kills, seed := number(t, "PENSTOCK_CRASHES", 4), number(t, "PENSTOCK_CRASH_SEED", 1)
			l := newRedisLedger(t, c.from == list)
			dir := t.TempDir()
			place := func(text string) string {
				if text == "{ channel: halves }" {
					return text
				}
				return fmt.Sprintf(text, l.name)
			}
			flow := fmt.Sprintf(redisFlow, c.integration, l.server.URL(), place(c.from), c.delivery, place(c.to))
			if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), []byte(flow), 0o600); err != nil {
				t.Fatal(err)
			}
			command := func(more ...string) *exec.Cmd {
				cmd := exec.Command(program(t), append([]string{"run"}, append(more, ".")...)...)
				cmd.Dir = dir
				return cmd
			}
			random := rand.New(rand.NewPCG(uint64(seed), 4))
			for range kills {
				p := start(t, command())
				written := make(chan error, 1)
				go func() { written <- l.write(6000) }()
				if !p.lives(150*time.Millisecond + time.Duration(random.Int64N(int64(500*time.Millisecond)))) {
					t.Fatalf("the flow ended:\n%s", p.said.String())
				}
				p.kill()
				if err := <-written; err != nil {
					t.Fatal(err)
				}
			}
			start(t, command("--once")).wait()
			if c.to != "{ channel: halves }" {
				checkHalves(t, kills, l.sent, l.all(), c.delivery == once)
				return
			}
			inspect(t, filepath.Join(dir, "store.db"), func(v reader) {
				var all []string
				for _, b := range v.bodies("halves") {
					all = append(all, string(b))
				}
				checkHalves(t, kills, l.sent, all, true)
			})
		})
	}
}

// redisLedger writes to a stream or a list and knows what was taken.
type redisLedger struct {
	t      *testing.T
	server *service.RedisServer
	name   string
	list   bool
	c      rueidis.Client
	sent   int
}

func newRedisLedger(t *testing.T, list bool) *redisLedger {
	t.Helper()
	l := &redisLedger{t: t, server: service.NewRedis(t, service.RedisSaves...), name: fmt.Sprintf("crash-%d", rand.Int64()), list: list}
	var err error
	if l.c, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{l.server.Address()}, DisableCache: true, ForceSingleClient: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.c.Close)
	return l
}

// write adds messages, a hundred at a time.
func (l *redisLedger) write(n int) error {
	for at := 0; at < n; at += 100 {
		var cmds []rueidis.Completed
		for i := range 100 {
			body := fmt.Sprintf(`{"number":%d}`, l.sent+i)
			if l.list {
				cmds = append(cmds, l.c.B().Lpush().Key(l.name+"-in").Element(body).Build())
			} else {
				cmds = append(cmds, l.c.B().Xadd().Key(l.name+"-in").Id("*").FieldValue().FieldValue("body", body).Build())
			}
		}
		for _, r := range l.c.DoMulti(context.Background(), cmds...) {
			if err := r.Error(); err != nil {
				return err
			}
		}
		l.sent += 100
	}
	return nil
}

// all is what was written by the flow: entries of a stream, elements of a list, or keys.
func (l *redisLedger) all() (out []string) {
	l.t.Helper()
	ctx := context.Background()
	entries, err := l.c.Do(ctx, l.c.B().Xrange().Key(l.name+"-out").Start("-").End("+").Build()).AsXRange()
	if err != nil { // it is a list
		if out, err = l.c.Do(ctx, l.c.B().Lrange().Key(l.name+"-out").Start(0).Stop(-1).Build()).AsStrSlice(); err != nil {
			l.t.Fatal(err)
		}
		return out
	}
	for _, e := range entries {
		out = append(out, e.FieldValues["body"])
	}
	if len(out) > 0 {
		return out
	}
	keys, err := l.c.Do(ctx, l.c.B().Keys().Pattern(l.name+"-out:*").Build()).AsStrSlice()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, k := range keys {
		text, err := l.c.Do(ctx, l.c.B().Get().Key(k).Build()).ToString()
		if err != nil {
			l.t.Fatal(err)
		}
		out = append(out, text)
	}
	return out
}
