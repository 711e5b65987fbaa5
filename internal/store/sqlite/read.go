package sqlite

import (
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// A segment's id is its channel's number and the position of its first message.
const (
	positionBits = 46
	maxPosition  = 1<<positionBits - 1      // 22 years of 100 thousand messages a second
	maxChannel   = 1<<(63-positionBits) - 1 // 131 thousand channels
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is that of a row: of its numbers, and of what is as long as it likes.
func checksum(data []byte, numbers ...int64) int64 {
	var b [8 * 8]byte
	for i, n := range numbers {
		binary.LittleEndian.PutUint64(b[8*i:], uint64(n))
	}
	return int64(crc32.Update(crc32.Checksum(b[:8*len(numbers)], castagnoli), castagnoli, data))
}

// entrySum is the checksum of an entry.
func entrySum(space int64, key []byte, due int64, value []byte) int64 {
	sum := uint32(checksum(key, space, due, int64(len(key))))
	return int64(crc32.Update(sum, castagnoli, value))
}

func spaceSum(id, entries, bytes int64, name string) int64 {
	return checksum([]byte(name), id, entries, bytes)
}

// segmentSum is the checksum of a segment, of a row of sqlSegmentsFrom.
func segmentSum(v []driver.Value) int64 {
	data, _ := v[segmentData].([]byte)
	return checksum(data, number(v[0]), number(v[1]), number(v[2]), number(v[3]), number(v[4]), number(v[5]), number(v[6]))
}

// Columns of sqlSegmentsFrom.
const (
	segmentCRC  = 7
	segmentData = 8
)

// Columns are clones of the file's: what is known of a channel.
type channelRow struct {
	id    int64
	name  string
	first int64 // messages before it are dropped; always where a segment begins
	// The rest is as it was at the last Drop: what the last segment says goes before it.
	next  int64
	seq   int64 // number of the last segment: 1, 2, …
	total int64 // bytes of all segments up to it
	hi    int64 // the latest MaxTime so far
}

// segmentRow is a segment without its data.
type segmentRow struct {
	base, n        int64
	min, max       int64
	hi, seq, total int64
	size           int64
}

func (s segmentRow) end() int64 { return s.base + s.n }

// reader reads a snapshot, or a transaction, on a connection: it is both store.Log and store.State.
type reader struct {
	c *conn
	// going is asked before each row whether the reading may go on.
	going func() error
	path  string
}

var (
	_ store.Log   = (*reader)(nil)
	_ store.State = (*reader)(nil)
)

func (r *reader) query(id sqlID, row func([]driver.Value) (bool, error), args ...driver.Value) error {
	if err := r.going(); err != nil {
		return err
	}
	return r.c.query(id, func(v []driver.Value) (bool, error) {
		if err := r.going(); err != nil {
			return false, err
		}
		return row(v)
	}, args...)
}

func (r channelRow) sum() int64 {
	return checksum([]byte(r.name), r.id, r.first, r.next, r.seq, r.total, r.hi)
}

func (r *reader) channelRow(v []driver.Value) (channelRow, error) {
	row := channelRow{id: number(v[0]), name: text(v[1]), first: number(v[2]), next: number(v[3]), seq: number(v[4]), total: number(v[5]), hi: number(v[6])}
	if row.sum() != number(v[7]) {
		return channelRow{}, r.damaged(fmt.Sprintf("the positions of channel %q", row.name))
	}
	return row, nil
}

// spaceRow is what the file knows of a space.
type spaceRow struct {
	id, entries, bytes int64
	name               string
	cleared            bool
}

func (r *reader) spaceRow(v []driver.Value) (spaceRow, error) {
	row := spaceRow{id: number(v[0]), name: text(v[1]), entries: number(v[2]), bytes: number(v[3]), cleared: v[1] == nil}
	if !row.cleared && spaceSum(row.id, row.entries, row.bytes, row.name) != number(v[4]) {
		return spaceRow{}, r.damaged(fmt.Sprintf("the counts of space %q", row.name))
	}
	return row, nil
}

// spaceByID finds a space, also one that is cleared.
func (r *reader) spaceByID(id int64) (row spaceRow, ok bool, err error) {
	err = r.c.onceRows("SELECT id, name, entries, bytes, crc FROM space WHERE id = ?1", func(v []driver.Value) (bool, error) {
		row, err = r.spaceRow(v)
		ok = err == nil
		return false, err
	}, id)
	return row, ok, err
}

func (r *reader) channel(name string) (row channelRow, ok bool, err error) {
	err = r.query(sqlChannel, func(v []driver.Value) (bool, error) {
		row, err = r.channelRow(v)
		ok = err == nil
		return false, err
	}, name)
	return row, ok, err
}

func (r *reader) segment(id sqlID, from, to int64) (s segmentRow, ok bool, err error) {
	err = r.query(id, func(v []driver.Value) (bool, error) {
		s, ok = scanSegment(v), true
		s.size = number(v[7])
		return false, nil
	}, from, to)
	return s, ok, err
}

// scanSegment takes all but the size.
func scanSegment(v []driver.Value) segmentRow {
	return segmentRow{base: number(v[0]) & maxPosition, n: number(v[1]), min: number(v[2]), max: number(v[3]),
		hi: number(v[4]), seq: number(v[5]), total: number(v[6])}
}

// at finds the last segment that begins at or before a position.
func (r *reader) at(ch channelRow, position int64) (segmentRow, bool, error) {
	return r.segment(sqlSegmentAt, ch.id<<positionBits|ch.first, ch.id<<positionBits|position)
}

// nextAt finds the first segment that begins at or behind a position, and does not begin at or behind to.
func (r *reader) nextAt(ch channelRow, position, to int64) (segmentRow, bool, error) {
	return r.segment(sqlSegmentNext, ch.id<<positionBits|max(position, ch.first), ch.id<<positionBits|to)
}

// Channels implements store.Log.
func (r *reader) Channels() ([]store.Bounds, error) {
	var rows []channelRow
	err := r.query(sqlChannels, func(v []driver.Value) (bool, error) {
		row, err := r.channelRow(v)
		rows = append(rows, row)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	all := make([]store.Bounds, 0, len(rows))
	for _, row := range rows {
		b, err := r.bounds(row)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// Bounds implements store.Log.
func (r *reader) Bounds(channel string) (store.Bounds, error) {
	row, ok, err := r.channel(channel)
	if err != nil || !ok {
		return store.Bounds{Channel: channel}, err
	}
	return r.bounds(row)
}

func (r *reader) bounds(row channelRow) (store.Bounds, error) {
	b := store.Bounds{Channel: row.name, First: row.next, Next: row.next}
	last, ok, err := r.at(row, maxPosition)
	if err == nil && !ok && row.next == 0 { // its row came with its first messages
		err = r.damaged(fmt.Sprintf("the messages of channel %s", row.name))
	}
	if err != nil || !ok {
		return b, err
	}
	first, _, err := r.nextAt(row, 0, maxPosition)
	if err != nil {
		return b, err
	}
	b.First, b.Next = first.base, last.end()
	b.Segments = last.seq - first.seq + 1
	b.Bytes = last.total - first.total + first.size
	b.Oldest = time.Unix(0, first.min)
	return b, nil
}

// Segments implements store.Log.
func (r *reader) Segments(channel string, from int64, maxBytes int) ([]store.Segment, error) {
	row, ok, err := r.channel(channel)
	if err != nil || !ok {
		return nil, err
	}
	from = min(max(from, row.first), maxPosition)
	if s, ok, err := r.at(row, from); err != nil {
		return nil, err
	} else if ok && s.end() > from {
		from = s.base
	}
	var all []store.Segment
	size := 0
	err = r.query(sqlSegmentsFrom, func(v []driver.Value) (bool, error) {
		s := store.Segment{Channel: channel, Base: number(v[0]) & maxPosition, N: int(number(v[1])),
			MinTime: number(v[2]), MaxTime: number(v[3]), Data: r.c.keep(v[segmentData])}
		if segmentSum(v) != number(v[segmentCRC]) && !mutation.On("damage-served") {
			return false, r.damaged(fmt.Sprintf("messages %d to %d of channel %s", s.Base, s.End()-1, channel))
		}
		if s.Base != from {
			return false, r.damaged(fmt.Sprintf("messages %d to %d of channel %s", min(from, s.Base), max(from, s.Base)-1, channel))
		}
		from = s.End()
		all = append(all, s)
		size += len(s.Data)
		return size < maxBytes, nil
	}, row.id<<positionBits|from, (row.id+1)<<positionBits-1)
	if err != nil {
		return nil, err
	}
	if size < maxBytes && from < row.next { // to the end, and that is before what was there at the last drop
		return nil, r.damaged(fmt.Sprintf("messages %d to %d of channel %s", from, row.next-1, channel))
	}
	return all, nil
}

// Seek implements store.Log. hi never falls, so that its first segment at or above a time is found by halving.
func (r *reader) Seek(channel string, at time.Time) (int64, error) {
	row, ok, err := r.channel(channel)
	if err != nil || !ok {
		return 0, err
	}
	ns := at.UnixNano()
	last, ok, err := r.at(row, maxPosition)
	if err != nil || !ok {
		return row.next, err
	}
	lo, hi := row.first, last.end()
	for lo < hi {
		s, ok, err := r.at(row, lo+(hi-lo)/2)
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, r.damaged(fmt.Sprintf("messages %d to %d of channel %s", lo, hi-1, channel))
		}
		if s.hi >= ns {
			hi = s.base
		} else {
			lo = s.end()
		}
	}
	// hi may come from a segment that was dropped after the clock was set back.
	for lo < last.end() {
		s, ok, err := r.nextAt(row, lo, maxPosition)
		if err != nil || !ok {
			return last.end(), err
		}
		if s.max >= ns {
			return s.base, nil
		}
		lo = s.end()
	}
	return last.end(), nil
}

func (r *reader) space(name string) (id int64, err error) {
	err = r.query(sqlSpace, func(v []driver.Value) (bool, error) {
		row, err := r.spaceRow(v)
		id = row.id
		return false, err
	}, name)
	return id, err
}

// value takes the checked value out of a row of due, crc, value.
func (r *reader) value(id int64, space string, key []byte, v []driver.Value) (store.Entry, error) {
	e := store.Entry{Key: key, Due: number(v[0]), Value: r.c.keep(v[2])}
	if entrySum(id, key, e.Due, e.Value) != number(v[1]) {
		return store.Entry{}, r.damaged(fmt.Sprintf("the entry %q of space %s", key, space))
	}
	return e, nil
}

// Get implements store.State.
func (r *reader) Get(space string, key []byte) (store.Entry, bool, error) {
	id, err := r.space(space)
	if err != nil || id == 0 {
		return store.Entry{}, false, err
	}
	return r.get(id, space, key)
}

func (r *reader) get(id int64, space string, key []byte) (e store.Entry, ok bool, err error) {
	err = r.query(sqlGet, func(v []driver.Value) (bool, error) {
		var err error
		e, err = r.value(id, space, append([]byte{}, key...), v)
		ok = err == nil
		return false, err
	}, id, blob(key))
	return e, ok, err
}

func (r *reader) entries(statement sqlID, space string, limit int, args ...driver.Value) ([]store.Entry, error) {
	n, err := r.space(space)
	if err != nil || n == 0 || limit <= 0 {
		return nil, err
	}
	var all []store.Entry
	err = r.query(statement, func(v []driver.Value) (bool, error) {
		e, err := r.value(n, space, r.c.keep(v[0]), v[1:])
		all = append(all, e)
		return true, err
	}, append([]driver.Value{n}, append(args, int64(limit))...)...)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Scan implements store.State.
func (r *reader) Scan(space string, after []byte, limit int) ([]store.Entry, error) {
	if after == nil {
		return r.entries(sqlScan, space, limit, int64(math.MinInt64)) // a number comes before every blob
	}
	return r.entries(sqlScan, space, limit, blob(after))
}

// Due implements store.State.
func (r *reader) Due(space string, until int64, limit int) ([]store.Entry, error) {
	return r.entries(sqlDue, space, limit, until)
}

// Spaces implements store.State. Spaces that hold nothing are not listed.
func (r *reader) Spaces(prefix string) ([]store.Space, error) {
	var all []store.Space
	err := r.query(sqlSpaces, func(v []driver.Value) (bool, error) {
		row, err := r.spaceRow(v)
		if err != nil {
			return false, err
		}
		s := store.Space{Name: row.name, Entries: row.entries, Bytes: row.bytes}
		if !strings.HasPrefix(s.Name, prefix) {
			return false, nil
		}
		if s.Entries > 0 {
			all = append(all, s)
		}
		return true, nil
	}, prefix)
	if err != nil {
		return nil, err
	}
	return all, nil
}

func (r *reader) damaged(what string) error { return damaged(r.path, what) }

func damaged(path, what string) error {
	e := penstock.E(penstock.Internal, "read the store", path, what+" are damaged: what is on the disk is not what was written")
	e.Hint = "run penstock store check; restore a backup with penstock backup restore; look at the disk"
	return e
}

// blob is a parameter that is never NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
