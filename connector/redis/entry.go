package redis

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// id is that of an entry of a stream: <milliseconds>-<number>.
type id struct{ ms, seq uint64 }

// parseID reads an id; without a number behind the milliseconds it is the first of them.
func parseID(s string) (i id, err error) {
	ms, seq, two := strings.Cut(s, "-")
	if i.ms, err = strconv.ParseUint(ms, 10, 64); err == nil && two {
		i.seq, err = strconv.ParseUint(seq, 10, 64)
	}
	if err != nil {
		return id{}, fmt.Errorf("%.60q is no id of an entry: write 1795450000000-0", s)
	}
	return i, nil
}

func (i id) String() string {
	b := strconv.AppendUint(make([]byte, 0, 24), i.ms, 10)
	return string(strconv.AppendUint(append(b, '-'), i.seq, 10))
}

func (i id) less(o id) bool { return i.ms < o.ms || i.ms == o.ms && i.seq < o.seq }

// before is the id in front of i: what a group has been given that is to be given i next.
func (i id) before() id {
	switch {
	case i.seq > 0:
		return id{i.ms, i.seq - 1}
	case i.ms > 0:
		return id{i.ms - 1, math.MaxUint64}
	}
	return id{}
}

// An id is a message's offset as one number: the milliseconds, which fit up to the year 2248, and behind them in 20 bits the number in the millisecond.
const seqBits = 20

// offset makes a number of i; ok is false where it is too large, which happens only where somebody gives ids of his own.
func (i id) offset() (n int64, ok bool) {
	if i.ms >= 1<<(63-seqBits) || i.seq >= 1<<seqBits {
		return 0, false
	}
	return int64(i.ms<<seqBits | i.seq), true //nolint:gosec // bounded above
}

// idAt is the id of an offset.
func idAt(n int64) id {
	return id{uint64(n) >> seqBits, uint64(n) & (1<<seqBits - 1)} //nolint:gosec // we made it
}

// decoder makes messages of what comes.
type decoder struct {
	bodies *penstock.Payloads
	field  string
	key    string
	whole  bool // all fields are the body
}

func newDecoder(c SourceConfig) (*decoder, error) {
	bodies, err := penstock.NewPayloads("redis", c.Format, cmp.Or(c.MaxRecord, 16<<20))
	if err != nil {
		return nil, err
	}
	return &decoder{bodies: bodies, field: cmp.Or(c.Field, bodyField), key: cmp.Or(c.KeyField, keyField), whole: c.Fields}, nil
}

// preparation is for a source that can hold back what can't be read yet.
func (d *decoder) preparation(env penstock.Env) *penstock.Preparation {
	return d.bodies.Preparation(env)
}

// payload is what the body of an entry is made of.
func (d *decoder) payload(fields []rueidis.XRangeFieldValue) []byte {
	for _, f := range fields {
		if f.Field == d.field && !d.whole {
			return []byte(f.Value)
		}
	}
	return nil
}

// entry fills m, which is the last of b, of the fields of an entry. Where the body can't be read it is left as bytes, and the error is the message's.
func (d *decoder) entry(b *penstock.Batch, m *penstock.Message, fields []rueidis.XRangeFieldValue) error {
	if d.whole {
		dst := append(b.Arena().Tail(256), '{')
		for i, f := range fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = jsonview.AppendString(dst, valid(f.Field))
			dst = jsonview.AppendString(append(dst, ':'), valid(f.Value))
		}
		m.Body.Reset(jsonview.JSON, b.Arena().Keep(append(dst, '}')))
		return nil
	}
	found := false
	var err error
	for _, f := range fields {
		switch f.Field {
		case d.field:
			found = true
			err = d.body(b, m, f.Value)
		case d.key:
			m.Key = valid(f.Value)
		default:
			m.Meta.Set(valid(f.Field), penstock.StringValue(valid(f.Value)))
		}
	}
	if !found {
		return &penstock.Error{Code: penstock.Invalid, Op: "redis", Path: "field " + d.field, Err: fmt.Errorf("the entry has no field %s", d.field), Hint: "name another `field`, or say `fields: true`, so that all fields are the body"}
	}
	return err
}

// body makes the body of what was written.
func (d *decoder) body(b *penstock.Batch, m *penstock.Message, data string) error {
	return d.bodies.Body(b, m.Body, b.Arena().Keep(append(b.Arena().Tail(len(data)), data...)))
}

// valid makes text of what may have any bytes.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
