package postgres

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock/internal/store"
)

// maxHead is how much of a key is in the index: an entry of it takes a third of a page, less than the longest keys.
const maxHead = 1900

// keyParts divides a key as it is stored.
func keyParts(key []byte) (head, tail, rest []byte) {
	if len(key) <= maxHead {
		return blob(key), []byte{}, []byte{}
	}
	sum := sha256.Sum256(key)
	return key[:maxHead], sum[:], key[maxHead:]
}

// blob is a parameter that is never NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// query is a question, and how its answer is read.
type query[T any] struct {
	sql  string
	args []any
	read func(pgx.Rows) (T, error)
}

const channelColumns = `name, id, first, next, first_seq, first_total, oldest, seq, total, hi`

type namedRow struct {
	name string
	id   int64
	row
}

func scanChannel(rows pgx.Rows) (r namedRow, err error) {
	err = rows.Scan(&r.name, &r.id, &r.first, &r.next, &r.firstSeq, &r.firstTotal, &r.oldest, &r.seq, &r.total, &r.hi)
	return r, err
}

var channelsQuery = query[[]store.Bounds]{"SELECT " + channelColumns + " FROM channel ORDER BY name", nil, readBounds}

func readBounds(rows pgx.Rows) (all []store.Bounds, err error) {
	for rows.Next() {
		r, err := scanChannel(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, bounds(r.name, r.row))
	}
	return all, rows.Err()
}

func boundsQuery(channel string) query[[]store.Bounds] {
	return query[[]store.Bounds]{"SELECT " + channelColumns + " FROM channel WHERE name = $1", []any{channel}, readBounds}
}

// segmentRows is how many segments a page has at most.
const segmentRows = 4096

func segmentsQuery(channel string, from int64, most int) query[[]store.Segment] {
	return query[[]store.Segment]{`SELECT s.base, s.n, s.min_ts, s.max_ts, s.data FROM channel c,
	LATERAL (SELECT base, total - octet_length(data) AS before FROM segment WHERE channel = c.id AND base <= greatest($2, c.first) ORDER BY base DESC LIMIT 1) f,
	LATERAL (SELECT * FROM segment WHERE channel = c.id AND base >= f.base ORDER BY base LIMIT $4) s
WHERE c.name = $1 AND greatest($2, c.first) < c.next AND s.total - octet_length(s.data) - f.before < $3 ORDER BY s.base`,
		[]any{channel, min(from, maxPosition), int64(max(most, 1)), segmentRows}, func(rows pgx.Rows) (all []store.Segment, err error) {
			for rows.Next() {
				s := store.Segment{Channel: channel}
				if err := rows.Scan(&s.Base, &s.N, &s.MinTime, &s.MaxTime, &s.Data); err != nil {
					return nil, err
				}
				all = append(all, s)
			}
			return all, rows.Err()
		}}
}

// seekQuery finds a position. hi never falls, so that its first segment at or above a time is found in an index; it may come
// from a segment that was dropped after the clock was set back.
func seekQuery(channel string, ns, first int64) query[int64] {
	return query[int64]{`SELECT coalesce((SELECT base FROM segment WHERE channel = c.id AND base >= f.base AND max_ts >= $2 ORDER BY base LIMIT 1), c.next)
FROM channel c LEFT JOIN LATERAL (SELECT base FROM segment WHERE channel = c.id AND hi >= $2 AND base >= greatest(c.first, $3) ORDER BY hi, base LIMIT 1) f ON true
WHERE c.name = $1`, []any{channel, ns, first}, readNumber}
}

func readNumber(rows pgx.Rows) (n int64, err error) {
	for rows.Next() {
		if err := rows.Scan(&n); err != nil {
			return 0, err
		}
	}
	return n, rows.Err()
}

type segmentRow struct{ base, n, seq, total, size, min int64 }

func segmentAtQuery(channel, position int64) query[segmentRow] {
	return query[segmentRow]{"SELECT base, n, seq, total, octet_length(data), min_ts FROM segment WHERE channel = $1 AND base <= $2 ORDER BY base DESC LIMIT 1",
		[]any{channel, position}, func(rows pgx.Rows) (s segmentRow, err error) {
			for rows.Next() {
				if err := rows.Scan(&s.base, &s.n, &s.seq, &s.total, &s.size, &s.min); err != nil {
					return s, err
				}
			}
			return s, rows.Err()
		}}
}

const entryOf = " FROM entry e WHERE e.space = (SELECT id FROM space WHERE name = $1)"

func readEntries(rows pgx.Rows) (all []store.Entry, err error) {
	for rows.Next() {
		var e store.Entry
		var rest []byte
		if err := rows.Scan(&e.Key, &rest, &e.Value, &e.Due); err != nil {
			return nil, err
		}
		e.Key = append(e.Key, rest...)
		all = append(all, e)
	}
	return all, rows.Err()
}

