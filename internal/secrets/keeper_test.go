package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a provider whose values a test sets.
type fake struct {
	name string

	mu      sync.Mutex
	values  map[string]string
	errs    map[string]error
	err     error
	closed  int
	changed func()
	watched chan struct{} // closed once Watch has called changed
}

func newFake(name string, values map[string]string) *fake {
	return &fake{name: name, values: values, errs: map[string]error{}, watched: make(chan struct{})}
}

func (f *fake) Read(_ context.Context, names []string) (map[string]penstock.SecretReading, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	out := map[string]penstock.SecretReading{}
	for _, n := range names {
		if err := f.errs[n]; err != nil {
			out[n] = penstock.SecretReading{Err: err}
		} else if v, ok := f.values[n]; ok {
			out[n] = penstock.SecretReading{Value: v}
		}
	}
	return out, nil
}

func (f *fake) Watch(ctx context.Context, changed func()) error {
	f.mu.Lock()
	f.changed = changed
	f.mu.Unlock()
	changed()
	close(f.watched)
	<-ctx.Done()
	return nil
}

func (f *fake) Where(name string) string { return f.name + "'s " + name }

func (f *fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

// set changes what the fake has and tells of it.
func (f *fake) set(change func()) {
	<-f.watched
	f.mu.Lock()
	change()
	changed := f.changed
	f.mu.Unlock()
	changed()
}

// planOf is a plan of providers and of names of secrets; the secrets are those of its places.
func planOf(providers []*fake, names ...string) (*plan.Plan, []penstock.Secret) {
	p := &plan.Plan{}
	for _, f := range providers {
		r := penstock.NewRegistry()
		penstock.RegisterSecrets(r, penstock.Spec{Name: f.name}, func(struct{}, penstock.Env) (penstock.SecretProvider, error) { return f, nil })
		drv, _ := r.Lookup(penstock.KindOfSecrets, f.name)
		p.SecretProviders = append(p.SecretProviders, &plan.SecretProvider{Driver: drv, Config: drv.NewConfig(), Source: "{}"})
	}
	var cells []penstock.Secret
	for i, n := range names {
		s := penstock.EmptySecret()
		cells = append(cells, s)
		p.Secrets = append(p.Secrets, plan.Secret{Name: n, Target: s, Pos: penstock.Pos{File: "main.yaml", Line: i + 1, Col: 7}})
	}
	return p, cells
}

// logged collects what is logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

func newKeeper(t *testing.T) (*Keeper, *logged) {
	out := &logged{}
	k := New(Options{Clock: penstock.SystemClock{}, Logger: slog.New(slog.NewTextHandler(out, nil))})
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k, out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func reveal(cells []penstock.Secret) []string { return penstock.RevealAll(cells...) }

func TestFirstThatHasItGivesIt(t *testing.T) {
	first, second := newFake("first", map[string]string{"a": "a-of-first"}), newFake("second", map[string]string{"a": "a-of-second", "b": "b-of-second"})
	k, out := newKeeper(t)
	p, cells := planOf([]*fake{first, second}, "a", "b", "a")
	must(t, k.Fill(context.Background(), p))
	want := []string{"a-of-first", "b-of-second", "a-of-first"}
	if got := reveal(cells); !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	first.set(func() { first.values["a"], first.values["b"] = "a-rotated", "b-of-first" })
	if got := reveal(cells); !reflect.DeepEqual(got, []string{"a-rotated", "b-of-first", "a-rotated"}) {
		t.Errorf("after a change: %q", got)
	}
	log := out.take()
	if strings.Count(log, "a secret has a new value") != 2 || strings.Contains(log, "rotated") || strings.Contains(log, "-of-") {
		t.Errorf("the log: %s", log)
	}
}

func TestAllThatIsMissingIsToldAtOnce(t *testing.T) {
	first, second := newFake("first", map[string]string{"a": "hidden-value"}), newFake("second", nil)
	second.errs["bad"] = errors.New("no permission")
	k, _ := newKeeper(t)
	p, cells := planOf([]*fake{first, second}, "a", "b", "bad", "c", "b")
	err := k.Fill(context.Background(), p)
	if err == nil {
		t.Fatal("no error")
	}
	want := `start: main.yaml:2:7: the secret b is not there (put it into first's b, or into second's b)
start: main.yaml:3:7: the secret bad can't be read: no permission
start: main.yaml:4:7: the secret c is not there (put it into first's c, or into second's c)
start: main.yaml:5:7: the secret b is not there (put it into first's b, or into second's b)`
	if err.Error() != want || penstock.CodeOf(err) != penstock.Config {
		t.Errorf("%v", err)
	}
	if cells[0].Reveal() != "" || first.closed != 1 || second.closed != 1 {
		t.Error("something is left of what could not be filled")
	}
}

func TestABrokenProviderIsSaid(t *testing.T) {
	first, second := newFake("first", nil), newFake("second", map[string]string{"a": "value"})
	first.err = penstock.E(penstock.Unavailable, "vault", "https://vault", "sealed")
	k, out := newKeeper(t)
	p, cells := planOf([]*fake{first, second}, "a")
	must(t, k.Fill(context.Background(), p))
	if cells[0].Reveal() != "value" || !strings.Contains(out.take(), "sealed") {
		t.Error("another that has all of it is asked, and the trouble is said")
	}
	more, _ := planOf([]*fake{first, second}, "a", "b")
	more.SecretProviders = p.SecretProviders
	if err := k.Fill(context.Background(), more); err == nil || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("what may be in the broken one: %v", err)
	}
}

// TestTheOldValueStays: whatever happens to a value that was there, the flows go on with it.
func TestTheOldValueStays(t *testing.T) {
	for name, c := range map[string]struct {
		change func(first, second *fake)
		warns  string
	}{
		"gone":            {func(f, _ *fake) { delete(f.values, "a") }, "a secret is gone"},
		"empty":           {func(f, _ *fake) { f.values["a"] = "" }, "the new value of a secret can't be used"},
		"unreadable":      {func(f, _ *fake) { f.errs["a"] = errors.New("no permission for value-old") }, "the new value of a secret can't be used"},
		"provider broken": {func(f, _ *fake) { f.err = errors.New("connection refused") }, "a provider of secrets can't be asked"},
		"provider broken, another has one": {func(f, s *fake) {
			f.err = errors.New("connection refused")
			s.values = map[string]string{"a": "value-never-meant"}
		}, "a provider of secrets can't be asked"},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := newFake("first", map[string]string{"a": "value-old"}), newFake("second", nil)
			k, out := newKeeper(t)
			p, cells := planOf([]*fake{first, second}, "a")
			must(t, k.Fill(context.Background(), p))
			good := maps.Clone(first.values)
			first.set(func() { c.change(first, second) })
			second.set(func() {}) // asked once more: the warning is not repeated
			if got := cells[0].Reveal(); got != "value-old" {
				t.Errorf("%q", got)
			}
			if log := out.take(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, c.warns) || strings.Contains(log, "value-") {
				t.Errorf("the log: %s", log)
			}
			first.set(func() { first.err, first.errs, first.values = nil, map[string]error{}, good; good["a"] = "value-new" })
			if got := cells[0].Reveal(); got != "value-new" {
				t.Errorf("mended: %q", got)
			}
			first.set(func() { c.change(first, second) })
			if log := out.take(); strings.Count(log, "level=WARN") != 1 {
				t.Errorf("told a second time: %s", log)
			}
		})
	}
}

