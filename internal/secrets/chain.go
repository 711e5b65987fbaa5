package secrets

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// chain is a list of providers that are asked in order.
type chain struct {
	specs     []*plan.SecretProvider
	providers []penstock.SecretProvider
	owned     bool // to be closed

	stop func()
	done sync.WaitGroup
}

// same reports whether c is made of specs.
func (c *chain) same(specs []*plan.SecretProvider) bool {
	return c != nil && slices.EqualFunc(c.specs, specs, func(a, b *plan.SecretProvider) bool { return a.Driver == b.Driver && a.Source == b.Source })
}

func (k *Keeper) build(p *plan.Plan) (*chain, error) {
	if k.o.Instead != nil {
		return &chain{specs: p.SecretProviders, providers: []penstock.SecretProvider{k.o.Instead}}, nil
	}
	c := &chain{specs: p.SecretProviders, owned: true}
	var errs []error
	for _, s := range c.specs {
		v, err := s.Driver.Build(s.Config, penstock.Env{Name: "secrets", Logger: k.o.Logger, Clock: k.o.Clock, Runtime: &penstock.Runtime{Params: p.Params, Clock: k.o.Clock}})
		if err != nil {
			errs = append(errs, &penstock.Error{Code: penstock.Config, Op: "start", Path: s.Pos.String(), Err: err})
			continue
		}
		c.providers = append(c.providers, v.(penstock.SecretProvider))
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, c.close())...)
	}
	return c, nil
}

// reading is what a chain has found.
type reading struct {
	values map[string]string
	from   map[string]int   // which provider gave it
	errs   map[string]error // of names
	failed map[int]error    // of providers
	broken []error          // the same, in order
}

// read asks the providers. The first that has a name decides, also where it can't read its value.
func (c *chain) read(ctx context.Context, names []string) reading {
	r := reading{values: map[string]string{}, from: map[string]int{}, errs: map[string]error{}, failed: map[int]error{}}
	for i, p := range c.providers {
		var ask []string
		for _, n := range names {
			if _, ok := r.values[n]; !ok && r.errs[n] == nil {
				ask = append(ask, n)
			}
		}
		if len(ask) == 0 {
			break
		}
		found, err := p.Read(ctx, ask)
		if err != nil {
			r.failed[i] = err
			r.broken = append(r.broken, err)
			continue
		}
		for _, n := range slices.Sorted(maps.Keys(found)) {
			switch v := found[n]; {
			case v.Err != nil:
				r.errs[n] = v.Err
			case v.Value == "":
				r.errs[n] = errors.New("it is empty")
			default:
				r.values[n], r.from[n] = v.Value, i
			}
		}
	}
	return r
}

// where says where a secret could be put.
func (c *chain) where(name string) string {
	var places []string
	for _, p := range c.providers {
		places = append(places, p.Where(name))
	}
	if len(places) == 0 {
		return "name a provider of secrets in the Integration"
	}
	return "put it into " + strings.Join(places, ", or into ")
}

// watch calls changed whenever a provider has something new, until close.
func (c *chain) watch(changed func(context.Context, *chain), log *slog.Logger) {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	for _, p := range c.providers {
		c.done.Go(func() {
			if err := p.Watch(ctx, func() { changed(ctx, c) }); err != nil && ctx.Err() == nil {
				log.Warn("a provider of secrets can't be watched; new values need a restart", "reason", err)
			}
		})
	}
}

// close stops watching and closes what was built. It may be called for a nil chain, and not with the keeper's lock held.
func (c *chain) close() error {
	if c == nil {
		return nil
	}
	if c.stop != nil {
		c.stop()
		c.done.Wait()
	}
	if !c.owned {
		return nil
	}
	var errs []error
	for _, p := range c.providers {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
