package view

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// inlineSpace says which generations of a view change with the events of a part, in the transactions that append them: in that part, so that these
// need no other one.
func inlineSpace(view string, part int) string { return store.InPart("view/"+view+"/inline", part) }

// inlineKey is the key of the one entry of inlineSpace.
var inlineKey = []byte("generations")

// inlined is a generation in the entry of inlineSpace. While it is there, no follower brings its rows of this part further.
type inlined struct {
	Generation int64  `json:"generation"`
	Hash       string `json:"hash"` // of the definition that makes its rows
	// On says that the rows change with the events. Where somebody appended who could not change them, it is off, until a follower has taken it back.
	On     bool  `json:"on"`
	Pos    int64 `json:"pos"`           // of the next event
	Old    bool  `json:"old,omitempty"` // as in at
	Rows   int64 `json:"rows"`          // more than at says
	Events int64 `json:"events"`        // …
}

func readInlined(v store.View, view string, part int) (all []inlined, err error) {
	e, ok, err := v.State().Get(inlineSpace(view, part), inlineKey)
	if err != nil || !ok {
		return nil, err
	}
	if err := json.Unmarshal(e.Value, &all); err != nil {
		return nil, damagedEntry("what changes with the events of view "+view, err)
	}
	return all, nil
}

func putInlined(tx store.Tx, view string, part int, all []inlined) error {
	if len(all) == 0 {
		return tx.Delete(inlineSpace(view, part), inlineKey)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return tx.Put(inlineSpace(view, part), store.Entry{Key: inlineKey, Value: text})
}

// findInlined finds a generation; -1: it is not there.
func findInlined(all []inlined, generation int64) int {
	return slices.IndexFunc(all, func(r inlined) bool { return r.Generation == generation })
}

// inlineRows changes the rows of a view in the transactions that append events. The folders serve the goroutine of the store's writer.
type inlineRows struct {
	view    *plan.View
	place   string
	reader  *entity.Reader
	folders map[string]*folder // by the hash of their definitions
}

var _ entity.Inline = (*inlineRows)(nil)

// inlineAll has the entities of views change the rows of those that are inline. Rows of the definition that the
// process has just left go on being changed, too, so that they can be read until those of the next one are there.
func (e *Engine) inlineAll(views []*plan.View) {
	if e.opts.Entities == nil {
		return
	}
	e.inlineM.Lock()
	defer e.inlineM.Unlock()
	next, hooks := map[string]*inlineRows{}, map[string][]entity.Inline{}
	for _, old := range e.inline {
		hooks[old.view.Entity] = nil
	}
	for _, v := range views {
		x := e.opts.Entities.Entity(v.Entity)
		if !v.Inline || x == nil {
			continue
		}
		r := &inlineRows{view: v, place: e.placeOf(v), reader: x.Reader(), folders: map[string]*folder{}}
		if old := e.inline[v.Name]; old != nil {
			r.folders[old.view.Hash] = old.folders[old.view.Hash]
		}
		r.folders[v.Hash] = newFolder(v, e.runtime.Load())
		next[v.Name] = r
		hooks[v.Entity] = append(hooks[v.Entity], r)
	}
	for name, all := range hooks {
		if x := e.opts.Entities.Entity(name); x != nil {
			x.Inline(all)
		}
	}
	e.inline = next
}

// Begin implements entity.Inline.
func (r *inlineRows) Begin(tx store.Tx, part int, next int64) (entity.Beside, error) {
	b, err := r.begin(tx, part, next)
	if err != nil || b == nil {
		return nil, err // no Beside that is nil, but none
	}
	return b, nil
}

func (r *inlineRows) begin(tx store.Tx, part int, next int64) (*beside, error) {
	all, err := readInlined(tx, r.view.Name, part)
	if err != nil || !slices.ContainsFunc(all, func(g inlined) bool { return g.On }) {
		return nil, err
	}
	b := &beside{r: r, tx: tx, part: part, all: all}
	for i := range all {
		if !all[i].On {
			continue
		}
		g, err := b.take(&all[i], next)
		if err != nil {
			return nil, err
		}
		if g == nil {
			all[i].On = false // a follower that can do it takes it from here
			continue
		}
		b.made = append(b.made, g)
	}
	return b, nil
}

// beside is what happens to the rows of a view in one transaction.
type beside struct {
	r    *inlineRows
	tx   store.Tx
	part int
	all  []inlined // the entry, whose elements made changes
	made []*growing
}

var _ entity.Beside = (*beside)(nil)

// growing is a generation in one transaction.
type growing struct {
	is      *inlined
	fold    *folder
	rows    map[string]*growingRow
	touched []*growingRow // by the command that was folded last
	events  int64         // that it folded
	taken   int64         // that it has
}

// growingRow is a row in one transaction; a text is nil where there is none, and is replaced, not changed.
type growingRow struct {
	key                  string
	stored, before, text []byte
}

// take begins with a generation, and brings it to the position next where somebody has appended without it. nil: that can't be done here.
func (b *beside) take(is *inlined, next int64) (*growing, error) {
	f := b.r.folders[is.Hash]
	if f == nil || is.Pos > next {
		return nil, nil
	}
	g := &growing{is: is, fold: f, rows: map[string]*growingRow{}}
	if is.Pos == next {
		return g, nil
	}
	from := is.Pos
	events, end, err := b.r.reader.ReadIn(b.tx, b.part, from)
	switch {
	case err == nil:
	case penstock.CodeOf(err).Transient():
		return nil, err
	default: // a follower will say what is wrong with it
		return nil, nil
	}
	if end != next {
		return nil, nil
	}
	old, refused, err := b.foldInto(g, events)
	if err != nil || refused != nil {
		return nil, err
	}
	is.Old = is.Old || old
	b.keep(g)
	is.Pos = next
	return g, nil
}

// Fold implements entity.Beside.
func (b *beside) Fold(events []entity.Event) (refused, err error) {
	for i := 0; i < len(b.made); i++ {
		g := b.made[i]
		_, refused, err := b.foldInto(g, events)
		if err != nil {
			return nil, err
		}
		if refused == nil {
			continue
		}
		if g.fold.view.Hash == b.r.view.Hash {
			return refused, nil
		}
		// Rows of a definition that is given up hold nobody up.
		b.leave(g)
		g.is.On = false
	}
	return nil, nil
}

// foldInto folds events into the rows of a generation, and undoes nothing. old says that a subject of events before them was erased.
func (b *beside) foldInto(g *growing, events []entity.Event) (old bool, refused, err error) {
	g.touched, g.events, g.taken = g.touched[:0], 0, 0
	if !g.is.On {
		return false, nil, nil
	}
	f := g.fold
	f.reset()
	_, remake := f.takeEvents(events, 0, 1<<62)
	for i := range f.read {
		e := &f.read[i]
		if e.err == nil && len(e.key) > maxRowKey {
			e.err = penstock.E(penstock.Unprocessable, "view "+f.view.Name, "key", fmt.Sprintf("the key of the row has %d bytes, more than %d", len(e.key), maxRowKey))
		}
		if e.err != nil {
			return false, b.refusal(g, e, e.err), nil
		}
		row := g.rows[e.key]
		if row == nil {
			if row, err = b.row(g, strings.Clone(e.key)); err != nil { // it may alias what is reused
				return false, nil, err
			}
		}
		after, same, err := f.apply(e, row.text)
		if err != nil {
			return false, b.refusal(g, e, err), nil
		}
		if same {
			continue
		}
		if !slices.Contains(g.touched, row) {
			row.before = row.text
			g.touched = append(g.touched, row)
		}
		row.text = bytes.Clone(after)
	}
	g.events, g.taken = int64(len(f.read)), int64(len(events))
	return remake >= 0, nil, nil
}

// maxRowKey is how long the key of a row may be in the store.
const maxRowKey = 4 << 10

// row finds a row.
func (b *beside) row(g *growing, key string) (*growingRow, error) {
	e, ok, err := b.tx.State().Get(rowsIn(b.r.view.Name, g.is.Generation, b.r.place, b.part), []byte(key))
	if err != nil {
		return nil, err
	}
	r := &growingRow{key: key}
	if ok {
		r.stored = e.Value
		r.text = r.stored
	}
	g.rows[key] = r
	return r, nil
}

// refusal is the error of a command whose event can't be folded.
func (b *beside) refusal(g *growing, e *event, why error) error {
	kind := "an event"
	if e.does != nil {
		kind = "event " + e.does.Kind
	}
	where := b.r.view.Entity
	if e.msg != nil {
		where += " " + e.msg.Key
	}
	return &penstock.Error{Code: penstock.Unprocessable, Op: "view " + g.fold.view.Name, Path: where, Err: fmt.Errorf("%s can't be folded into the rows, which change with it: %w", kind, why),
		Hint: "nothing was done: mend the view, or what the event holds"}
}

// Keep implements entity.Beside.
func (b *beside) Keep(appended bool) {
	for _, g := range b.made {
		switch {
		case !g.is.On:
		case appended:
			b.keep(g)
			g.is.Pos += g.taken
			g.taken = 0
		default:
			b.leave(g)
		}
	}
}

// keep keeps what was folded last.
func (b *beside) keep(g *growing) {
	g.is.Events += g.events
	g.events, g.touched = 0, g.touched[:0]
}

// leave undoes what was folded last.
func (b *beside) leave(g *growing) {
	for _, r := range g.touched {
		if !mutation.On("view-inline-half") {
			r.text = r.before
		}
	}
	g.events, g.taken, g.touched = 0, 0, g.touched[:0]
}

// End implements entity.Beside.
func (b *beside) End() error {
	for _, g := range b.made {
		space := rowsIn(b.r.view.Name, g.is.Generation, b.r.place, b.part)
		changed := make([]*growingRow, 0, len(g.rows))
		for _, r := range g.rows {
			if (r.text == nil) != (r.stored == nil) || !bytes.Equal(r.text, r.stored) {
				changed = append(changed, r)
			}
		}
		slices.SortFunc(changed, func(a, b *growingRow) int { return cmp.Compare(a.key, b.key) })
		for i, r := range changed {
			if mutation.On("view-inline-row-lost") && i == len(changed)-1 {
				continue
			}
			if err := b.put(g, space, r); err != nil {
				return err
			}
		}
	}
	return putInlined(b.tx, b.r.view.Name, b.part, b.all)
}

// put writes a row that has changed.
func (b *beside) put(g *growing, space string, r *growingRow) error {
	if r.text == nil {
		g.is.Rows--
		return b.tx.Delete(space, []byte(r.key))
	}
	if r.stored == nil {
		g.is.Rows++
	}
	return b.tx.Put(space, store.Entry{Key: []byte(r.key), Value: r.text})
}
