package file

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// LookupConfig is the configuration of the caller: a keyed look-up in a reference file.
type LookupConfig struct {
	// The reference file: rows of CSV, or JSON objects in an array or one after the other. It is read into memory whole, and read again when
	// its size or time has changed, which is looked at once a second while there are look-ups. A new version that can't be read is logged, and the old rows stay. Put
	// a new version in place by renaming it, so that it is never read half written.
	Path penstock.Template `json:"path" penstock:"required"`
	// How the file is read. Default: by the suffix of the name, .csv is csv, .json, .jsonl and .ndjson are json. The schema beside the call says what
	// its cells are.
	Format penstock.Format `json:"format"`
	// How the file is compressed: auto (by the suffix: .gz is gzip, .zst is zstd, all else is none), none, gzip or zstd.
	Compression string `json:"compression" penstock:"enum=auto|none|gzip|zstd,default=auto"`
	// The column (the field of a JSON object) that is looked up by. Every row must have it, as a text, a number or a boolean, and no two rows the same.
	Column string `json:"column" penstock:"required,nonempty"`
	// What to look for. It is compared as text, so that the number 7 finds the text "7", but 7.0 finds neither. The answer is the row, as an object; where
	// there is no such row, or the value is absent or null, the answer is absent.
	Value penstock.Template `json:"value" penstock:"required,place=plain"`
}

// lookEvery is how long a look at the file counts.
const lookEvery = time.Second

// lookup is the caller. The rows are immutable, and swapped as a whole.
type lookup struct {
	config LookupConfig
	env    penstock.Env
	codec  penstock.Codec
	path   string
	null   *jsonview.Doc // the body of a miss, shared

	table atomic.Pointer[table]
	next  atomic.Int64 // when to look at the file again: Unix nanoseconds

	mu     sync.Mutex // for looking at the file
	failed *version   // that could not be read, so that it is neither read nor reported again; zero where there was no file
}

var _ penstock.Caller = (*lookup)(nil)

func newLookup(r *penstock.Registry, c LookupConfig, env penstock.Env) (*lookup, error) {
	path, err := fixed(c.Path, env)
	if err != nil {
		return nil, err
	}
	codec, err := codecFor(r, c.Format, path, env, 0)
	if err != nil {
		return nil, err
	}
	if c.Value.IsZero() {
		return nil, penstock.E(penstock.Config, "file.lookup", "value", "there is no value to look for")
	}
	if c.Column == "" {
		return nil, penstock.E(penstock.Config, "file.lookup", "column", "there is no column to look in")
	}
	l := &lookup{config: c, env: env, codec: codec, path: path, null: new(jsonview.Doc)}
	l.null.Reset(jsonview.JSON, []byte("null"))
	return l, l.null.Parse(jsonview.Limits{})
}

// Open implements penstock.Caller: it reads the file.
func (l *lookup) Open(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, err := l.load()
	if err != nil {
		return err
	}
	l.failed = nil
	l.table.Store(t)
	l.next.Store(l.env.Clock.Now().Add(lookEvery).UnixNano())
	return nil
}

// Close implements penstock.Caller.
func (l *lookup) Close(context.Context) error {
	l.table.Store(nil)
	return nil
}

// Call implements penstock.Caller. The document of a reply is shared by all calls that find the row.
func (l *lookup) Call(_ context.Context, f *penstock.Frame, into *penstock.Message) error {
	if now := l.env.Clock.Now(); now.UnixNano() >= l.next.Load() {
		l.refresh(now)
	}
	t := l.table.Load()
	if t == nil {
		return penstock.E(penstock.Internal, "file.lookup", l.path, "the look-up is not open")
	}
	v := penstock.StringValue(l.config.Value.Source)
	if p := l.config.Value.Program; p != nil {
		v = p.Eval(f)
	}
	row, found, err := t.find(v, f.Arena)
	if err != nil {
		return err
	}
	switch {
	case !found:
		into.Body = l.null
		into.Meta.Set("absent", penstock.True)
	case len(t.docs) > 0:
		into.Body = &t.docs[row]
	default:
		// A document of the message's own, unless what stands there is a reply already, which is shared.
		if into.Body == nil || into.Body.Parsed() {
			into.Body = new(jsonview.Doc)
		}
		r := t.rows[row]
		into.Body.Reset(jsonview.JSON, t.text[r.start:r.end:r.end])
	}
	return nil
}

// refresh reads the file again if it has changed. Calls that come meanwhile are answered from the rows that are there.
func (l *lookup) refresh(now time.Time) {
	if !l.mu.TryLock() {
		return
	}
	defer l.mu.Unlock()
	l.next.Store(now.Add(lookEvery).UnixNano())
	old := l.table.Load()
	if old == nil {
		return
	}
	v, err := versionOf(l.path)
	if err == nil && v.same(old.version) {
		l.failed = nil // it came back as it was
		return
	}
	if err == nil && l.failed != nil && v.same(*l.failed) {
		return
	}
	var t *table
	if err == nil {
		t, err = l.load()
	}
	if errors.Is(err, errUnsteady) {
		return // the next look decides
	}
	if err != nil {
		if l.failed == nil || !v.same(*l.failed) {
			l.env.Logger.Warn("the reference file has changed and can't be read; the rows from before stay", "file", l.path, "error", err)
		}
		l.failed = &v
		return
	}
	l.failed = nil
	l.table.Store(t)
	l.env.Logger.Info("the reference file was read again", "file", l.path, "rows", len(t.rows))
}

// find gives the row for a value. The memory of a is used for values whose text must be made.
func (t *table) find(v penstock.Value, a *penstock.Arena) (row int32, found bool, err error) {
	for v.Kind() == penstock.KindOptional {
		v = v.Optional()
	}
	if v.Kind() == penstock.KindNode {
		d, n := v.Node()
		if d.Kind(n) == jsonview.Number {
			row, found = t.keys[string(d.Raw(n))]
			return row, found, nil
		}
		v = v.Load(a)
	}
	switch v.Kind() {
	case penstock.KindString:
		row, found = t.keys[v.Str()]
	case penstock.KindAbsent, penstock.KindNull:
	case penstock.KindInt:
		var b [20]byte
		row, found = t.keys[string(strconv.AppendInt(b[:0], v.Int(), 10))]
	case penstock.KindError:
		return 0, false, v.Err()
	case penstock.KindNode, penstock.KindList, penstock.KindMap:
		return 0, false, &penstock.Error{Code: penstock.Unprocessable, Op: "file.lookup", Path: "value", Err: errors.New("a list or a map can't be looked up"),
			Hint: "give the field of it that the column holds"}
	default:
		text, err := v.AppendText(a.Alloc(64)[:0])
		if err != nil {
			return 0, false, &penstock.Error{Code: penstock.Unprocessable, Op: "file.lookup", Path: "value", Err: fmt.Errorf("the value has no text: %w", err)}
		}
		row, found = t.keys[string(text)]
	}
	return row, found, nil
}
