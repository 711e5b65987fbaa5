// Package keyset is a set of keys with a window of time, kept in one space of the store: what dedupe and the inbox
// remember. It stays fast and small with tens of millions of keys, where a row a key would write pages at random.
//
// # Layout
//
// A key is 128 bits of its SHA-256, with the millisecond at which it came. New ones go to a map in memory and, in the same
// transaction, into a log. When enough have gathered they become a run: entries sorted by hash, in pages of about a kilobyte. Of a run
// only a Bloom filter and the first hash of each page are in memory (about 1.7 bytes a key), and both are stored, so that opening reads
// them and not the keys. Runs that are neighbours in time are merged when they are of about one size. [Set.Maintain] does all
// this in portions, beside the transactions that add keys. A run whose newest key is out of the window is dropped whole.
//
// The filter decides only whether to look. What is found is compared in all of its 128 bits: that two keys
// are taken for one has a chance of about n²/2^129, 10^-25 with 10 million keys.
//
// # Time
//
// The set has a clock of its own: the latest time that a key came with, but never later than the engine's clock. A key counts for one
// window of that clock after it was added, to the millisecond. So keys that come late by event time find what is remembered, a replay of old
// messages is compared by their own times, and one message with a time in the far future does not make all others forgotten.
//
// The set's clock does not go back. Where the engine's is set back, by a second or more, it goes on from where it was: a key that had 10
// minutes left has 10 minutes left. A jump forwards can't be told from a pause: what is out of the window after it is forgotten.
//
// # Transactions
//
// A Set writes through a [Putter], in the order of its calls, and never reads what it wrote until that is durable: any number of
// transactions may be on their way. A transaction that fails makes the Set useless; open it again.
package keyset

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// Hash is what a set keeps of a key: the first 128 bits of its SHA-256 (FIPS 180-4).
type Hash struct{ hi, lo uint64 }

// Sum hashes a key.
func Sum(key []byte) Hash {
	sum := sha256.Sum256(key)
	return Hash{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])}
}

// Key is a key and when it came.
type Key struct {
	Hash Hash
	At   int64 // Unix nanoseconds: event time, or the engine's
}

// Viewer is the part of a [store.Store] that a set reads.
type Viewer interface {
	View(ctx context.Context, f func(store.View) error) error
}

// Putter changes the set's space in the transaction that is being made. It copies its arguments.
type Putter interface {
	Put(key, value []byte, due int64)
	Delete(key []byte)
}

// Options are a set's settings.
type Options struct {
	// Window is how long a key is remembered, rounded up to milliseconds. 0 or less: for ever.
	Window time.Duration
	// Memory is how many new keys gather before they become a run: about 60 bytes each. Default 131072.
	Memory int
	// Cache bounds the bytes of pages kept in memory for keys that are found. Default 8 MiB.
	Cache int
}

// Stats says how large a set is.
type Stats struct {
	Keys   int64 // entries, with those that are out of the window and still there
	Runs   int   // sorted runs
	Memory int64 // bytes: filters, fences, pages and new keys, about
	Stored int64 // bytes of the runs' pages, about
}

// Set is an open set. It is not safe for concurrent use.
type Set struct {
	viewer Viewer
	space  string
	shape  shape
	window int64 // milliseconds; 0: for ever

	clock  int64 // milliseconds; never is before the first key
	ahead  int64 // milliseconds that it is ahead of the engine's, and of the keys' times
	stored int64 // clock that the next start would find
	recent map[Hash]int64
	log    logTail

	frozen []entry // sorted: the keys of the run that flush writes; nil if there is none
	flush  *build
	merge  *build
	runs   []*run // oldest first
	dead   []dead // being deleted
	next   uint64 // id of the next run

	sequence uint64            // of the transactions that wrote pages
	fresh    map[pageID]unseen // written, and perhaps not durable yet
	pages    cache
	credit   int  // entries that Maintain may handle, beside the least
	dirty    bool // the manifest has to be written

	// Buffers.
	wanted []want
	best   []int64
	batch  map[Hash]int64
	keybuf []byte
}

// shape is what the layout is made with: smaller in tests.
type shape struct {
	memory int // keys that make a run
	page   int // bytes of a page: in an index of SQLite, with its pages of 4 KiB, four go into one, and a longer entry is read whole to compare its key
	chunk  int // 64-bit words of a stored piece of a filter, or of fences
	most   int // keys of the largest run that a merge makes
	log    int // bytes from which a log entry is not added to
	least  int // entries that one Maintain handles at least
	cache  int // bytes
}

const (
	never = math.MinInt64
	// slack is how far the engine's clock may go back before it counts as set back, in milliseconds: meanwhile the set's stands still.
	slack = 1000
)

