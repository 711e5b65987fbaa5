package postgres_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/conform"
	"penstock.dev/penstock/internal/store/lease"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

const channel = "log"

func appendText(text string) func(store.Tx) error {
	return func(tx store.Tx) error {
		_, err := tx.Append(channel, conform.Bundle(1, text))
		return err
	}
}

func do(s store.Store, f func(store.Tx) error) error {
	return s.Submit(store.Small, f).Wait(context.Background())
}

// log reads all messages of the channel.
func log(t testing.TB, s store.Store) (all []string) {
	t.Helper()
	for next := int64(0); ; {
		var got []store.Segment
		if err := s.View(t.Context(), func(v store.View) (err error) {
			got, err = v.Log().Segments(channel, next, 1<<20)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			return all
		}
		for _, g := range got {
			if g.Base != next {
				t.Fatalf("a segment at %d comes after position %d", g.Base, next)
			}
			all, next = append(all, texts(t, g)...), g.End()
		}
	}
}

func texts(t testing.TB, g store.Segment) (all []string) {
	t.Helper()
	for data := g.Data; len(data) > 0; {
		m, rest, err := store.NextFrame(data)
		if err != nil {
			t.Fatal(err)
		}
		all, data = append(all, string(m)), rest
	}
	return all
}

func closed(t testing.TB, d *postgres.DB) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// through gives the connection to a server by way of a proxy.
func through(t testing.TB, uri string) (string, *service.Proxy) {
	t.Helper()
	cfg, err := pgx.ParseConfig(uri)
	if err != nil {
		t.Fatal(err)
	}
	p := service.NewProxy(t, fmt.Sprintf("%s:%d", cfg.Host, cfg.Port))
	return strings.Replace(uri, fmt.Sprint(":", cfg.Port), fmt.Sprint(":", p.Port()), 1), p
}

// TestOutcomeIsLearnt: the answer to a commit is lost. Mostly it is durable; where the server ended the connection before it came to it, it is not, and
// is made again. Either way it is there once.
func TestOutcomeIsLearnt(t *testing.T) {
	uri, proxy := through(t, service.Postgres(t))
	d := open(t, uri, nil)
	defer closed(t, d)
	want := []string{"before"}
	if err := do(d, appendText("before")); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		mark := fmt.Sprint("cut ", i)
		proxy.CutWhen(func(sent []byte) bool { return bytes.Contains(sent, []byte(mark)) })
		if err := do(d, appendText(mark)); err != nil {
			t.Fatal(err)
		}
		want = append(want, mark)
		if got := log(t, d); strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Fatalf("there is %q, and it was said to be %q", got, want)
		}
	}
}

