package view

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// registrySpace says which generation of each view is read.
const registrySpace = "view"

func rowSpace(view string, generation int64) string {
	return "view/" + view + "@" + strconv.FormatInt(generation, 10)
}

func atSpace(view string, generation int64) string { return rowSpace(view, generation) + "/at" }

// Group is the group of readers that a generation of a view is in the eyes of its channel.
func Group(view string, generation int64) string { return rowSpace(view, generation) }

// registered is what is known of a view: the entry in registrySpace.
type registered struct {
	Generation int64  `json:"generation"` // whose rows are read
	Hash       string `json:"hash"`       // of the definition that made them
	Building   int64  `json:"building,omitempty"`
	BuildHash  string `json:"buildHash,omitempty"`
	// Hold says that the generation which is built is kept beside the one that is read when it has caught up, until it is switched to.
	Hold bool  `json:"hold,omitempty"`
	Last int64 `json:"last"` // the highest generation that there ever was
	// Place is where the rows are, as a plan calls it; "" is the store. Owner is what the rows of this store are known by elsewhere.
	Place string `json:"place,omitempty"`
	Owner string `json:"owner,omitempty"`
}

func readRegistered(v store.View, name string) (r registered, ok bool, err error) {
	e, ok, err := v.State().Get(registrySpace, []byte(name))
	if err != nil || !ok {
		return r, false, err
	}
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return r, false, damagedEntry("the generations of view "+name, err)
	}
	return r, true, nil
}

func (r registered) put(tx store.Tx, name string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return tx.Put(registrySpace, store.Entry{Key: []byte(name), Value: text})
}

func damagedEntry(what string, err error) error {
	return &penstock.Error{Code: penstock.Internal, Op: "view", Err: fmt.Errorf("%s can't be read: %w", what, err), Hint: "`penstock view rebuild` makes the rows anew"}
}

// at is how far a generation has come: the entry in atSpace.
type at struct {
	Pos    []int64 `json:"pos"`           // of the next event, by part
	From   []int64 `json:"from"`          // of the first event that it has seen
	Born   []int64 `json:"born"`          // what its source had when it was begun
	Old    bool    `json:"old,omitempty"` // rows have to be made anew: a subject of them was erased
	Rows   int64   `json:"rows"`          // that there are
	Events int64   `json:"events"`        // that were folded
	// Stopped says why it goes no further.
	Stopped *Stopped `json:"stopped,omitempty"`
}

// Stopped is why a view goes no further.
type Stopped struct {
	Part     int           `json:"part,omitempty"`
	Position int64         `json:"position"` // of the event, in its part
	Version  int64         `json:"version"`
	Kind     string        `json:"event,omitempty"`
	Key      string        `json:"key,omitempty"`
	Code     penstock.Code `json:"code"`
	Message  string        `json:"message"`
	Time     time.Time     `json:"time"`
}

// backend is where the rows of a generation are.
type backend interface {
	// Load reads how far the rows have come; not ok where there are none yet.
	Load(ctx context.Context) (a at, ok bool, err error)
	// Read reads rows by their keys; nil for one that is not there.
	Read(ctx context.Context, keys []string) ([][]byte, error)
	// Write brings rows from one place to another, durably or not at all; errBehind where they are not at the first.
	Write(from, to at, changes []change) *store.Commit
	// Scan lists up to limit rows behind a key, in the order of their keys.
	Scan(ctx context.Context, after string, limit int) ([]Row, error)
	// Drop removes everything.
	Drop(ctx context.Context) error
}

// Row is a row of a view.
type Row struct {
	Key  string
	Text []byte // JSON
}

// stored keeps rows in the store.
type stored struct {
	st         store.Store
	view       string
	generation int64  // 0: the one that is read now, whichever that is; for reading only
	channel    string // whose messages are kept for it; "": that is nobody's matter
	entity     string // whose events they are made of; "": those of a channel
	place      string // "", or splitPlace
	inline     bool   // the rows are to change with their events
	// level has it give only rows that hold all events which v sees: those of a view that is inline. Else errNotLevel.
	level bool
}

// splitPlace is the place of rows that lie in the parts of the store that their events are in.
const splitPlace = "parts of the store"

// rowsIn is the space of the rows of a part.
func rowsIn(view string, generation int64, place string, part int) string {
	if place == splitPlace {
		return store.InPart(rowSpace(view, generation), part)
	}
	return rowSpace(view, generation)
}

// part is where the row of a key is.
func (s *stored) part(key string) int {
	if s.place == splitPlace {
		return store.PartOf(key, s.st.Parts())
	}
	return 0
}

// parts is in how many parts rows are.
func (s *stored) parts() int {
	if s.place == splitPlace {
		return s.st.Parts()
	}
	return 1
}

// lanes is in how many parts rows may change with their events; 0: in none.
func (s *stored) lanes() int {
	if s.entity == "" || s.parts() < s.st.Parts() {
		return 0
	}
	return s.parts()
}

// seen is the generation that is read in v. Which one is read now is looked up where its rows are, in the same view of the store, since another
// one may be switched to, and this one's rows dropped, at any time.
func (s *stored) seen(v store.View) (int64, error) {
	if s.generation != 0 {
		return s.generation, nil
	}
	r, ok, err := readRegistered(v, s.view)
	if err == nil && ok && r.Place != s.place {
		err = &penstock.Error{Code: penstock.Unavailable, Op: "view " + s.view, Err: errors.New("another version of the configuration keeps its rows, in another place")}
	}
	return r.Generation, err
}