// TestShortValuesAreSaid: what can't be hidden everywhere is warned of once.
func TestShortValuesAreSaid(t *testing.T) {
	f := newFake("first", map[string]string{"pin": "123", "long": "value-old"})
	k, out := newKeeper(t)
	p, _ := planOf([]*fake{f}, "pin", "long")
	must(t, k.Fill(context.Background(), p))
	if got := k.Redact("pin=123, 41234, value-old"); got != "pin=[redacted], 41234, [redacted]" {
		t.Error(got)
	}
	f.set(func() { f.values["long"] = "value-new" })
	f.set(func() { f.values["pin"] = "321" })
	if log := out.take(); strings.Count(log, "fewer than 4 bytes") != 1 || !strings.Contains(log, "secret=pin") || strings.Contains(log, "123") || strings.Contains(log, "321") {
		t.Errorf("the log: %s", log)
	}
}

// TestReload: flows of an earlier plan may go on with what they have, so its places are kept up to date, too.
func TestReload(t *testing.T) {
	f := newFake("f", map[string]string{"a": "a-1", "b": "b-1"})
	k, _ := newKeeper(t)
	old, oldCells := planOf([]*fake{f}, "a")
	must(t, k.Fill(context.Background(), old))
	next, nextCells := planOf([]*fake{f}, "a", "b")
	next.SecretProviders = old.SecretProviders
	must(t, k.Fill(context.Background(), next))
	broken, _ := planOf([]*fake{f}, "a", "zzz")
	broken.SecretProviders = old.SecretProviders
	if err := k.Fill(context.Background(), broken); err == nil {
		t.Error("a missing secret is no error")
	}
	f.set(func() { f.values["a"], f.values["b"] = "a-2", "b-2" })
	if got := append(reveal(oldCells), reveal(nextCells)...); !reflect.DeepEqual(got, []string{"a-2", "a-2", "b-2"}) {
		t.Errorf("%q", got)
	}
	g := newFake("g", map[string]string{"a": "a-of-g", "b": "b-of-g"})
	other, otherCells := planOf([]*fake{g}, "b")
	must(t, k.Fill(context.Background(), other))
	if f.closed != 1 {
		t.Error("the provider that is configured no more is not closed")
	}
	if got := append(reveal(oldCells), reveal(otherCells)...); !reflect.DeepEqual(got, []string{"a-of-g", "b-of-g"}) {
		t.Errorf("with another provider: %q", got)
	}
	if got := k.Names(); !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
}

