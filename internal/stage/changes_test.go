package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/jsonview"
)

func newChanges(portion, scanned, page int) func() Machine {
	return func() Machine {
		c := NewChanges(&plan.Changes{}, space)
		if portion > 0 {
			c.portion, c.scanned, c.page = portion, scanned, page
		}
		return c
	}
}

// row is a message of an extract.
func row(of, key, body string) Item {
	d := record.Draft{Key: "k", Format: jsonview.JSON, Body: []byte(body), EventTime: beginning,
		Meta: []penstock.MetaEntry{{Name: "file", Value: penstock.StringValue(of)}}}
	return Item{Key: key, Of: of, Record: d.Append(nil)}
}

// difference is the body of what a changes step emits.
type difference struct {
	Change, Key   string
	Before, After json.RawMessage
}

func readDifference(t fataler, rec string) difference {
	v, err := record.Parse([]byte(rec))
	if err != nil {
		t.Fatalf("%v", err)
	}
	var d difference
	if err := json.Unmarshal(v.Body(), &d); err != nil {
		t.Fatalf("%s: %v", v.Body(), err)
	}
	if v.Key() != d.Key {
		t.Fatalf("the key is %q, and in the body %q", v.Key(), d.Key)
	}
	return d
}

func (d difference) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s>%s", d.Change, d.Key, d.Before, d.After))
}

func differences(t fataler, recs []string) []string {
	out := []string{}
	for _, r := range recs {
		out = append(out, readDifference(t, r).String())
	}
	return out
}

func TestChanges(t *testing.T) {
	long := strings.Repeat("long", 1000)
	cases := []struct {
		name  string
		calls [][]Item // nil: End
		want  []string
		count map[Counted]int
	}{
		{"the first", [][]Item{{row("1", "a", `1`), row("1", "b", `{"x":"é"}`)}}, []string{`added a >1`, `added b >{"x":"é"}`}, nil},
		{"changed, unchanged, gone", [][]Item{
			{row("1", "a", `1`), row("1", "b", `{"x":1,"y":[2]}`), row("1", "c", `3`)},
			{row("2", "b", ` {"y":[2.0], "x":1}`), row("2", "c", `4`), row("2", "d", `5`)}, nil},
			[]string{`added a >1`, `added b >{"x":1,"y":[2]}`, `added c >3`, `changed c 3>4`, `added d >5`, `gone a 1>`}, map[Counted]int{Dropped: 1}},
		{"gone comes before the next extract", [][]Item{
			{row("1", "a", `1`), row("1", "b", `2`), row("2", "b", `2`), row("3", "b", `3`), row("3", "a", `1`)}},
			[]string{`added a >1`, `added b >2`, `gone a 1>`, `changed b 2>3`, `added a >1`}, map[Counted]int{Dropped: 1}},
		{"the last of a key wins", [][]Item{{row("1", "a", `1`), row("1", "a", `2`), row("1", "a", `2`)}, nil, {row("2", "a", `2`)}, nil},
			[]string{`added a >1`, `changed a 1>2`}, map[Counted]int{Repeated: 2, Dropped: 2}},
		{"the same name again, after the end", [][]Item{{row("x", "a", `1`), row("x", "b", `1`)}, nil, {row("x", "b", `1`)}, nil},
			[]string{`added a >1`, `added b >1`, `gone a 1>`}, map[Counted]int{Dropped: 1}},
		{"late of the one before", [][]Item{
			{row("1", "a", `1`), row("1", "b", `1`), row("1", "c", `1`)},
			{row("2", "a", `2`), row("3", "a", `2`), row("2", "b", `3`), row("2", "a", `4`), row("1", "c", `9`)}, nil},
			[]string{`added a >1`, `added b >1`, `added c >1`, `changed a 1>2`, `gone b 1>`, `gone c 1>`, `added b >3`, `gone b 3>`},
			map[Counted]int{Dropped: 1, Late: 2}},
		{"long keys", [][]Item{{row("1", long, `1`), row("1", long+"x", `1`)}, {row("2", long, `2`)}, nil},
			[]string{`added ` + long + ` >1`, `added ` + long + `x >1`, `changed ` + long + ` 1>2`, `gone ` + long + `x 1>`}, nil},
		{"nothing at all", [][]Item{nil, nil}, []string{}, nil},
	}
	for _, c := range cases {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, restart), func(t *testing.T) {
				w := newWorld(t, newChanges(0, 0, 0))
				var got []string
				counts := map[Counted]int{}
				for _, items := range c.calls {
					var out *taken
					if items == nil {
						out = w.end()
					} else {
						own := slices.Clone(items) // absorb overwrites the records
						for i := range own {
							own[i].Record = slices.Clone(own[i].Record)
						}
						out = w.absorb(own...)
					}
					got = append(got, out.emitted...)
					for k, n := range out.counts {
						counts[k] += n
					}
					if restart {
						w.settle()
						w.restart()
					}
				}
				if shown := differences(t, got); !slices.Equal(shown, c.want) {
					t.Errorf("got  %q\nwant %q", shown, c.want)
				}
				if !maps.Equal(counts, c.count) && len(counts)+len(c.count) > 0 {
					t.Errorf("counted %v, want %v", counts, c.count)
				}
			})
		}
	}
}

