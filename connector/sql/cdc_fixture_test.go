package sql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/service"
)

// logical is the server that the tests of changes have in common.
var logical struct {
	sync.Mutex
	server *service.PostgresServer
	number atomic.Int64
}

// onLogical makes a fixture of an empty database on a server with wal_level = logical.
func onLogical(t testing.TB) *fixture {
	t.Helper()
	f := onPostgres(t, logicalURI(t))
	dropSlots(t, f)
	return f
}

func logicalURI(t testing.TB) string {
	t.Helper()
	logical.Lock()
	defer logical.Unlock()
	if logical.server == nil {
		logical.server = service.LogicalPostgres(t)
	}
	name := fmt.Sprintf("cdc_%d", logical.number.Add(1))
	logical.server.Exec(t, "CREATE DATABASE "+name)
	return logical.server.URI(name)
}

// dropSlots lets go of the database's slots at the end, so that others find room for theirs.
func dropSlots(t testing.TB, f *fixture) {
	t.Helper()
	t.Cleanup(func() {
		ctx := context.Background()
		for range 100 {
			r := &rows{}
			if _, err := f.db(t).run(ctx, newStatement("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database() AND NOT active"), nil, r); err != nil {
				t.Log(err)
				return
			}
			if left := f.rows(t, "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"); len(left) == 0 {
				return
			}
			fired, _ := penstock.SystemClock{}.NewTimer(20 * time.Millisecond)
			<-fired
		}
	})
}

// entries is a penstock.State in memory.
type entries struct {
	mu   sync.Mutex
	kept map[string][]byte
}

// Get implements penstock.State.
func (s *entries) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[key], nil
}

// CompareAndSet implements penstock.State.
func (s *entries) CompareAndSet(_ context.Context, key string, old, value []byte, _ time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[string][]byte{}
	}
	if !bytes.Equal(s.kept[key], old) {
		return false, nil
	}
	s.kept[key] = bytes.Clone(value)
	return true, nil
}

// cdc makes a source, as for a run that keeps state.
func (f *fixture) cdc(t testing.TB, c CDCConfig) *cdcSource {
	t.Helper()
	c.Connection = f.ref
	if c.Slot == "" {
		c.Slot = "s" + strconv.FormatInt(logical.number.Add(1), 10)
	}
	if c.Snapshot == "" {
		c.Snapshot = snapshotNever
	}
	env := f.env
	env.Resumes = true
	if env.State == nil {
		env.State = &entries{}
	}
	s, err := newCDC(c, env)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*cdcSource)
}

// opened opens a source, and closes it at the end.
func opened(t testing.TB, s *cdcSource) *cdcSource {
	t.Helper()
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// got is what a test remembers of a message.
type got struct {
	body, key, table string
	pos              penstock.Position
	err              error
	time             time.Time
}

// take reads n messages, and opens the source again where it asks for it.
func take(t testing.TB, s *cdcSource, n int) (out []got) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var b penstock.Batch
	for len(out) < n {
		b.Reset()
		err := s.Read(ctx, &b)
		switch {
		case errors.Is(err, io.EOF) && n == 1<<30:
			return out
		case errors.Is(err, penstock.ErrDisconnected):
			reopen(ctx, t, s)
			continue
		case err != nil:
			t.Fatalf("after %d of %d messages: %v", len(out), n, err)
		}
		for i, m := range b.Msgs {
			out = append(out, got{body: string(m.Body.Original()), key: strings.Clone(m.Key), table: string(mustText(m.Meta.Get("schema"))) + "." + string(mustText(m.Meta.Get("table"))), pos: m.Pos, err: b.Err(i), time: m.Time})
			if err := m.Body.Parse(jsonview.Limits{}); err != nil {
				t.Fatalf("%s: %v", m.Body.Original(), err)
			}
		}
	}
	return out
}

// reopen opens until that works.
func reopen(ctx context.Context, t testing.TB, s *cdcSource) {
	t.Helper()
	for {
		err := s.Open(ctx)
		if err == nil {
			return
		}
		if !penstock.CodeOf(err).Transient() || ctx.Err() != nil {
			t.Fatal(err)
		}
		fired, _ := penstock.SystemClock{}.NewTimer(20 * time.Millisecond)
		<-fired
	}
}

func mustText(v penstock.Value) []byte {
	text, err := v.AppendText(nil)
	if err != nil {
		return []byte(err.Error())
	}
	return text
}

func bodies(all []got) (out []string) {
	for _, g := range all {
		out = append(out, g.body)
	}
	return out
}

// settle settles what was read.
func settle(t testing.TB, s *cdcSource, all ...got) {
	t.Helper()
	var o []penstock.Outcome
	for _, g := range all {
		o = append(o, penstock.Outcome{Pos: g.pos})
	}
	if err := s.Settle(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}