// TestOutcomeThatIsNone: the answer to a commit is lost, which was never made: it waits for a lock when the connection is cut. The store learns that, and
// makes it again: once.
func TestOutcomeThatIsNone(t *testing.T) {
	direct := service.Postgres(t)
	uri, proxy := through(t, direct)
	d := open(t, uri, nil)
	defer closed(t, d)
	if err := do(d, appendText("before")); err != nil {
		t.Fatal(err)
	}
	c, err := pgx.Connect(t.Context(), direct)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(t.Context(), "BEGIN; SELECT FROM penstock.part FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	proxy.CutWhen(func(sent []byte) bool { return bytes.Contains(sent, []byte("never")) })
	done := make(chan error, 1)
	go func() { done <- do(d, appendText("never")) }()
	until(t, "the store has another connection, on which it waits", func() (waits bool) {
		if err := c.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM penstock.writer w JOIN pg_stat_activity a ON a.pid = w.pid
WHERE w.gen > 2 AND a.application_name LIKE 'penstock writer %' AND a.wait_event_type = 'Lock' AND datname = current_database())`).Scan(&waits); err != nil {
			t.Fatal(err)
		}
		return waits || len(done) > 0
	})
	select {
	case err := <-done:
		t.Fatalf("a commit that is not durable has ended: %v", err)
	default:
	}
	if got := strings.Join(log(t, d), ", "); got != "before" {
		t.Error(got)
	}
	if _, err := c.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-done, do(d, appendText("after"))); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(log(t, d), ", "); got != "before, never, after" {
		t.Error(got)
	}
}

// until waits for what gives no sign.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for over := time.Now().Add(time.Minute); !f(); {
		if time.Now().After(over) {
			t.Fatalf("this does not happen: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// TestConnectionsAreMadeAgain: all connections are cut while nothing is on its way.
func TestConnectionsAreMadeAgain(t *testing.T) {
	uri, proxy := through(t, service.Postgres(t))
	d := open(t, uri, nil)
	defer closed(t, d)
	read := func() string {
		e, _, err := get(d)
		if err != nil {
			t.Fatal(err)
		}
		return string(e.Value)
	}
	for i := range 3 {
		if err := do(d, func(tx store.Tx) error {
			e, _, err := tx.State().Get("s", []byte("k"))
			return errors.Join(err, tx.Put("s", store.Entry{Key: []byte("k"), Value: append(e.Value, '.')}))
		}); err != nil {
			t.Fatal(err)
		}
		if got := read(); len(got) != i+1 {
			t.Fatalf("round %d: %q", i, got)
		}
		proxy.Cut()
	}
}

func get(d *postgres.DB) (e store.Entry, ok bool, err error) {
	err = d.View(context.Background(), func(v store.View) (err error) {
		e, ok, err = v.State().Get("s", []byte("k"))
		return err
	})
	return e, ok, err
}

// TestReplicasAppend: two processes append to a channel and count in an entry; both are told of all, in order.
func TestReplicasAppend(t *testing.T) {
	uri := service.Postgres(t)
	const writers, each = 4, 40
	var replicas []*postgres.DB
	for range 3 { // the last one only listens
		d := open(t, uri, func(o *postgres.Options) { o.Poll = 50 * time.Millisecond })
		defer closed(t, d)
		replicas = append(replicas, d)
	}
	var mu sync.Mutex
	told := make([][]string, len(replicas))
	next := make([]int64, len(replicas))
	all := make(chan struct{})
	complete := 0
	for i, d := range replicas {
		defer d.Notify(channel, func(g store.Segment) {
			mu.Lock()
			defer mu.Unlock()
			if g.Base != next[i] {
				t.Errorf("replica %d is told of position %d after %d", i, g.Base, next[i])
			}
			next[i] = g.End()
			told[i] = append(told[i], texts(t, g)...)
			if len(told[i]) == 2*writers*each {
				if complete++; complete == len(replicas) {
					close(all)
				}
			}
		})()
	}
	var wg sync.WaitGroup
	for r, d := range replicas[:2] {
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					if err := do(d, func(tx store.Tx) error {
						e, _, err := tx.State().Get("s", []byte("k"))
						n, _ := strconv.Atoi(string(e.Value))
						return errors.Join(err, tx.Put("s", store.Entry{Key: []byte("k"), Value: strconv.AppendInt(nil, int64(n)+1, 10)}), appendText(fmt.Sprint(r, " ", w, " ", i))(tx))
					}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	e, _, err := get(replicas[2])
	if err != nil || string(e.Value) != strconv.Itoa(2*writers*each) {
		t.Errorf("%s were counted, and there were %d: %v", e.Value, 2*writers*each, err)
	}
	select {
	case <-all:
	case <-time.After(30 * time.Second):
		t.Fatal("a replica was not told of all")
	}
	want := log(t, replicas[0])
	last := map[string]int{}
	for _, text := range want {
		var r, w, i int
		if _, err := fmt.Sscan(text, &r, &w, &i); err != nil {
			t.Fatal(err)
		}
		if k := fmt.Sprint(r, w); i != last[k] {
			t.Fatalf("%q comes after %d of its writer", text, last[k])
		} else {
			last[k]++
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range told {
		if strings.Join(told[i], ",") != strings.Join(want, ",") {
			t.Errorf("replica %d was told something else than what is there", i)
		}
	}
}

// TestServerStops: the server is killed while commits are on their way, and started again.
func TestServerStops(t *testing.T) {
	server := service.NewPostgres(t)
	var acknowledged []string
	for round := range 3 {
		d := open(t, server.URI("postgres"), func(o *postgres.Options) { o.Volatile, o.Lease = false, time.Second })
		some := make(chan struct{})
		ended := make(chan []string)
		go func() {
			var done []string
			for i := 0; ; i++ {
				text := fmt.Sprintf("%d %d", round, i)
				if err := do(d, appendText(text)); err != nil {
					ended <- done
					return
				}
				if done = append(done, text); len(done) == 20 {
					close(some)
				}
			}
		}()
		<-some
		server.Stop(t)
		acknowledged = append(acknowledged, <-ended...)
		closed(t, d)
		server.Start(t)
	}
	d := open(t, server.URI("postgres"), func(o *postgres.Options) { o.Volatile = false })
	defer closed(t, d)
	holds(t, log(t, d), acknowledged)
}

// holds says whether all that was acknowledged is there, once and in its order, and nothing that was not asked for.
func holds(t *testing.T, there, acknowledged []string) {
	t.Helper()
	at := map[string]int{}
	for i, text := range there {
		if _, twice := at[text]; twice {
			t.Errorf("%q is there twice", text)
		}
		at[text] = i
	}
	last := -1
	for _, text := range acknowledged {
		i, ok := at[text]
		if !ok {
			t.Fatalf("%q was acknowledged, and is not there", text)
		}
		if i < last {
			t.Fatalf("%q is out of order", text)
		}
		last = i
	}
	if extra := len(there) - len(acknowledged); extra > 16 {
		t.Errorf("%d messages are there that were not acknowledged", extra)
	}
}

// child runs this test again as another process, which does what is asked of it.
func child(t *testing.T, what, uri string, args ...string) (*exec.Cmd, *bufio.Scanner, io.Writer) {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{what, uri}, args...)...) //nolint:gosec // this test
	cmd.Env = append(os.Environ(), "PENSTOCK_TEST_CHILD=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	in, err2 := cmd.StdinPipe()
	if err := errors.Join(err, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewScanner(out), in
}

// asChild is what other processes do.
func asChild(args []string) {
	lasts := 2 * time.Second
	if args[0] == "hold" {
		lasts, _ = time.ParseDuration(args[4])
	}
	d, err := postgres.Open(context.Background(), postgres.Options{Connection: args[1], Lease: lasts, Volatile: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	switch args[0] {
	case "append":
		for i := 0; ; i++ {
			text := args[2] + " " + strconv.Itoa(i)
			if do(d, appendText(text)) != nil {
				os.Exit(1)
			}
			fmt.Println(text)
		}
	case "hold":
		epoch, _ := strconv.ParseInt(args[3], 10, 64)
		part, _ := strconv.Atoi(args[2])
		var once sync.Once
		err := do(lease.Fenced(d, lease.Lease{Part: part, Epoch: epoch, Owner: "child"}), func(tx store.Tx) error {
			err := appendText("zombie")(tx)
			once.Do(func() { // it runs under the lock: the parts were not known before
				fmt.Println("holds")
				_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
			})
			return err
		})
		fmt.Println(errors.Is(err, lease.ErrLost), err)
	}
}

// TestKilled: a process that appends is killed, again and again; a ledger outside of it knows what it was told.
func TestKilled(t *testing.T) {
	server := service.NewPostgres(t)
	var ledger []string
	for round := range 4 {
		cmd, out, _ := child(t, "append", server.URI("postgres"), strconv.Itoa(round))
		for range 25 * (round + 1) {
			if !out.Scan() {
				t.Fatal("it ended")
			}
			ledger = append(ledger, out.Text())
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for out.Scan() {
			ledger = append(ledger, out.Text())
		}
	}
	d := open(t, server.URI("postgres"), nil)
	defer closed(t, d)
	holds(t, log(t, d), ledger)
}

// TestReplicasAlternate: two processes write in turn what both have read before.
func TestReplicasAlternate(t *testing.T) {
	uri := service.Postgres(t)
	replicas := []*postgres.DB{open(t, uri, nil), open(t, uri, nil)}
	for _, d := range replicas {
		defer closed(t, d)
	}
	const rounds = 12
	for i := range rounds {
		if err := do(replicas[i%2], func(tx store.Tx) error {
			e, _, err := tx.State().Get("s", []byte("k"))
			if len(e.Value) != i {
				err = errors.Join(err, fmt.Errorf("the entry is %q after %d rounds", e.Value, i))
			}
			b, err2 := tx.Log().Bounds(channel)
			if b.Next != int64(i) {
				err2 = errors.Join(err2, fmt.Errorf("the channel ends at %d after %d rounds", b.Next, i))
			}
			return errors.Join(err, err2, tx.Put("s", store.Entry{Key: []byte("k"), Value: append(e.Value, '.')}), appendText(strconv.Itoa(i))(tx))
		}); err != nil {
			t.Fatal(err)
		}
	}
}
