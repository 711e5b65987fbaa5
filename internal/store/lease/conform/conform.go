// Package conform is the suite that every implementation of lease.Role passes.
package conform

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/lease"
)

// Harness is an implementation.
type Harness struct {
	// Open gives a new store as two replicas see it.
	Open func(t *testing.T) (a, b Replica)
	// Pass lets the store's clock go on by at least d.
	Pass func(d time.Duration)
}

// Replica is the store as one replica sees it.
type Replica struct {
	lease.Role
	Store store.Store
}

// Leases of the suite are for long, or run out at once: nothing depends on how fast the machine is.
const (
	long  = time.Hour
	short = time.Millisecond
)

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for name, f := range map[string]func(*testing.T, Harness){
		"TakesWhatIsFree": takes, "KeepsWhatIsHeld": keeps, "TakesWhatRanOut": ranOut, "RenewsWhatHolds": renews, "Releases": releases,
		"KnowsReplicas": replicas, "Fences": fences, "GivesAPartToOne": one, "FencesWhatRunsBeside": beside,
	} {
		t.Run(name, func(t *testing.T) { f(t, h) })
	}
}

func take(t *testing.T, r Replica, owner string, ttl time.Duration, parts ...int) []lease.Lease {
	t.Helper()
	got, err := r.Take(t.Context(), owner, parts, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func want(t *testing.T, got []lease.Lease, owner string, epochs map[int]int64) {
	t.Helper()
	if len(got) != len(epochs) {
		t.Fatalf("got %v, want parts and epochs %v", got, epochs)
	}
	for _, l := range got {
		if e, ok := epochs[l.Part]; !ok || l.Epoch != e || l.Owner != owner {
			t.Fatalf("got %v, want parts and epochs %v of %s", got, epochs, owner)
		}
	}
}

func takes(t *testing.T, h Harness) {
	a, _ := h.Open(t)
	want(t, take(t, a, "a", long, 0, 2), "a", map[int]int64{0: 1, 2: 1})
	want(t, take(t, a, "a", long), "a", nil)
	want(t, take(t, a, "a", long, 0), "a", map[int]int64{0: 2}) // its own, anew: what it began with the old one is fenced
}

func keeps(t *testing.T, h Harness) {
	a, b := h.Open(t)
	take(t, a, "a", long, 0, 1)
	want(t, take(t, b, "b", long, 0, 1, 2), "b", map[int]int64{2: 1})
}

func ranOut(t *testing.T, h Harness) {
	a, b := h.Open(t)
	take(t, a, "a", short, 1)
	h.Pass(2 * short)
	want(t, take(t, b, "b", long, 1), "b", map[int]int64{1: 2})
	want(t, take(t, a, "a", long, 1), "a", nil)
}

func renews(t *testing.T, h Harness) {
	a, b := h.Open(t)
	held := take(t, a, "a", long, 0, 1)
	got, err := a.Renew(t.Context(), append(held, lease.Lease{Part: 2, Epoch: 1, Owner: "a"}), long)
	if err != nil || len(got) != 2 || !slices.Contains(got, held[0]) || !slices.Contains(got, held[1]) {
		t.Fatalf("renewed %v, %v", got, err)
	}
	if got, err = a.Renew(t.Context(), held[:1], short); err != nil || len(got) != 1 {
		t.Fatalf("renewed %v, %v", got, err)
	}
	h.Pass(2 * short)
	if got, err = a.Renew(t.Context(), held[:1], long); err != nil || len(got) != 0 {
		t.Fatalf("a lease was renewed that had run out: %v, %v", got, err)
	}
	take(t, b, "b", long, 0)
	if got, err = a.Renew(t.Context(), held[:1], long); err != nil || len(got) != 0 {
		t.Fatalf("a lease was renewed that another has: %v, %v", got, err)
	}
}

func releases(t *testing.T, h Harness) {
	a, b := h.Open(t)
	held := take(t, a, "a", long, 0)
	if err := b.Release(t.Context(), []lease.Lease{{Part: 0, Epoch: held[0].Epoch, Owner: "b"}, {Part: 0, Epoch: held[0].Epoch + 1, Owner: "a"}}); err != nil {
		t.Fatal(err)
	}
	want(t, take(t, b, "b", long, 0), "b", nil)
	if err := a.Release(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	select { // b hears of it, whenever that is
	case <-b.Changed():
	case <-time.After(time.Minute):
		t.Fatal("the other replica was not told of what was released")
	}
	want(t, take(t, b, "b", long, 0), "b", map[int]int64{0: held[0].Epoch + 1})
}

func replicas(t *testing.T, h Harness) {
	a, b := h.Open(t)
	ra := lease.Replica{ID: "a", Address: "10.0.0.1:8080", Version: "v1", PID: 7, Host: "one", Started: time.Unix(1000, 0).UTC(), Info: []byte(`{"flows": 1}`)}
	if _, err := a.Beat(t.Context(), ra, long); err != nil {
		t.Fatal(err)
	}
	held := take(t, a, "a", long, 1)
	tab, err := b.Beat(t.Context(), lease.Replica{ID: "b"}, long)
	if err != nil {
		t.Fatal(err)
	}
	if len(tab.Replicas) != 2 || tab.Replicas[0].ID != "a" || tab.Replicas[1].ID != "b" {
		t.Fatalf("replicas: %+v", tab.Replicas)
	}
	got := tab.Replicas[0]
	if got.Address != ra.Address || got.Version != "v1" || got.PID != 7 || got.Host != "one" || !got.Started.Equal(ra.Started) || string(got.Info) != `{"flows": 1}` && string(got.Info) != `{"flows":1}` || got.Seen.IsZero() {
		t.Errorf("what a says of itself: %+v", got)
	}
	if tab, err = b.Beat(t.Context(), lease.Replica{}, long); err != nil || len(tab.Replicas) != 2 {
		t.Fatalf("who only looks sees %+v, %v", tab.Replicas, err)
	}
	for i, p := range tab.Parts {
		if p.Part != i || (p.Owner == "a") != (i == 1) || p.Free() != (i != 1) || i == 1 && p.Epoch != held[0].Epoch {
			t.Errorf("part %d: %+v", i, p)
		}
	}
	h.Pass(2 * short)
	if tab, err = b.Beat(t.Context(), lease.Replica{ID: "b"}, short); err != nil || len(tab.Replicas) != 1 || tab.Replicas[0].ID != "b" {
		t.Fatalf("a was not seen within a lease of %s, and is listed: %+v, %v", short, tab.Replicas, err)
	}
	if _, err := a.Beat(t.Context(), ra, 0); err != nil {
		t.Fatal(err)
	}
	if tab, err = b.Beat(t.Context(), lease.Replica{ID: "b"}, long); err != nil || len(tab.Replicas) != 1 {
		t.Fatalf("a has ended, and is listed: %+v, %v", tab.Replicas, err)
	}
}

// add appends a message and counts it in a space, with a lease.
func add(r Replica, l lease.Lease, text string) error {
	return lease.Fenced(r.Store, l).Submit(store.Small, func(tx store.Tx) error {
		data := store.AppendFrame(nil, []byte(text))
		if _, err := tx.Append(store.InPart("log", l.Part), store.Bundle{N: 1, Data: data, MinTime: 1, MaxTime: 1}); err != nil {
			return err
		}
		return tx.Put(store.InPart("last", l.Part), store.Entry{Key: []byte("last"), Value: []byte(text)})
	}).Wait(context.Background())
}

func content(t *testing.T, r Replica, part int) (messages int64, last string) {
	t.Helper()
	if err := r.Store.View(t.Context(), func(v store.View) error {
		b, err := v.Log().Bounds(store.InPart("log", part))
		if err != nil {
			return err
		}
		e, _, err := v.State().Get(store.InPart("last", part), []byte("last"))
		messages, last = b.Next, string(e.Value)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return messages, last
}

func fences(t *testing.T, h Harness) {
	a, b := h.Open(t)
	old := take(t, a, "a", short, 1)[0]
	if err := add(a, old, "one"); err != nil {
		t.Fatal(err) // run out or not: nobody else has it
	}
	h.Pass(2 * short)
	now := take(t, b, "b", long, 1)[0]
	if err := add(a, old, "zombie"); !errors.Is(err, lease.ErrLost) {
		t.Fatalf("a zombie's write: %v", err)
	}
	if err := add(b, now, "two"); err != nil {
		t.Fatal(err)
	}
	if n, last := content(t, b, 1); n != 2 || last != "two" {
		t.Fatalf("%d messages, the last %q", n, last)
	}
	if err := b.Release(t.Context(), []lease.Lease{now}); err != nil {
		t.Fatal(err)
	}
	if err := add(b, now, "released"); !errors.Is(err, lease.ErrLost) {
		t.Fatalf("a write with a lease that was released: %v", err)
	}
	again := take(t, b, "b", long, 1)[0]
	if err := add(b, now, "older"); !errors.Is(err, lease.ErrLost) {
		t.Fatalf("a write with an older lease of the same replica: %v", err)
	}
	if err := add(b, again, "three"); err != nil {
		t.Fatal(err)
	}
	if n, last := content(t, b, 1); n != 3 || last != "three" {
		t.Fatalf("%d messages, the last %q", n, last)
	}
}

// one lets two replicas grasp for the same parts.
func one(t *testing.T, h Harness) {
	a, b := h.Open(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	owners := map[int][]string{}
	for _, r := range []struct {
		Replica
		id string
	}{{a, "a"}, {b, "b"}} {
		for range 4 {
			wg.Go(func() {
				got, err := r.Take(context.Background(), r.id+time.Now().String(), []int{0, 1, 2, 3}, long)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, l := range got {
					owners[l.Part] = append(owners[l.Part], l.Owner)
				}
			})
		}
	}
	wg.Wait()
	for p := range 4 {
		if len(owners[p]) != 1 {
			t.Errorf("part %d was given to %v", p, owners[p])
		}
	}
}

// beside takes a part from a replica that writes all the time: what it is told was written is there, and nothing else.
func beside(t *testing.T, h Harness) {
	a, b := h.Open(t)
	old := take(t, a, "a", short, 3)[0]
	begun := make(chan struct{})
	var written int64
	done := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			if err := add(a, old, "a"); err != nil {
				done <- err
				return
			}
			if written++; written == 3 {
				close(begun)
			}
		}
	}()
	<-begun
	h.Pass(2 * short)
	var now []lease.Lease
	for len(now) == 0 { // an implementation may pass by a part whose row is locked at this moment
		now = take(t, b, "b", long, 3)
	}
	at, _ := content(t, b, 3)
	if err := <-done; !errors.Is(err, lease.ErrLost) {
		t.Fatalf("the old holder's last write: %v", err)
	}
	n, _ := content(t, b, 3)
	if n != written || n != at {
		t.Errorf("%d messages are there, %d when the part was taken; the old holder was told of %d", n, at, written)
	}
}
