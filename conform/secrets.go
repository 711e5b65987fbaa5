package conform

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
)

// SecretsHarness describes a provider of secrets.
type SecretsHarness struct {
	// New makes a place for secrets that is empty.
	New      func(t testing.TB) SecretsPlace
	Features SecretsFeatures
}

// SecretsFeatures is what a provider of secrets declares.
type SecretsFeatures struct {
	// Rotates: what is put there while the program runs is found, and Watch tells of it.
	Rotates bool
	// Together: the values of one Put are seen all at once or not at all.
	Together bool
}

// SecretsPlace is one place where secrets are kept.
type SecretsPlace struct {
	// Provider makes a provider that reads there.
	Provider func(t testing.TB) penstock.SecretProvider
	// Put puts these values in the place of all that are there. It is called from several goroutines, one at a time.
	Put func(t testing.TB, values map[string]string)
	// Break makes the value of a name unreadable, or empty. Nil if it can't be done.
	Break func(t testing.TB, name string)
}

// Secrets runs the suite.
func Secrets(t *testing.T, h SecretsHarness) {
	t.Run("finds what is there", h.finds)
	t.Run("keeps values to itself", h.discreet)
	t.Run("tells of one that can't be read", h.broken)
	t.Run("stops watching when it is told", h.stops)
	t.Run("tells of new values", h.rotates)
	t.Run("gives no part of two versions", h.together)
	t.Run("is asked by many at once", h.concurrent)
}

func (h SecretsHarness) open(t testing.TB, values map[string]string) (context.Context, SecretsPlace, penstock.SecretProvider) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	place := h.New(t)
	place.Put(t, values)
	p := place.Provider(t)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error("Close:", err)
		}
		cancel()
	})
	return ctx, place, p
}

func readSecrets(ctx context.Context, t testing.TB, p penstock.SecretProvider, names ...string) map[string]penstock.SecretReading {
	t.Helper()
	got, err := p.Read(ctx, names)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (h SecretsHarness) finds(t *testing.T) {
	values := map[string]string{"db-password": `p4$$ "word" # \ ünï`, "pem": "-----BEGIN X-----\nAAAA\nBBBB\n-----END X-----", "other": "never asked for"}
	ctx, _, p := h.open(t, values)
	for range 2 {
		got := readSecrets(ctx, t, p, "db-password", "pem", "missing")
		if len(got) != 2 {
			t.Errorf("%d readings, want 2: one of them is missing, and one was not asked for", len(got))
		}
		for name, r := range got {
			if r.Err != nil || r.Value != values[name] {
				t.Errorf("%s: %q, %v", name, r.Value, r.Err)
			}
		}
	}
	if got := readSecrets(ctx, t, p); len(got) != 0 {
		t.Error("readings of no names")
	}
}

func (h SecretsHarness) discreet(t *testing.T) {
	ctx, _, p := h.open(t, map[string]string{"db-password": "correct-horse"})
	readSecrets(ctx, t, p, "db-password")
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", p, p, p), p.Where("db-password")} {
		if strings.Contains(text, "correct-horse") {
			t.Error("a value is printed")
		}
	}
	if w := p.Where("db-password"); w == "" || w == p.Where("another") {
		t.Errorf("Where says %q of db-password, and %q of another", w, p.Where("another"))
	}
}

func (h SecretsHarness) broken(t *testing.T) {
	ctx, place, p := h.open(t, map[string]string{"good": "correct-horse", "bad": "battery-staple"})
	if place.Break == nil {
		t.Skip("the harness can't break a value")
	}
	place.Break(t, "bad")
	got := readSecrets(ctx, t, p, "good", "bad")
	if got["good"].Value != "correct-horse" || got["good"].Err != nil {
		t.Errorf("the one beside it: %v", got["good"].Err)
	}
	if got["bad"].Err == nil || got["bad"].Value != "" {
		t.Fatal("no error for what can't be read")
	}
	if strings.Contains(got["bad"].Err.Error(), "battery-staple") {
		t.Error("the error has the value")
	}
}

func (h SecretsHarness) stops(t *testing.T) {
	ctx, _, p := h.open(t, map[string]string{"a": "correct-horse"})
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- p.Watch(ctx, func() {}) }()
	cancel()
	if err := <-done; err != nil {
		t.Error("Watch, whose context has ended:", err)
	}
}

func (h SecretsHarness) rotates(t *testing.T) {
	if !h.Features.Rotates {
		t.Skip("the provider does not declare Rotates")
	}
	ctx, place, p := h.open(t, map[string]string{"a": "value-0"})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		done <- p.Watch(ctx, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	for i := 1; i <= 3; i++ {
		want := fmt.Sprintf("value-%d", i)
		place.Put(t, map[string]string{"a": want})
		for readSecrets(ctx, t, p, "a")["a"].Value != want { // told at the latest when it is there
			select {
			case <-changed:
			case <-ctx.Done():
				t.Fatal("nobody tells of the new value")
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func (h SecretsHarness) together(t *testing.T) {
	if !h.Features.Rotates || !h.Features.Together {
		t.Skip("the provider does not declare Rotates and Together")
	}
	pair := func(i int) map[string]string {
		s := strings.Repeat(fmt.Sprintf("%07d-", i), 1000)
		return map[string]string{"cert": s, "key": s}
	}
	ctx, place, p := h.open(t, pair(0))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
				place.Put(t, pair(i))
			}
		}
	})
	seen := map[string]bool{}
	for range 500 {
		got, err := p.Read(ctx, []string{"cert", "key"})
		if err != nil {
			continue // it says that it can't be sure
		}
		cert, key := got["cert"], got["key"]
		if cert.Err != nil || key.Err != nil {
			continue
		}
		if cert.Value != key.Value {
			t.Errorf("a certificate of version %.8s beside a key of version %.8s", cert.Value, key.Value)
			break
		}
		if v := cert.Value; len(v) != 8000 || strings.Repeat(v[:8], 1000) != v {
			t.Error("a value that is a mixture of two")
			break
		}
		seen[cert.Value[:8]] = true
	}
	close(stop)
	wg.Wait()
	if len(seen) < 2 {
		t.Errorf("%d versions were seen", len(seen))
	}
}

func (h SecretsHarness) concurrent(t *testing.T) {
	ctx, _, p := h.open(t, map[string]string{"a": "correct-horse", "b": "battery-staple"})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				got, err := p.Read(ctx, []string{"a", "b"})
				if err != nil || got["a"].Value != "correct-horse" || got["b"].Value != "battery-staple" {
					t.Error("wrong values under concurrency:", err)
					return
				}
			}
		})
	}
	wg.Wait()
}
