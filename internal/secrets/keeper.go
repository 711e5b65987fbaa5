// Package secrets keeps the values of secrets while the program runs: it asks the providers that an Integration chooses, binds what
// configurations refer to, takes up new values, and hides what leaks into texts.
package secrets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// Options are what a [Keeper] needs beside a plan.
type Options struct {
	Clock  penstock.Clock
	Logger *slog.Logger // nil: none
	// Instead is asked in the place of a plan's providers, for tests and programs that embed this one; it is not closed. Usually nil.
	Instead penstock.SecretProvider
}

// Keeper knows the values of the secrets of a process, over all reloads of its configuration. It is safe for concurrent use.
type Keeper struct {
	o      Options
	values *penstock.SecretValues

	filling sync.Mutex // one Fill or Close at a time

	mu    sync.Mutex
	chain *chain            // who is asked; nil before the first Fill
	names []string          // what was ever referred to, sorted: flows of earlier plans may still run
	from  map[string]int    // which of the chain gave a value
	told  map[string]string // the last warning about a name, or (under "") about a provider
}

// New makes a keeper that knows nothing yet.
func New(o Options) *Keeper {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{o: o, values: penstock.NewSecretValues(), from: map[string]int{}, told: map[string]string{}}
}

// Redact hides the values of secrets in a text that goes out by accident.
func (k *Keeper) Redact(text string) string { return k.values.Redact(text) }

// Fill looks up the secrets that p refers to, binds its places to them and keeps them up to date from then on, until Close. The
// error names every secret that is not there, with its places; nothing has changed then, and earlier plans keep their values.
func (k *Keeper) Fill(ctx context.Context, p *plan.Plan) error {
	k.filling.Lock()
	defer k.filling.Unlock()
	old := k.chain
	if len(p.Secrets) == 0 && old.same(p.SecretProviders) {
		return nil // nobody is asked for nothing
	}
	next := old
	if !next.same(p.SecretProviders) {
		var err error
		if next, err = k.build(p); err != nil {
			return err
		}
	}
	names := slices.Clone(k.names)
	for _, use := range p.Secrets {
		names = append(names, use.Name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	got := next.read(ctx, names)
	if err := missing(p, next, got); err != nil {
		if next != old {
			err = errors.Join(err, next.close())
		}
		return err
	}
	k.mu.Lock()
	if next != old {
		k.chain, k.from = next, map[string]int{} // the indexes were the old chain's
	}
	k.names = names
	k.take(got)
	for _, use := range p.Secrets {
		use.Target.Bind(k.values, use.Name)
	}
	k.mu.Unlock()
	if next == old {
		return nil
	}
	next.watch(k.refresh, k.o.Logger)
	return old.close()
}

// missing says what p refers to and got does not have.
func missing(p *plan.Plan, c *chain, got reading) error {
	var errs []error
	for _, use := range p.Secrets {
		if _, ok := got.values[use.Name]; ok {
			continue
		}
		e := &penstock.Error{Code: penstock.Config, Op: "start", Path: use.Pos.String(), Err: fmt.Errorf("the secret %s is not there", use.Name)}
		if why := got.errs[use.Name]; why != nil {
			e.Err = fmt.Errorf("the secret %s can't be read: %w", use.Name, why)
		} else {
			e.Hint = c.where(use.Name)
		}
		errs = append(errs, e)
	}
	if len(errs) > 0 { // else another provider has them
		errs = append(errs, got.broken...)
	}
	return errors.Join(errs...)
}

// refresh takes up what has changed.
func (k *Keeper) refresh(ctx context.Context, c *chain) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c != k.chain || ctx.Err() != nil {
		return // replaced meanwhile
	}
	k.take(c.read(ctx, k.names))
}

// take puts the values of got in force. Where there is none, the old value stays, and that is said once. The caller holds mu.
func (k *Keeper) take(got reading) {
	now := map[string]string{}
	broken := map[int]bool{}
	var trouble []string
	for i, err := range got.failed {
		broken[i] = true
		trouble = append(trouble, err.Error())
	}
	slices.Sort(trouble)
	k.tell("", strings.Join(trouble, "; "), "a provider of secrets can't be asked; the values that it gave stay in use")
	changed := false
	var rotated []string
	for _, name := range k.names {
		old, had := k.values.Value(name)
		v, ok := got.values[name]
		from, known := k.from[name]
		switch {
		case known && broken[from] && (!ok || got.from[name] > from):
			ok = false // what another has in its place was never meant to be used
		case got.errs[name] != nil:
			k.tell(name, got.errs[name].Error(), "the new value of a secret can't be used; the old one stays in use")
		case !ok && had:
			k.tell(name, "gone", "a secret is gone; its last value stays in use")
		default:
			delete(k.told, name)
		}
		switch {
		case ok:
			now[name], k.from[name] = v, got.from[name]
			if had && v != old {
				rotated = append(rotated, name)
			}
			changed = changed || !had || v != old
		case had:
			now[name] = old
		}
	}
	if changed {
		k.values.Replace(now)
		for _, name := range k.values.Short() {
			if about := "short " + name; k.told[about] == "" {
				k.told[about] = name
				k.o.Logger.Warn("a secret has fewer than 4 bytes: in logs and errors it is hidden only where it stands by itself", "secret", name)
			}
		}
	}
	for _, name := range rotated {
		k.o.Logger.Info("a secret has a new value", "secret", name)
	}
}

// tell warns once of the same thing. about is the name of a secret; what is "" where all is well.
func (k *Keeper) tell(about, what, text string) {
	if k.told[about] == what {
		return
	}
	if k.told[about] = what; what == "" {
		delete(k.told, about)
		return
	}
	attrs := []any{"reason", k.values.Redact(what)}
	if about != "" {
		attrs = append(attrs, "secret", about)
	}
	k.o.Logger.Warn(text, attrs...)
}

// Names lists the secrets that are known, sorted.
func (k *Keeper) Names() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.names)
}

// Close stops watching. The values stay.
func (k *Keeper) Close() error {
	k.filling.Lock()
	defer k.filling.Unlock()
	k.mu.Lock()
	c := k.chain
	k.chain = nil
	k.mu.Unlock()
	return c.close()
}