func TestChangesMessages(t *testing.T) {
	w := newWorld(t, newChanges(0, 0, 0))
	out := w.absorb(row("1", "a", `1`), row("2", "b", `"x"`))
	out.emitted = append(out.emitted, w.end().emitted...)
	var shown []string
	for _, r := range out.emitted {
		v, err := record.Parse([]byte(r))
		if err != nil {
			t.Fatal(err)
		}
		s := fmt.Sprintf("%s %s %q", v.Key(), v.EventTime().Format(time.RFC3339), v.Origin())
		for name, value := range v.Meta() {
			s += " " + name + "=" + value.Str()
		}
		if v.Time() != w.now.UnixNano() {
			t.Errorf("%s: time %d", s, v.Time())
		}
		shown = append(shown, s)
	}
	want := []string{`a 2026-01-02T03:04:05Z "" file=1`, `b 2026-01-02T03:04:05Z "" file=2`, `a 2026-01-02T03:04:05Z "2"`}
	if !slices.Equal(shown, want) {
		t.Errorf("got  %q\nwant %q", shown, want)
	}
}

// TestChangesModel lets a source with extracts go through a changes step in small portions, with transactions that become durable late, and
// starts again at any point. A replica that applies the differences has to fit each of them, and each extract as it ends; and each key has to see
// exactly the differences of its own story.
func TestChangesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type ev struct {
			item Item
			end  bool
		}
		var source []ev
		keys := rapid.IntRange(1, 9).Draw(t, "keys")
		n := 0
		story := map[string][]string{} // by key
		previous := map[string]string{}
		var contents []map[string]string // of the extracts, as they end
		ends := map[int]int{}            // position in source: extracts that have ended before it
		finish := func(cur map[string]string) {
			for k, v := range previous {
				if _, ok := cur[k]; !ok {
					story[k] = append(story[k], fmt.Sprintf("gone %s %s>", k, v))
				}
			}
			previous = cur
			contents = append(contents, cur)
		}
		for e := range rapid.IntRange(1, 6).Draw(t, "extracts") {
			cur := map[string]string{}
			for range rapid.IntRange(1, 12).Draw(t, "rows") {
				k := fmt.Sprint("k", rapid.IntRange(0, keys-1).Draw(t, "key"))
				v := fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "body"))
				before, known := previous[k]
				if b, ok := cur[k]; ok {
					before, known = b, true
				}
				switch {
				case !known:
					story[k] = append(story[k], fmt.Sprintf("added %s >%s", k, v))
				case before != v:
					story[k] = append(story[k], fmt.Sprintf("changed %s %s>%s", k, before, v))
				}
				cur[k] = v
				source = append(source, ev{item: row(fmt.Sprint("extract", e), k, v)})
				n++
			}
			finish(cur)
			if rapid.IntRange(0, 3).Draw(t, "end") == 0 {
				source = append(source, ev{end: true})
			}
			ends[len(source)] = len(contents)
		}
		source = append(source, ev{end: true})
		ends[len(source)] = len(contents)

		portion := rapid.IntRange(1, 3).Draw(t, "portion")
		w := newWorld(t, newChanges(portion, rapid.IntRange(1, 5).Draw(t, "scanned"), rapid.IntRange(1, 4).Draw(t, "page")))
		type state struct {
			at      int  // in source
			ending  bool // End has more
			replica map[string]string
			story   map[string][]string
		}
		clone := func(s state) state {
			s.replica, s.story = maps.Clone(s.replica), maps.Clone(s.story)
			for k := range s.story {
				s.story[k] = slices.Clone(s.story[k])
			}
			return s
		}
		s := state{replica: map[string]string{}, story: map[string][]string{}}
		durable := clone(s)
		apply := func(out *taken) {
			for _, r := range out.emitted {
				d := readDifference(t, r)
				old, ok := s.replica[d.Key]
				if ok != (d.Change != "added") || old != string(d.Before) || d.Change == "changed" && old == string(d.After) {
					t.Fatalf("%s does not fit %q", d, old)
				}
				if d.Change == "gone" {
					delete(s.replica, d.Key)
				} else {
					s.replica[d.Key] = string(d.After)
				}
				s.story[d.Key] = append(s.story[d.Key], d.String())
			}
			w.pending = append(w.pending, out.ops...)
		}
		call := func(f func(context.Context, Output, time.Time) (bool, error)) bool {
			out := &taken{}
			more, err := f(context.Background(), out, w.now)
			if err != nil {
				t.Fatal(err)
			}
			if len(out.emitted) > portion {
				t.Fatalf("%d messages in a portion of %d", len(out.emitted), portion)
			}
			apply(out)
			return more
		}
		for rounds := 0; s.at < len(source) || s.ending || w.m.Due() != 0; rounds++ {
			do := rapid.IntRange(0, 9).Draw(t, "do")
			if rounds > 300 { // no more crashes
				do = 0
			}
			switch {
			case do == 8:
				w.settle()
				durable = clone(s)
			case do == 9:
				s = clone(durable)
				w.restart()
			case do >= 6 && w.m.Due() != 0 || s.at == len(source) && !s.ending:
				call(w.m.Fire)
			case s.ending:
				s.ending = call(w.m.End)
			case source[s.at].end:
				s.at++
				s.ending = call(w.m.End)
			default:
				var items []Item
				for range rapid.IntRange(1, 5).Draw(t, "batch") {
					if s.at < len(source) && !source[s.at].end {
						it := source[s.at].item
						it.Record = slices.Clone(it.Record)
						items = append(items, it)
						s.at++
					}
				}
				out := w.absorb(items...)
				w.pending = w.pending[:len(w.pending)-len(out.ops)] // apply adds them
				apply(out)
			}
			if n, ok := ends[s.at]; ok && !s.ending && w.m.Due() == 0 && s.at > 0 && source[s.at-1].end && !maps.Equal(s.replica, contents[n-1]) {
				t.Fatalf("after extract %d there is %v, want %v", n-1, s.replica, contents[n-1])
			}
		}
		for k := range story {
			if !slices.Equal(s.story[k], story[k]) {
				t.Fatalf("key %s: %q, want %q", k, s.story[k], story[k])
			}
		}
	})
}

