package sqlite

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// snapshots gives one snapshot after the other.
type snapshots func(ctx context.Context, f func(*reader) error) error

// rows reads every row.
func (k *checker) rows(ctx context.Context, in snapshots) error {
	var (
		channels []channelRow
		spaces   []spaceRow
	)
	err := k.each(ctx, in, "the lists of channels and spaces", func(r *reader) (bool, error) {
		if err := k.schema(r); err != nil {
			return true, err
		}
		channels, spaces = nil, nil
		err := r.query(sqlChannels, func(v []driver.Value) (bool, error) {
			row, err := r.channelRow(v)
			if err != nil {
				return false, err
			}
			channels = append(channels, row)
			return true, nil
		})
		if err != nil {
			return true, err
		}
		return true, r.c.textRows("SELECT id, name, entries, bytes, crc FROM space", func(v []driver.Value) (bool, error) {
			row, err := r.spaceRow(v)
			if err != nil {
				return false, err
			}
			spaces = append(spaces, row)
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	if k.broken { // without them everything would look as if it were nobody's
		return nil
	}
	for _, row := range channels {
		c := &channelCheck{k: k, name: row.name, id: row.id, next: -1}
		if err := k.each(ctx, in, "channel "+row.name, c.slice); err != nil {
			return err
		}
		k.rep.Channels++
	}
	for _, row := range spaces {
		s := &spaceCheck{k: k, id: row.id, name: row.name, cleared: row.cleared, after: int64(math.MinInt64)}
		if err := k.each(ctx, in, "space "+row.name, s.slice); err != nil {
			return err
		}
		if !row.cleared {
			k.rep.Spaces++
		}
	}
	return k.each(ctx, in, "rows that belong to nothing", k.strays)
}

// each runs f in one snapshot after the other until it says that it is done. Damage is noted, and ends f.
func (k *checker) each(ctx context.Context, in snapshots, what string, f func(*reader) (done bool, err error)) error {
	for rounds := 0; ; rounds++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		done := false
		err := in(ctx, func(r *reader) (err error) {
			done, err = f(r)
			return err
		})
		var own *penstock.Error
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
		case penstock.CodeOf(err) == penstock.Timeout: // the snapshot was cancelled: another one
			continue
		case primaryCode(err) == codeCorrupt || primaryCode(err) == codeNotADB:
			k.broken = true
			k.found("%s can't be read: %v", what, err)
			return nil
		case errors.As(err, &own) && own.Code == penstock.Internal:
			k.broken = true
			k.found("%s", own.Err)
			return nil
		default:
			return err
		}
		if err := k.tell(); err != nil || done {
			return err
		}
	}
}

// schema compares tables and indexes with what they have to be.
func (k *checker) schema(r *reader) error {
	const list = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name"
	read := func(c *conn) (all []string, err error) {
		err = c.textRows(list, func(v []driver.Value) (bool, error) {
			all = append(all, fmt.Sprintf("%s %s of %s: %s", text(v[0]), text(v[1]), text(v[2]), text(v[3])))
			return true, nil
		})
		return all, err
	}
	has, err := read(r.c)
	if err != nil {
		return err
	}
	o := Options{Path: Memory}.withDefaults()
	c, err := opener{driver: o.driver, dsn: Memory}.open()
	if err != nil {
		return err
	}
	err = migrate(c, 0, migrations, nil)
	var wants []string
	if err == nil {
		wants, err = read(c)
	}
	if e := c.close(); err == nil {
		err = e
	}
	if err == nil && fmt.Sprint(has) != fmt.Sprint(wants) {
		return r.damaged("the definitions of the tables")
	}
	return err
}

// channelCheck walks through the segments of a channel.
type channelCheck struct {
	k    *checker
	id   int64
	name string
	next int64 // where the next segment has to begin; below the channel's first: there
	prev segmentRow
	seen bool // prev is the segment before next
}

func (c *channelCheck) slice(r *reader) (done bool, err error) {
	row, ok, err := r.channel(c.name)
	if err != nil || !ok {
		return true, err
	}
	if row.first > c.next {
		c.next, c.seen = row.first, false
	}
	rows, size, from := 0, 0, c.next
	done = true
	err = r.query(sqlSegmentsFrom, func(v []driver.Value) (bool, error) {
		s := scanSegment(v)
		data, _ := v[segmentData].([]byte)
		c.segment(s, data, v)
		rows++
		size += len(data)
		c.k.read(len(data))
		if size >= c.k.most || rows >= checkRows {
			done = false
			return false, nil
		}
		return true, nil
	}, c.id<<positionBits|c.next, (c.id+1)<<positionBits-1)
	if code := primaryCode(err); code == codeCorrupt {
		c.k.broken = true
		c.k.found("messages from %d on of channel %s can't be read: %v", c.next, c.name, err)
		return true, nil
	}
	if err == nil && !done && c.next <= from { // a tree that is not in order can lead back
		c.k.broken = true
		c.k.found("messages from %d on of channel %s are not in order", from, c.name)
		return true, nil
	}
	if err != nil || !done {
		return done, err
	}
	if c.next < row.next {
		c.k.found("messages %d to %d of channel %s are missing", c.next, row.next-1, c.name)
	}
	return true, nil
}

// segment checks one, against the one before it.
func (c *channelCheck) segment(s segmentRow, data []byte, v []driver.Value) {
	k := c.k
	k.rep.Segments++
	k.rep.Messages += s.n
	switch {
	case s.base > c.next:
		k.found("messages %d to %d of channel %s are missing", c.next, s.base-1, c.name)
		c.seen = false
	case s.base < c.next:
		k.found("messages %d to %d of channel %s are there twice", s.base, min(c.next, s.end())-1, c.name)
		c.seen = false
	}
	if segmentSum(v) != number(v[segmentCRC]) {
		k.found("messages %d to %d of channel %s are not what was written", s.base, s.base+max(s.n, 1)-1, c.name)
		c.next, c.seen = max(s.end(), s.base+1), false
		return
	}
	frames := int64(0)
	for rest := data; len(rest) > 0; frames++ {
		var err error
		if _, rest, err = store.NextFrame(rest); err != nil {
			frames = -1
			break
		}
	}
	if frames != s.n || s.n == 0 {
		k.found("messages %d to %d of channel %s don't come out even", s.base, s.end()-1, c.name)
	}
	if p := c.prev; c.seen && (s.seq != p.seq+1 || s.total != p.total+int64(len(data)) || s.hi != max(p.hi, s.max)) {
		k.found("segment %d of channel %s does not continue the one before it", s.seq, c.name)
	}
	c.prev, c.seen, c.next = s, true, max(s.end(), s.base+1)
}

// spaceCheck walks through the entries of a space.
type spaceCheck struct {
	k              *checker
	id             int64
	name           string
	cleared        bool
	after          driver.Value
	entries, bytes int64
	slices         int
}

func (s *spaceCheck) slice(r *reader) (done bool, err error) {
	row, ok, err := r.spaceByID(s.id)
	if err != nil || !ok { // dropped meanwhile
		return true, err
	}
	s.slices++
	rows, size, back := 0, 0, false
	err = r.query(sqlScan, func(v []driver.Value) (bool, error) {
		rows++
		key := append([]byte{}, v[0].([]byte)...)
		if last, ok := s.after.([]byte); ok && bytes.Compare(key, last) <= 0 { // a tree that is not in order can lead back
			back = true
			return false, nil
		}
		value, _ := v[3].([]byte)
		if entrySum(s.id, key, number(v[1]), value) != number(v[2]) && !row.cleared {
			s.k.found("the entry %q of space %s is not what was written", key, s.name)
		}
		s.after = key
		s.entries++
		n := len(key) + len(value)
		s.bytes += int64(n)
		size += n
		s.k.read(n)
		return size < s.k.most, nil
	}, s.id, s.after, int64(checkRows))
	if code := primaryCode(err); code == codeCorrupt {
		s.k.broken = true
		s.k.found("entries behind %q of space %s can't be read: %v", s.after, s.name, err)
		return true, nil
	}
	if back && err == nil {
		s.k.broken = true
		s.k.found("entries behind %q of space %s are not in order", s.after, s.name)
		return true, nil
	}
	if err != nil || size >= s.k.most || rows == checkRows {
		return false, err
	}
	if row.cleared {
		return true, nil
	}
	s.k.rep.Entries += s.entries
	// In several snapshots they may have become more or less meanwhile.
	if (s.slices == 1 || s.k.still) && (s.entries != row.entries || s.bytes != row.bytes) {
		s.k.found("space %s has %d entries of %d bytes, and should have %d of %d", s.name, s.entries, s.bytes, row.entries, row.bytes)
	}
	return true, nil
}

// strays looks for rows of channels and spaces that are not there.
func (k *checker) strays(r *reader) (done bool, err error) {
	for _, q := range []struct{ what, sql string }{
		{"messages of channel", fmt.Sprintf("SELECT id >> %d FROM segment WHERE id >= (?1 + 1) << %d ORDER BY id LIMIT 1", positionBits, positionBits)},
		{"entries of space", "SELECT space FROM state WHERE space > ?1 ORDER BY space LIMIT 1"},
	} {
		table := map[bool]string{true: "channel", false: "space"}[q.what == "messages of channel"]
		for id, more := int64(-1), true; more; {
			more = false
			last := id
			err := r.c.onceRows(q.sql, func(v []driver.Value) (bool, error) {
				id, more = number(v[0]), true
				return false, nil
			}, id)
			if err != nil {
				return true, err
			}
			if !more {
				break
			}
			if id <= last { // a tree that is not in order can lead back
				k.broken = true
				k.found("the %s are not in order behind number %d", q.what, last)
				break
			}
			n := int64(0)
			err = r.c.onceRows("SELECT count(*) FROM "+table+" WHERE id = ?1", func(v []driver.Value) (bool, error) {
				n = number(v[0])
				return false, nil
			}, id)
			if err != nil {
				return true, err
			}
			if n == 0 {
				k.found("there are %s number %d, and no such %s", q.what, id, table)
			}
		}
	}
	return true, nil
}

// onceRows runs a query with parameters that is needed seldom.
func (c *conn) onceRows(sql string, row func([]driver.Value) (bool, error), args ...driver.Value) error {
	s, err := c.raw.Prepare(sql)
	if err != nil {
		return err
	}
	return errors.Join(c.rows(s, row, c.bind(args)), s.Close())
}
