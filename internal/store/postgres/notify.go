package postgres

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// notifier tells of what is appended, by this process and by others. Positions are given in the order of commits, so all that comes before a segment
// is there when it is: what is missing in between was appended by others, and is read.
type notifier struct {
	mu     sync.Mutex // held while somebody is told
	topics map[string]*topic

	told   chan struct{} // this process has appended something: others want to know
	others atomic.Bool   // there are any
}

// topic is a channel that somebody wants to know of.
type topic struct {
	next int64 // position behind what was told
	to   []*listener
}

type listener struct{ f func(store.Segment) }

func (n *notifier) init() {
	n.topics = map[string]*topic{}
	n.told = make(chan struct{}, 1)
	n.others.Store(true)
}

// wakeChannel is what the server calls the messages of this schema.
func (d *DB) wakeChannel() string { return "penstock_" + d.o.Schema }

// Notify implements store.Store. What other processes append is told too, in order and without gaps, when they say so, or within Options.Poll. f then runs on another
// goroutine than that of the writer, but never on both.
func (d *DB) Notify(channel string, f func(store.Segment)) (cancel func()) {
	n := &d.notify
	l := &listener{f}
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.topics[channel]
	if t == nil {
		t = &topic{next: -1}
		n.topics[channel] = t
		// From here on. Where it can't be read the store is about to fail, and the first segment that is told is where it begins.
		_ = d.View(d.life, func(v store.View) error {
			b, err := v.Log().Bounds(channel)
			if err == nil {
				t.next = b.Next
			}
			return err
		})
	}
	t.to = append(slices.Clip(t.to), l)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		t.to = slices.DeleteFunc(slices.Clone(t.to), func(o *listener) bool { return o == l })
		if len(t.to) == 0 && n.topics[channel] == t {
			delete(n.topics, channel)
		}
	}
}

// tell tells of what the writer has made durable.
func (d *DB) tell(written []store.Segment) {
	if len(written) == 0 {
		return
	}
	n := &d.notify
	n.mu.Lock()
	for _, s := range written {
		t := n.topics[s.Channel]
		if t == nil {
			continue
		}
		if t.next >= 0 && t.next < s.Base && !mutation.On("pg-gap-not-told") {
			d.catchUp(s.Channel, t, s.Base)
		}
		t.tell(s)
	}
	n.mu.Unlock()
	if !n.others.Load() {
		return
	}
	select {
	case n.told <- struct{}{}:
	default:
	}
}

// tell tells of one segment, once.
func (t *topic) tell(s store.Segment) {
	if s.End() <= t.next {
		return
	}
	t.next = s.End()
	for _, l := range t.to {
		l.f(s)
	}
}

// catchUp tells of what others have appended, up to a position. n.mu is held.
func (d *DB) catchUp(channel string, t *topic, to int64) {
	for t.next < to {
		var all []store.Segment
		err := d.View(d.life, func(v store.View) (err error) {
			all, err = v.Log().Segments(channel, t.next, bulkBytes)
			return err
		})
		if err != nil || len(all) == 0 || all[0].Base >= to {
			return // the next look tells them; what was dropped nobody needs
		}
		for _, s := range all {
			if s.Base < to {
				t.tell(s)
			}
		}
	}
}

