package run

import (
	"context"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/policy"
)

// errBehind says of a message that it was not sent, since a part of its batch before it could not be.
var errBehind = errors.New("not sent, since what is before it could not be")

// guarded is write through the sink's guard. The batch goes in parts: no larger than the burst of its rate, and of a sink that makes
// a request of each message no larger than there is room for. A part that fails with a transient error holds back those behind it, so that
// nothing overtakes.
func (s *sink) guarded(ctx context.Context, b *penstock.Batch, retry bool) error {
	all := b.Msgs
	defer func() { b.Msgs = all }()
	var errs map[int]error
	for at := 0; at < len(all); {
		b.Msgs = all[at:]
		n, err := s.part(ctx, b, retry)
		if err == nil {
			at += n
			continue
		}
		if n == len(all) {
			return err
		}
		if errs == nil {
			errs = map[int]error{}
		}
		again := failedIn(errs, at, n, err)
		if at += n; !again {
			continue
		}
		for ; at < len(all); at++ {
			errs[at] = &penstock.Error{Code: penstock.Unavailable, Op: s.ep.Name, Err: errBehind, RetryAfter: penstock.RetryAfterOf(err), Unsent: true}
		}
	}
	if errs == nil {
		return nil
	}
	return &penstock.BatchError{Errs: errs}
}

// failedIn notes how a part of n messages failed, and reports whether one of them is worth another try.
func failedIn(errs map[int]error, at, n int, err error) (again bool) {
	var each *penstock.BatchError
	if !errors.As(err, &each) {
		for i := range n {
			errs[at+i] = err
		}
		return penstock.CodeOf(err).Transient() && !errors.Is(err, errOverdrawn)
	}
	for i, e := range each.Errs {
		errs[at+i] = e
		again = again || penstock.CodeOf(e).Transient()
	}
	return again
}

// part writes as much of the batch as may go now, and says how many messages that were; none go where there is an error at once, which
// then speaks of all.
func (s *sink) part(ctx context.Context, b *penstock.Batch, retry bool) (int, error) {
	n := len(b.Msgs)
	if r := s.guard.rules.RateLimit; r != nil {
		n = min(n, max(r.Burst, 1))
	}
	p, err := s.guard.enter(ctx, bid{n: n, each: s.many, retry: retry})
	if err != nil {
		return len(b.Msgs), err
	}
	if s.many {
		n = p.n
	}
	b.Msgs = b.Msgs[:n]
	ends := policy.Tally{policy.Unknown: p.n}
	defer func() { s.guard.leave(p, ends) }()
	err = s.through(ctx, b)
	ends = tally(ctx, err, n, p.n)
	return n, err
}

// tally is what a write of n messages says, which were as many requests, or one.
func tally(ctx context.Context, err error, n, requests int) policy.Tally {
	var t policy.Tally
	var each *penstock.BatchError
	if !errors.As(err, &each) {
		t[verdictOf(ctx, err)] = requests
		return t
	}
	for _, e := range each.Errs {
		t[verdictOf(ctx, e)]++
	}
	t[policy.Healthy] += n - len(each.Errs)
	if requests == n {
		return t
	}
	for _, v := range []policy.Verdict{policy.Failing, policy.Healthy, policy.Unknown} { // one request says what the message says that fared worst
		if t[v] > 0 {
			return v.Of()
		}
	}
	return t
}