// TestRapidRotation: readers see whole values of one moment, however fast they change.
func TestRapidRotation(t *testing.T) {
	pair := func(i int) map[string]string {
		v := strings.Repeat(fmt.Sprint(i%10), 64)
		return map[string]string{"cert": v, "key": v}
	}
	f := newFake("f", pair(0))
	k, _ := newKeeper(t)
	p, cells := planOf([]*fake{f}, "cert", "key")
	must(t, k.Fill(context.Background(), p))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got := penstock.RevealAll(cells...)
				if got[0] != got[1] || len(got[0]) != 64 || strings.Trim(got[0], got[0][:1]) != "" {
					t.Errorf("torn: %q", got)
					return
				}
			}
		})
	}
	for i := range 500 {
		f.set(func() { f.values = pair(i) })
	}
	close(stop)
	wg.Wait()
}

func TestHandler(t *testing.T) {
	f := newFake("f", map[string]string{"a": "correct-horse"})
	k, _ := newKeeper(t)
	p, _ := planOf([]*fake{f}, "a")
	for _, filled := range []bool{false, true} {
		if filled {
			must(t, k.Fill(context.Background(), p))
		}
		var b bytes.Buffer
		log := slog.New(k.Handler(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelInfo})))
		log.Debug("correct-horse")
		log.With("dsn", "u:correct-horse@db", "n", 1).WithGroup("g").Warn("with correct-horse", "error", fmt.Errorf("x: %w", errors.New("correct-horse")),
			slog.Group("in", "text", "correct-horse"), "list", []string{"correct-horse"}, "bytes", []byte("correct-horse"), "good", struct{ A int }{7}, "d", 3.5)
		line := b.String()
		if line == "" || strings.Contains(line, "correct-horse") == filled {
			t.Errorf("filled %v: %s", filled, line)
		}
		for _, want := range []string{`"good":{"A":7}`, `"d":3.5`, `"dsn":"u:[redacted]@db"`} {
			if filled && !strings.Contains(line, want) {
				t.Errorf("no %s in %s", want, line)
			}
		}
	}
}

func TestRedactError(t *testing.T) {
	f := newFake("f", map[string]string{"a": "correct-horse"})
	k, _ := newKeeper(t)
	p, _ := planOf([]*fake{f}, "a")
	must(t, k.Fill(context.Background(), p))
	clean := penstock.E(penstock.Timeout, "call", "x", "no answer")
	leak := penstock.E(penstock.Unavailable, "dial", "db", "postgres://u:correct-horse@db refused")
	if got := k.RedactError(clean); got != error(clean) {
		t.Error("a clean error is another one afterwards")
	}
	got := k.RedactError(fmt.Errorf("start: %w", leak))
	if penstock.CodeOf(got) != penstock.Unavailable || got.Error() != "start: dial: db: postgres://u:[redacted]@db refused" {
		t.Error(got)
	}
	got = k.RedactError(errors.Join(clean, leak))
	if !errors.Is(got, clean) || strings.Contains(fmt.Sprintf("%v %+v", got, got), "horse") || !strings.Contains(got.Error(), "[redacted]") {
		t.Error(got)
	}
	if k.RedactError(nil) != nil {
		t.Error("nil")
	}
}