func scanQuery(space string, after []byte, limit int) query[[]store.Entry] {
	if after == nil {
		return query[[]store.Entry]{"SELECT head, rest, value, due" + entryOf + " ORDER BY head, rest LIMIT $2", []any{space, limit}, readEntries}
	}
	head, _, rest := keyParts(after)
	return query[[]store.Entry]{"SELECT head, rest, value, due" + entryOf + " AND (head, rest) > ($2, $3) ORDER BY head, rest LIMIT $4", []any{space, head, rest, limit}, readEntries}
}

func dueQuery(space string, until int64, limit int) query[[]store.Entry] {
	return query[[]store.Entry]{"SELECT head, rest, value, due" + entryOf + " AND due <> 0 AND due <= $2 ORDER BY due, head, rest LIMIT $3", []any{space, until, limit}, readEntries}
}

func getQuery(space string, key []byte) query[[]store.Entry] {
	head, tail, _ := keyParts(key)
	return query[[]store.Entry]{"SELECT head, rest, value, due" + entryOf + " AND head = $2 AND tail = $3", []any{space, head, tail}, readEntries}
}

func spacesQuery(prefix string) query[[]store.Space] {
	return query[[]store.Space]{"SELECT name, entries, bytes FROM space WHERE name >= $1 AND starts_with(name, $1) AND entries > 0 ORDER BY name", []any{prefix}, func(rows pgx.Rows) (all []store.Space, err error) {
		for rows.Next() {
			var s store.Space
			if err := rows.Scan(&s.Name, &s.Entries, &s.Bytes); err != nil {
				return nil, err
			}
			all = append(all, s)
		}
		return all, rows.Err()
	}}
}

type cellRef struct{ space, key string }

// wants is what a group needs to go on.
type wants struct {
	ids, locks bool
	spaces     map[string]bool
	channels   map[string]bool
	cells      map[cellRef]bool
	sizes      map[cellRef]bool // of cells that are gathered
	questions  map[string]question
	failed     error // it could not be fetched at once
}

type question struct {
	sql  string
	args []any
	read func(pgx.Rows) (any, error)
}

func (w *wants) init() {
	w.spaces, w.channels, w.cells, w.sizes, w.questions = map[string]bool{}, map[string]bool{}, map[cellRef]bool{}, map[cellRef]bool{}, map[string]question{}
}

func (w *wants) clear() {
	clear(w.spaces)
	clear(w.channels)
	clear(w.cells)
	clear(w.sizes)
	clear(w.questions)
	w.ids, w.locks, w.failed = false, false, nil
}

func (w *wants) none() bool {
	return !w.ids && !w.locks && len(w.spaces)+len(w.channels)+len(w.cells)+len(w.sizes)+len(w.questions) == 0
}

// ask gives the answer to a question, which is remembered for the commit.
func ask[T any](t *tx, key string, q query[T]) T {
	g := t.g
	v, ok := g.known[key]
	if !ok {
		t.need(func(w *wants) {
			w.questions[key] = question{q.sql, q.args, func(rows pgx.Rows) (any, error) { return q.read(rows) }}
		})
		v = g.known[key]
	}
	return v.(T)
}

// idsAtOnce is how many numbers are fetched at a time.
const idsAtOnce = 32

const (
	sqlIDs      = "SELECT nextval('ids') FROM generate_series(1, $1::int)"
	sqlSpaces   = "SELECT name, id FROM space WHERE name = ANY($1)"
	sqlChannels = "SELECT " + channelColumns + " FROM channel WHERE name = ANY($1)"
	// What is joined is a single row of an index for each that is asked for, whatever the planner thinks of tables that were empty when it looked.
	ofCells = `FROM unnest($1::text[], $2::bytea[], $3::bytea[]) WITH ORDINALITY AS k (space, head, tail, i), LATERAL (SELECT id FROM space WHERE name = k.space LIMIT 1) s,
	LATERAL (SELECT * FROM entry WHERE space = s.id AND head = k.head AND tail = k.tail LIMIT 1) e`
	sqlCells = "SELECT k.i, e.value, e.due " + ofCells
	sqlSizes = "SELECT k.i, octet_length(e.head) + octet_length(e.rest) + octet_length(e.value) " + ofCells
)

// asked is a batch of questions, and what is done with the answers.
type asked struct {
	pgx.Batch
	answers []func(pgx.Rows) error
}

func (a *asked) add(sql string, read func(pgx.Rows) error, args ...any) {
	a.Queue(sql, args...)
	a.answers = append(a.answers, read)
}

// send sends the questions, and reads the answers.
func (a *asked) send(ctx context.Context, c *pgx.Conn) error {
	r := c.SendBatch(ctx, &a.Batch)
	for _, read := range a.answers {
		rows, err := r.Query()
		if err == nil {
			err = read(rows)
		}
		rows.Close()
		if err == nil {
			err = rows.Err()
		}
		if err != nil {
			_ = r.Close()
			return err
		}
	}
	return r.Close()
}

// refs gives references as parameters, in a fixed order.
func refs(set map[cellRef]bool) (all []cellRef, spaces []string, heads, tails [][]byte) {
	for ref := range set {
		head, tail, _ := keyParts([]byte(ref.key))
		all, spaces, heads, tails = append(all, ref), append(spaces, ref.space), append(heads, head), append(tails, tail)
	}
	return all, spaces, heads, tails
}

