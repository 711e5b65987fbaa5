package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// LookupConfig is the configuration of the caller.
type LookupConfig struct {
	// The reference file. It is held in memory, and read again when its time or size changes.
	Path penstock.Template `json:"path" penstock:"required"`
	// How the file is read: csv, or json with one row a document or an array of rows. Default: by the suffix of the name.
	Format penstock.Format `json:"format"`
	// How the file is compressed: auto (by the suffix: .gz is gzip, .zst is zstd, all else is none), none, gzip or zstd.
	Compression string `json:"compression" penstock:"enum=auto|none|gzip|zstd,default=auto"`
	// The column or field whose value names a row. Each value may occur once.
	Column string `json:"column" penstock:"required,nonempty"`
	// The value to look for, mostly ${…}. Numbers are compared as they are written.
	Value penstock.Template `json:"value" penstock:"required,place=plain"`
}

// checkEvery is how often the caller looks whether its file has changed.
const checkEvery = time.Second

type lookup struct {
	config LookupConfig
	env    penstock.Env
	codec  penstock.Codec
	path   string

	table   atomic.Pointer[table]
	checked atomic.Int64 // when the file was last looked at, in nanoseconds
	loading sync.Mutex
}

// table is a file in memory. It is immutable.
type table struct {
	rows    map[string][]byte // JSON text by key
	size    int64
	changed time.Time
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
	return &lookup{config: c, env: env, codec: codec, path: path}, nil
}

// Open implements penstock.Caller.
func (l *lookup) Open(context.Context) error {
	t, err := l.load()
	if err != nil {
		return err
	}
	l.table.Store(t)
	l.checked.Store(l.env.Clock.Now().UnixNano())
	return nil
}

// Call implements penstock.Caller. The reply's body is the row, as an object, or null if there is none.
func (l *lookup) Call(_ context.Context, f *penstock.Frame, into *penstock.Message) error {
	l.refresh()
	var room [64]byte
	key, ok, err := l.key(f, room[:0])
	if err != nil {
		return err
	}
	if ok {
		if row, found := l.table.Load().rows[string(key)]; found {
			into.Body.Reset(jsonview.JSON, row)
			return nil
		}
	}
	into.Body.Reset(jsonview.JSON, null)
	into.Meta.Set("absent", penstock.True)
	return nil
}

var null = []byte("null")

// key evaluates the value to look for. An absent value and null find nothing.
func (l *lookup) key(f *penstock.Frame, dst []byte) (key []byte, ok bool, err error) {
	if l.config.Value.Program == nil {
		return append(dst, l.config.Value.Source...), true, nil
	}
	v := l.config.Value.Program.Eval(f)
	if v.Kind() == penstock.KindOptional {
		v = v.Optional()
	}
	switch v.Kind() {
	case penstock.KindError:
		return nil, false, v.Err()
	case penstock.KindAbsent, penstock.KindNull:
		return nil, false, nil
	case penstock.KindNode:
		if d, n := v.Node(); d.Kind(n) == jsonview.Null || d.Kind(n) == jsonview.Invalid {
			return nil, false, nil
		}
	}
	key, err = v.AppendText(dst)
	return key, err == nil, err
}

// refresh reads the file again if it has changed, at most once a second. The calls that come meanwhile use the old
// table; and so do all if the new file is wrong.
func (l *lookup) refresh() {
	now := l.env.Clock.Now().UnixNano()
	last := l.checked.Load()
	if now-last < int64(checkEvery) || !l.checked.CompareAndSwap(last, now) || !l.loading.TryLock() {
		return
	}
	defer l.loading.Unlock()
	old := l.table.Load()
	info, err := os.Stat(l.path)
	if err == nil && info.Size() == old.size && info.ModTime().Equal(old.changed) {
		return
	}
	var t *table
	if err == nil {
		t, err = l.load()
	}
	if err != nil {
		if l.env.Logger != nil {
			l.env.Logger.Error("the reference file can't be read again; the rows read before stay in use", "file", l.path, "error", err)
		}
		return
	}
	l.table.Store(t)
}

// load reads the file.
func (l *lookup) load() (*table, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, failure("file.open", l.path, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, failure("file.open", l.path, err)
	}
	s := &source{config: SourceConfig{Compression: l.config.Compression}, codec: l.codec}
	o := &opened{s: s, name: l.path, f: f, size: info.Size()}
	o.records = penstock.Records{Framer: l.codec.NewFramer(l.path), Read: o.readChain, Fill: true, Stream: l.path}
	if err := o.start(); err != nil {
		return nil, err
	}
	defer func() { _ = o.chain.Close() }()
	t := &table{rows: map[string][]byte{}, size: info.Size(), changed: info.ModTime()}
	lines := map[string]int64{}
	var b penstock.Batch
	for {
		b.Reset()
		err := o.records.Next(&b)
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		for i, m := range b.Msgs {
			err := b.Err(i)
			if err == nil {
				err = l.add(t, m.Body, m.Pos.Line, lines)
			}
			if err != nil {
				return nil, &penstock.Error{Code: penstock.Invalid, Op: "file.lookup", Path: fmt.Sprintf("%s:%d", l.path, m.Pos.Line), Err: err}
			}
		}
	}
}

// add puts the rows of a document into the table: an object is one, an array holds several.
func (l *lookup) add(t *table, d *jsonview.Doc, line int64, lines map[string]int64) error {
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return err
	}
	if d.Kind(0) == jsonview.Array {
		for n := d.First(0); n != jsonview.None; n = d.Next(n) {
			if err := l.addRow(t, d, n, line, lines); err != nil {
				return err
			}
		}
		return nil
	}
	return l.addRow(t, d, 0, line, lines)
}

func (l *lookup) addRow(t *table, d *jsonview.Doc, n jsonview.Node, line int64, lines map[string]int64) error {
	if d.Kind(n) != jsonview.Object {
		return errors.New("a row must be an object")
	}
	v := d.Field(n, l.config.Column, nil)
	var key string
	switch d.Kind(v) {
	case jsonview.String:
		key = string(append([]byte(nil), d.Str(v, nil)...))
	case jsonview.Number, jsonview.True, jsonview.False:
		key = string(d.AppendJSON(nil, v))
	case jsonview.Invalid, jsonview.Null:
		return &penstock.Error{Code: penstock.Invalid, Err: fmt.Errorf("the row has no %q", l.config.Column), Hint: "column names the field whose value is looked for"}
	default:
		return fmt.Errorf("%q is no text or number", l.config.Column)
	}
	if first, twice := lines[key]; twice {
		return fmt.Errorf("%s %q occurs twice, first in line %d", l.config.Column, key, first)
	}
	lines[key] = line
	t.rows[key] = d.AppendJSON(nil, n)
	return nil
}

// Close implements penstock.Caller.
func (l *lookup) Close(context.Context) error { return nil }