// atKey is the key of the one entry of atSpace.
var atKey = []byte("at")

func (s *stored) Load(ctx context.Context) (a at, ok bool, err error) {
	a, beside, ok, err := s.load(ctx)
	return a.with(beside), ok, err
}

func (s *stored) at(v store.View) (a at, ok bool, err error) {
	e, ok, err := v.State().Get(atSpace(s.view, s.generation), atKey)
	if err != nil || !ok {
		return at{}, false, err
	}
	if err := json.Unmarshal(e.Value, &a); err != nil {
		return at{}, false, damagedEntry("the position of view "+s.view, err)
	}
	return a, true, nil
}

func (s *stored) Read(ctx context.Context, keys []string) (texts [][]byte, err error) {
	err = look(ctx, s.st, func(v store.View) error {
		texts = make([][]byte, len(keys))
		generation, err := s.seen(v)
		if err != nil {
			return err
		}
		checked := map[int]bool{}
		for i, k := range keys {
			p := s.part(k)
			if s.level && !checked[p] {
				if err := s.isLevel(v, generation, p); err != nil {
					return err
				}
				checked[p] = true
			}
			e, ok, err := v.State().Get(rowsIn(s.view, generation, s.place, p), []byte(k))
			if err != nil {
				return err
			}
			if ok {
				texts[i] = e.Value
			}
		}
		return nil
	})
	return texts, err
}

func (s *stored) Write(from, to at, changes []change) *store.Commit {
	write := func(tx store.Tx) error {
		for i := range changes {
			var err error
			c := &changes[i]
			space := rowsIn(s.view, s.generation, s.place, s.part(c.Key))
			if c.Text == nil {
				err = tx.Delete(space, []byte(c.Key))
			} else {
				err = tx.Put(space, store.Entry{Key: []byte(c.Key), Value: c.Text})
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	move := func(tx store.Tx) error {
		is, _, err := s.at(tx)
		if err != nil {
			return err
		}
		if !slices.Equal(is.Pos, from.Pos) && !mutation.On("view-two-writers") {
			return errBehind
		}
		if r, _, err := readRegistered(tx, s.view); err != nil || r.Generation != s.generation && r.Building != s.generation {
			return errors.Join(err, errRetired)
		}
		if err := s.alone(tx, from.Pos, to.Pos); err != nil {
			return err
		}
		if err := putAt(tx, s.view, s.generation, to); err != nil {
			return err
		}
		if s.channel == "" || mutation.On("view-channel-shortened") {
			return nil
		}
		return channel.SetCursor(tx, s.channel, Group(s.view, s.generation), to.Pos[0])
	}
	if mutation.On("view-position-ahead") {
		s.st.Submit(store.Bulk, move)
		return s.st.Submit(store.Bulk, write)
	}
	return s.st.Submit(store.Bulk, func(tx store.Tx) error {
		if err := move(tx); err != nil {
			return err
		}
		return write(tx)
	})
}

func putAt(tx store.Tx, view string, generation int64, a at) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return tx.Put(atSpace(view, generation), store.Entry{Key: atKey, Value: text})
}

func (s *stored) Scan(ctx context.Context, after string, limit int) (rows []Row, err error) {
	var key []byte
	if after != "" {
		key = []byte(after)
	}
	err = look(ctx, s.st, func(v store.View) error {
		rows, err = s.scan(v, key, limit)
		return err
	})
	return rows, err
}

// dropPage is how many rows are removed in one transaction.
const dropPage = 2000

func (s *stored) Drop(ctx context.Context) error {
	if err := s.unjoin(ctx); err != nil {
		return err
	}
	err := s.st.Submit(store.Small, func(tx store.Tx) error {
		if err := tx.Clear(atSpace(s.view, s.generation)); err != nil {
			return err
		}
		if s.channel == "" {
			return nil
		}
		return channel.RemoveCursor(tx, s.channel, Group(s.view, s.generation))
	}).Wait(ctx)
	if err != nil {
		return err
	}
	for p := range s.parts() {
		if err := s.drop(ctx, rowsIn(s.view, s.generation, s.place, p)); err != nil {
			return err
		}
	}
	return nil
}

// drop removes the entries of a space.
func (s *stored) drop(ctx context.Context, space string) error {
	for {
		var left bool
		err := s.st.Submit(store.Bulk, func(tx store.Tx) error {
			page, err := tx.State().Scan(space, nil, dropPage)
			if err != nil {
				return err
			}
			for _, e := range page {
				if err := tx.Delete(space, e.Key); err != nil {
					return err
				}
			}
			left = len(page) == dropPage
			return nil
		}).Wait(ctx)
		if err != nil || !left {
			return err
		}
	}
}

// looks is how often a view of the store that took too long is tried again.
const looks = 5

// look is a view of the store that is tried again where the store has ended it for taking too long.
func look(ctx context.Context, st store.Store, f func(store.View) error) (err error) {
	for range looks {
		err = st.View(ctx, f)
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return err
}

// sameRows says that rows are the same.
func sameRows(a, b Row) bool { return a.Key == b.Key && bytes.Equal(a.Text, b.Text) }