// add has a batch fetch what is wanted. The locks are taken before it.
func (g *group) add(a *asked) {
	w := &g.wants
	if w.ids || len(g.ids) == 0 {
		a.add(sqlIDs, func(rows pgx.Rows) error {
			for rows.Next() {
				var id int64
				if err := rows.Scan(&id); err != nil {
					return err
				}
				g.ids = append(g.ids, id)
			}
			return nil
		}, idsAtOnce)
	}
	if len(w.spaces) > 0 {
		names := namesOf(w.spaces)
		a.add(sqlSpaces, func(rows pgx.Rows) error {
			there := map[string]int64{}
			for rows.Next() {
				var name string
				var id int64
				if err := rows.Scan(&name, &id); err != nil {
					return err
				}
				there[name] = id
			}
			for _, name := range names {
				p := store.Home(name, len(g.parts))
				if g.parts[p].spaces[name] == nil {
					id, ok := there[name]
					g.parts[p].spaces[name] = &space{id: id, name: name, p: p, saved: ok, cells: map[string]*cell{}}
				}
			}
			return nil
		}, names)
	}
	if len(w.channels) > 0 {
		names := namesOf(w.channels)
		a.add(sqlChannels, func(rows pgx.Rows) error {
			there := map[string]namedRow{}
			for rows.Next() {
				r, err := scanChannel(rows)
				if err != nil {
					return err
				}
				there[r.name] = r
			}
			for _, name := range names {
				p := store.Home(name, len(g.parts))
				if g.parts[p].channels[name] == nil {
					r, ok := there[name]
					g.parts[p].channels[name] = &channel{row: r.row, was: r.row, id: r.id, name: name, p: p, saved: ok}
				}
			}
			return nil
		}, names)
	}
	if len(w.cells) > 0 {
		all, spaces, heads, tails := refs(w.cells)
		a.add(sqlCells, func(rows pgx.Rows) error { return g.learnCells(rows, all) }, spaces, heads, tails)
	}
	if len(w.sizes) > 0 {
		all, spaces, heads, tails := refs(w.sizes)
		a.add(sqlSizes, func(rows pgx.Rows) error { return g.learnSizes(rows, all) }, spaces, heads, tails)
	}
	for key, q := range w.questions {
		a.add(q.sql, func(rows pgx.Rows) error {
			v, err := q.read(rows)
			g.known[key] = v
			return err
		}, q.args...)
	}
	w.clear()
}

func namesOf(set map[string]bool) []string {
	all := make([]string, 0, len(set))
	for name := range set {
		all = append(all, name)
	}
	return all
}

// learnCells takes entries into what is remembered.
func (g *group) learnCells(rows pgx.Rows, asked []cellRef) error {
	there := make([]*store.Entry, len(asked))
	for rows.Next() {
		var i int
		var e store.Entry
		if err := rows.Scan(&i, &e.Value, &e.Due); err != nil {
			return err
		}
		there[i-1] = &e
	}
	for i, ref := range asked {
		sp := g.parts[store.Home(ref.space, len(g.parts))].spaces[ref.space]
		if sp == nil {
			continue // it is asked for again
		}
		c := sp.cells[ref.key]
		if c == nil {
			c = &cell{sp: sp, key: ref.key}
			sp.cells[c.key] = c
			g.size += int64(len(c.key)) + 160
		}
		if c.dirty {
			continue
		}
		c.known, c.stored, c.there, c.value, c.due = true, storedNothing, false, nil, 0
		if e := there[i]; e != nil {
			c.there, c.value, c.due = true, e.Value, e.Due
			c.stored = int64(len(c.key) + len(c.value))
			g.size += int64(len(c.value))
		}
	}
	return nil
}

func (g *group) learnSizes(rows pgx.Rows, asked []cellRef) error {
	sizes := make([]int64, len(asked))
	for i := range sizes {
		sizes[i] = storedNothing
	}
	for rows.Next() {
		var i int
		var n int64
		if err := rows.Scan(&i, &n); err != nil {
			return err
		}
		sizes[i-1] = n
	}
	for i, ref := range asked {
		if sp := g.parts[store.Home(ref.space, len(g.parts))].spaces[ref.space]; sp != nil {
			c := sp.cells[ref.key]
			if c == nil {
				c = &cell{sp: sp, key: ref.key}
				sp.cells[ref.key] = c
			}
			c.stored = sizes[i]
		}
	}
	return nil
}

// patience is how long the writer waits for an answer of the server: it ends by itself what takes longer than a third of a lease.
func (d *DB) patience() time.Duration { return max(d.o.Lease, 5*time.Second) }

// fetch fetches what is wanted. All parts that it is about are locked.
func (d *DB) fetch() error {
	ctx, cancel := context.WithTimeout(context.Background(), d.patience())
	defer cancel()
	var a asked
	d.group.add(&a)
	if a.Len() == 0 {
		return nil
	}
	d.counts.trips.Add(1)
	return a.send(ctx, d.w)
}