// look tells of what others have appended.
func (d *DB) look(ctx context.Context) error {
	n := &d.notify
	n.mu.Lock()
	names := make([]string, 0, len(n.topics))
	told := map[string]int64{} // before the snapshot: it has all of that
	for name, t := range n.topics {
		names, told[name] = append(names, name), t.next
	}
	n.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	next := map[string]int64{}
	err := d.View(ctx, func(v store.View) error {
		rows, err := read(v.(*view), query[map[string]int64]{"SELECT name, next FROM channel WHERE name = ANY($1)", []any{names}, func(rows pgx.Rows) (map[string]int64, error) {
			all := map[string]int64{}
			for rows.Next() {
				var name string
				var to int64
				if err := rows.Scan(&name, &to); err != nil {
					return nil, err
				}
				all[name] = to
			}
			return all, rows.Err()
		}})
		next = rows
		return err
	})
	if err != nil {
		return err
	}
	for name, was := range told {
		if next[name] < was && !mutation.On("pg-lost-not-noticed") {
			return d.fail("look for messages", shrunk(name, was, next[name]))
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, to := range next {
		t := n.topics[name]
		switch {
		case t == nil:
		case t.next < 0:
			t.next = to
		case t.next < to:
			d.catchUp(name, t, to)
		}
	}
	return nil
}

// poll looks now and then, and when the server says that there is something.
func (d *DB) poll() {
	size := time.Now()
	d.measure(false)
	timer := time.NewTimer(d.o.Poll)
	defer timer.Stop()
	for {
		select {
		case <-d.life.Done():
			return
		case <-timer.C:
		case <-d.leases.heard:
		}
		timer.Reset(d.o.Poll)
		if !mutation.On("pg-wake-lost") {
			_ = d.look(d.life) // what fails is told the next time, or ends the store
		}
		if time.Since(size) > 3*time.Second {
			size = time.Now()
			d.measure(true)
		}
	}
}

// measure finds out how large the tables are, and whether other processes have the store open. One that was not seen yet looks by itself. Again it finds out whether the server
// waits for a standby.
func (d *DB) measure(again bool) {
	if again {
		d.resync()
	}
	_ = d.View(d.life, func(v store.View) error {
		n, err := read(v.(*view), query[int64]{"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'penstock writer %' AND datname = current_database()", nil, readNumber})
		d.notify.others.Store(err != nil || n > 1)
		return err
	})
	_ = d.View(d.life, func(v store.View) error {
		n, err := read(v.(*view), query[int64]{`SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r'`, []any{d.o.Schema}, readNumber})
		if err == nil {
			d.counts.size.Store(n)
		}
		return err
	})
}

// hush is how long the store waits at least between telling others: one message stands for all that was appended meanwhile.
const hush = 5 * time.Millisecond

// listen hears what other processes tell, and tells them what this one has appended: on a connection of its own, as telling takes a lock of the whole server
// until it is committed. That transaction does not wait for the disk.
func (d *DB) listen() {
	for d.life.Err() == nil {
		err := d.listening()
		if d.life.Err() != nil {
			return
		}
		d.log.Debug("the connection that listens was cut", "store", d.where(), "error", err)
		t := time.NewTimer(d.o.Poll)
		select {
		case <-t.C:
		case <-d.life.Done():
		}
		t.Stop()
	}
}

func (d *DB) listening() error {
	c, err := d.connect(d.life)
	if err != nil {
		return err
	}
	defer shut(c)
	name := pgx.Identifier{d.wakeChannel()}.Sanitize()
	if _, err := c.Exec(d.life, "SET synchronous_commit = off; LISTEN "+name); err != nil {
		return err
	}
	me := c.PgConn().PID()
	if !mutation.On("pg-told-while-away") { // what was told before it listened, nobody tells it again
		d.heard(partsTold)
	}
	for {
		ctx, cancel := context.WithCancel(d.life)
		stop := make(chan struct{})
		var waiting sync.WaitGroup
		waiting.Go(func() { // waiting is broken off when there is something to tell
			select {
			case <-d.notify.told:
				cancel()
			case <-stop:
			}
		})
		got, err := c.WaitForNotification(ctx)
		close(stop)
		waiting.Wait()
		told := ctx.Err() != nil
		cancel()
		switch {
		case d.life.Err() != nil:
			return nil
		case err == nil:
			if got.PID != me {
				d.heard(got.Payload)
			}
		case c.IsClosed():
			return err
		}
		if told {
			if _, err := c.Exec(d.life, "SELECT pg_notify($1, '')", d.wakeChannel()); err != nil {
				return err
			}
			t := time.NewTimer(hush)
			select {
			case <-t.C:
			case <-d.life.Done():
			}
			t.Stop()
		}
	}
}

// partsTold is what is told of parts that were released, or of a replica that has gone; of what was appended it is nothing.
const partsTold = "parts"

// heard says that another process has appended something, or released parts. Who holds leases is told of these only: it renews what it holds each time, with a lock of
// each of its parts, which is not to be done with each message.
func (d *DB) heard(payload string) {
	poke(d.leases.heard)
	if payload == partsTold {
		poke(d.leases.changed)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
