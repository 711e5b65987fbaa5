package sqlite

import (
	"database/sql/driver"
	"time"

	"penstock.dev/penstock/internal/store"
)

type driverValue = driver.Value

// viewReader reads a snapshot; each call by itself, so that the snapshot can be ended between two.
type viewReader struct{ v *view }

// reading does one call.
func reading[T any](v *view, f func(r *reader) (T, error)) (T, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var none T
	if err := v.r.going(); err != nil {
		return none, err
	}
	if e := v.d.failure.Load(); e != nil {
		return none, e
	}
	got, err := f(v.r)
	return got, v.d.readError(err)
}

func (v viewReader) Channels() ([]store.Bounds, error) {
	return reading(v.v, (*reader).Channels)
}

func (v viewReader) Bounds(channel string) (store.Bounds, error) {
	return reading(v.v, func(r *reader) (store.Bounds, error) { return r.Bounds(channel) })
}

func (v viewReader) Segments(channel string, from int64, maxBytes int) ([]store.Segment, error) {
	return reading(v.v, func(r *reader) ([]store.Segment, error) { return r.Segments(channel, from, maxBytes) })
}

func (v viewReader) Seek(channel string, at time.Time) (int64, error) {
	return reading(v.v, func(r *reader) (int64, error) { return r.Seek(channel, at) })
}

func (v viewReader) Get(space string, key []byte) (e store.Entry, ok bool, err error) {
	e, err = reading(v.v, func(r *reader) (store.Entry, error) {
		e, found, err := r.Get(space, key)
		ok = found
		return e, err
	})
	return e, ok && err == nil, err
}

func (v viewReader) Scan(space string, after []byte, limit int) ([]store.Entry, error) {
	return reading(v.v, func(r *reader) ([]store.Entry, error) { return r.Scan(space, after, limit) })
}

func (v viewReader) Due(space string, until int64, limit int) ([]store.Entry, error) {
	return reading(v.v, func(r *reader) ([]store.Entry, error) { return r.Due(space, until, limit) })
}

func (v viewReader) Spaces(prefix string) ([]store.Space, error) {
	return reading(v.v, func(r *reader) ([]store.Space, error) { return r.Spaces(prefix) })
}