// TestChangesLateModel mixes messages of earlier extracts in: whatever becomes of them, a replica fits, and in the end it is the last extract.
func TestChangesLateModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		portion := rapid.IntRange(1, 3).Draw(t, "portion")
		w := newWorld(t, newChanges(portion, rapid.IntRange(1, 5).Draw(t, "scanned"), rapid.IntRange(1, 4).Draw(t, "page")))
		replica, last := map[string]string{}, map[string]string{}
		apply := func(emitted []string) {
			for _, r := range emitted {
				d := readDifference(t, r)
				old, ok := replica[d.Key]
				if ok != (d.Change != "added") || old != string(d.Before) {
					t.Fatalf("%s does not fit %q", d, old)
				}
				if delete(replica, d.Key); d.Change != "gone" {
					replica[d.Key] = string(d.After)
				}
			}
		}
		extract := 10
		for range rapid.IntRange(1, 60).Draw(t, "rows") {
			if rapid.IntRange(0, 4).Draw(t, "next") == 0 && len(last) > 0 {
				extract++
				last = map[string]string{}
			}
			of := extract
			if len(last) > 0 { // so the extract has begun
				of -= max(0, rapid.IntRange(-4, min(3, extract-10)).Draw(t, "late"))
			}
			k, v := fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "key")), fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "body"))
			if of == extract {
				last[k] = v
			}
			apply(w.absorb(row(fmt.Sprint(of), k, v)).emitted)
			switch rapid.IntRange(0, 5).Draw(t, "do") {
			case 0:
				w.settle()
			case 1:
				w.settle()
				w.restart()
			case 2:
				out := &taken{}
				if _, err := w.m.Fire(context.Background(), out, w.now); err != nil {
					t.Fatal(err)
				}
				w.pending = append(w.pending, out.ops...)
				apply(out.emitted)
			}
		}
		apply(w.end().emitted)
		if !maps.Equal(replica, last) {
			t.Fatalf("the replica is %v, the last extract %v", replica, last)
		}
	})
}