// Open reads the set that the space holds; an empty one where it holds nothing. The space has to be the set's alone.
// What it reads is about 1.7 bytes a key. Errors are the store's, or say that what is there can't be read.
func Open(ctx context.Context, v Viewer, space string, o Options) (*Set, error) {
	sh := shape{memory: 128 << 10, page: 960, chunk: 2048, most: 8 << 20, log: 4000, least: 4096, cache: 8 << 20}
	if o.Memory > 0 {
		sh.memory = o.Memory
	}
	if o.Cache > 0 {
		sh.cache = o.Cache
	}
	return open(ctx, v, space, o.Window, sh)
}

func open(ctx context.Context, v Viewer, space string, window time.Duration, sh shape) (*Set, error) {
	s := &Set{viewer: v, space: space, shape: sh, clock: never, stored: never, recent: map[Hash]int64{}, fresh: map[pageID]unseen{},
		batch: map[Hash]int64{}}
	if window > 0 {
		s.window = int64((window + time.Millisecond - 1) / time.Millisecond)
	}
	s.pages.init(max(1, sh.cache/sh.page))
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Seen tells for each key whether it is in the set, or earlier among keys. It changes nothing. now is the engine's clock.
// The answers are appended to seen.
func (s *Set) Seen(ctx context.Context, now time.Time, keys []Key, seen []bool) ([]bool, error) {
	if err := s.look(ctx, keys); err != nil {
		return seen, err
	}
	clear(s.batch)
	clock, limit := s.clock, now.UnixMilli()
	ahead := s.follow(limit)
	for i, k := range keys {
		clock = max(clock, min(milli(k.At), limit)+ahead)
		at, ok := s.batch[k.Hash]
		if !ok {
			if at, ok = s.recent[k.Hash]; !ok {
				at = s.best[i]
			}
		}
		found := s.counts(at, clock)
		if !found {
			s.batch[k.Hash] = clock
		}
		seen = append(seen, found)
	}
	return seen, nil
}

// Add puts keys into the set, except those that it has. It tells for each whether it was new, appended to added. now is
// the engine's clock. out must belong to the transaction that makes durable what is done with new keys.
func (s *Set) Add(ctx context.Context, out Putter, now time.Time, keys []Key, added []bool) ([]bool, error) {
	if err := s.look(ctx, keys); err != nil {
		return added, err
	}
	limit := now.UnixMilli()
	ahead := s.follow(limit)
	turned := ahead != s.ahead
	s.ahead = ahead
	fresh := 0
	for i, k := range keys {
		s.clock = max(s.clock, min(milli(k.At), limit)+ahead)
		at, ok := s.recent[k.Hash]
		if !ok {
			at = s.best[i]
		}
		found := s.counts(at, s.clock)
		if !found {
			s.recent[k.Hash] = s.clock
			s.log.add(entry{k.Hash, s.clock})
			s.stored = s.clock // not what known keys behind it make of the clock: the log holds new ones only
			fresh++
		}
		added = append(added, !found)
	}
	s.credit += work * fresh
	if fresh > 0 {
		s.log.write(s, out)
	}
	if turned || s.stored != s.clock {
		s.writeClock(out)
	}
	return added, nil
}

// counts says whether something added at a time is still in the window.
func (s *Set) counts(at, clock int64) bool {
	return at != never && (s.window == 0 || clock-at < s.window)
}

// follow reckons how far the set's clock is ahead of the engine's after that: the engine's was set back, and the set's went on
// from where it was.
func (s *Set) follow(now int64) (ahead int64) {
	if s.clock != never && s.clock > now+s.ahead+slack {
		return s.clock - now
	}
	return s.ahead
}

// Stats measures the set.
func (s *Set) Stats() Stats {
	st := Stats{Keys: int64(len(s.recent) + len(s.frozen)), Runs: len(s.runs)}
	st.Memory = int64(len(s.recent))*48 + int64(cap(s.frozen))*24 + int64(s.pages.size()*s.shape.page) + int64(len(s.fresh)*s.shape.page)
	for _, r := range s.runs {
		st.Keys += r.entries
		st.Stored += r.entries * int64(r.size())
		st.Memory += r.memory()
	}
	for _, b := range []*build{s.flush, s.merge} {
		if b != nil {
			st.Memory += b.out.memory()
		}
	}
	return st
}

func milli(ns int64) int64 {
	ms := ns / int64(time.Millisecond)
	if ns%int64(time.Millisecond) < 0 {
		ms--
	}
	return ms
}

func (s *Set) damaged(what string, args ...any) error {
	e := penstock.E(penstock.Internal, "store", "space "+s.space, "the set of keys is damaged: "+fmt.Sprintf(what, args...))
	e.Hint = "restore a backup, or drop the state of this step or source; then its duplicates pass until it has learned the keys again"
	return e
}