func TestChangesPortions(t *testing.T) {
	w := newWorld(t, newChanges(0, 0, 0))
	var items []Item
	for i := range 2500 {
		items = append(items, row("1", fmt.Sprint(i), `{"a":1}`))
	}
	w.absorb(items...)
	w.settle()
	w.absorb(row("2", "2499", `{"a":1}`))
	out := w.absorb(row("3", "new", `1`))
	if n := len(out.emitted); n != portion+1 {
		t.Fatalf("%d messages as the extract ends, want a portion and one", n)
	}
	if w.m.Due() == 0 {
		t.Fatal("there is more to tell, and Fire is not due")
	}
	rounds := 0
	for more := true; more; rounds++ {
		o := &taken{}
		var err error
		if more, err = w.m.Fire(t.Context(), o, w.now); err != nil {
			t.Fatal(err)
		}
		w.pending = append(w.pending, o.ops...)
		out.emitted = append(out.emitted, o.emitted...)
	}
	if len(out.emitted) != 2500 || rounds != 2 || w.m.Due() != 0 {
		t.Errorf("%d messages in %d rounds, due %d; want 2499 that are gone and one that is added in 2", len(out.emitted), rounds, w.m.Due())
	}
	w.settle()
	if n := w.entries(); n != 3 {
		t.Errorf("%d entries are left, want the head and 2 keys", n)
	}
}

func TestChangesDamaged(t *testing.T) {
	for name, key := range map[string]string{"head": "h", "row": "ka"} {
		w := newWorld(t, newChanges(0, 0, 0))
		w.pending = append(w.pending, op{e: storeEntry(key, "\xff")})
		w.settle()
		m := NewChanges(&plan.Changes{}, space)
		err := m.Load(t.Context(), w.st)
		if err == nil {
			err = m.Absorb(t.Context(), &taken{}, w.now, []Item{row("1", "a", "1")})
		}
		if err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: the damage is not told: %v", name, err)
		}
	}
}

func TestChangesAllocations(t *testing.T) {
	w := newWorld(t, newChanges(0, 0, 0))
	var items []Item
	for i := range 100 {
		items = append(items, row("1", fmt.Sprint("key", i), `{"a":1}`))
	}
	m := w.m.(*Changes)
	sink := discard{}
	run := func() {
		if err := m.Absorb(t.Context(), sink, w.now, items); err != nil {
			t.Fatal(err)
		}
	}
	run()
	// Messages that are repeated: nothing is written but the head.
	if n := testing.AllocsPerRun(20, run); n > 20 {
		t.Errorf("100 messages allocate %v times", n)
	}
}

// discard is an Output that keeps nothing.
type discard struct{}

func (discard) Emit([]byte)               {}
func (discard) Put([]byte, []byte, int64) {}
func (discard) Delete([]byte)             {}
func (discard) Reject(int, error)         {}
func (discard) Count(Counted, int)        {}

func FuzzChangesHead(f *testing.F) {
	f.Add((&changesHead{sequence: 5, current: extract{"b", 7}, open: true, earlier: []extract{{"a", 6}}, ended: "a", sweeping: true,
		cursor: []byte("kx"), high: beginning}).encode(nil))
	f.Add((&changesHead{}).encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readChangesHead(b)
		if err != nil {
			return
		}
		g, err := readChangesHead(h.encode(nil))
		if err != nil || fmt.Sprint(g) != fmt.Sprint(h) {
			t.Errorf("%v became %v: %v", h, g, err)
		}
	})
}

func FuzzChangesRow(f *testing.F) {
	f.Add([]byte("ka"), []byte("\x011"))
	f.Add([]byte("K0123"), []byte("\x01\x01a1"))
	f.Fuzz(func(t *testing.T, k, v []byte) { _, _ = readChangesRow(k, v) })
}
