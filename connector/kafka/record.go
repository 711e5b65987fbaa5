package kafka

import (
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// The names of meta that say where a message came from. The sink writes none that begin like these.
const (
	metaPrefix    = "kafka-"
	metaTopic     = "kafka-topic"
	metaPartition = "kafka-partition"
	metaOffset    = "kafka-offset"
)

// Headers by which what Penstock has written comes back as it was.
const (
	headerFormat = "penstock-format" // of a value that is no JSON: text or bytes
	headerJSON   = "penstock-json"   // names of headers that are JSON and no text, with commas between them
	headerID     = "penstock-id"     // the identity of a message in a channel, by which its readers know one that is written twice

	formatText  = "text"
	formatBytes = "bytes"
)

// reader makes messages of records.
//
// A body is the very bytes that the broker sent: they lie in the memory of one fetch, which is nobody else's, and lives as long as one of its messages is
// looked at. Keys and headers likewise: those who keep them longer than the message copy them, as they do with every message.
type reader struct {
	json, opaque bool
	bodies       *penstock.Payloads
	keys         string
	topics, all  bool // put the topic into meta, and the rest
	pool         recordPool
	names        map[string]string // of headers, lower-case
}

func (r *reader) init(c *SourceConfig) (err error) {
	if r.bodies, err = penstock.NewPayloads("kafka", c.Format, 0); err != nil {
		return err
	}
	r.json, r.opaque, r.keys = c.Format.Name == "json", c.Format.Name == "bytes", c.Keys
	r.all = c.Coordinates
	r.topics = r.all || c.Topic.IsZero()
	r.names = map[string]string{}
	return nil
}

// recordPool keeps the records of a fetch for the next.
type recordPool struct{ pool sync.Pool }

// GetRecords implements kgo.PoolRecords.
func (p *recordPool) GetRecords(n int) []kgo.Record {
	if v, ok := p.pool.Get().(*[]kgo.Record); ok && cap(*v) >= n {
		return (*v)[:0]
	}
	return make([]kgo.Record, 0, n)
}

// PutRecords implements kgo.PoolRecords.
func (p *recordPool) PutRecords(r []kgo.Record) {
	if cap(r) <= maxPooled {
		p.pool.Put(&r)
	}
}

// maxPooled is the largest slice of records that is kept, so that one large batch doesn't hold its memory for good.
const maxPooled = 1 << 14

// take makes messages of what was fetched, and says how many. Records of a partition that is no longer ours are left out: whoever has it reads them.
func (s *source) take(fetches kgo.Fetches, into *penstock.Batch) (n int) {
	for f := range fetches {
		for t := range fetches[f].Topics {
			topic := &fetches[f].Topics[t]
			for i := range topic.Partitions {
				n += s.takePartition(topic.Topic, &topic.Partitions[i], into)
			}
		}
	}
	return n
}

func (s *source) takePartition(topic string, fetched *kgo.FetchPartition, into *penstock.Batch) (n int) {
	if len(fetched.Records) == 0 {
		return 0
	}
	s.parts.mu.Lock()
	p := s.parts.find(topic, fetched.Partition)
	if p == nil {
		s.parts.mu.Unlock()
		return 0
	}
	last := fetched.Records[len(fetched.Records)-1]
	for len(fetched.Records) > 0 && fetched.Records[0].Offset < p.read { // they were held, and the partition was given away and came back meanwhile
		fetched.Records = fetched.Records[1:]
	}
	p.read = max(p.read, last.Offset+1)
	for i := len(fetched.Records) - 1; i >= 0; i-- {
		if r := fetched.Records[i]; !r.Attrs.IsControl() {
			p.handed = r.Offset + 1
			break
		}
	}
	s.parts.mu.Unlock()
	for _, r := range fetched.Records {
		if r.Attrs.IsControl() {
			continue
		}
		m := into.Append()
		m.Pos = penstock.Position{Stream: p.stream, Offset: r.Offset, Next: r.Offset + 1}
		m.Time = r.Timestamp
		if err := s.reader.read(m, r, into); err != nil {
			into.Fail(len(into.Msgs)-1, err)
		}
		r.Recycle()
		n++
	}
	return n
}

// read fills m.
func (r *reader) read(m *penstock.Message, rec *kgo.Record, into *penstock.Batch) error {
	err := r.key(m, rec.Key, into)
	format, lists := "", ""
	for i := range rec.Headers {
		h := &rec.Headers[i]
		switch h.Key {
		case headerFormat:
			format = string(h.Value)
			continue
		case headerJSON:
			lists = string(h.Value)
			continue
		}
		name, v := r.name(h.Key), penstock.BytesValue(h.Value)
		if utf8.Valid(h.Value) {
			v = penstock.StringValue(unsafe.String(unsafe.SliceData(h.Value), len(h.Value)))
		}
		if i == 0 {
			m.Meta.Add(name, v)
		} else {
			m.Meta.Set(name, v) // of several, the last counts
		}
	}
	if lists != "" {
		structured(m, lists, into)
	}
	if r.topics {
		m.Meta.Set(metaTopic, penstock.StringValue(rec.Topic))
	}
	if r.all {
		m.Meta.Set(metaPartition, penstock.IntValue(int64(rec.Partition)))
		m.Meta.Set(metaOffset, penstock.IntValue(rec.Offset))
	}
	if verr := r.value(m, rec.Value, format, into); err == nil {
		err = verr
	}
	return err
}

// structured makes values of headers that are JSON.
func structured(m *penstock.Message, lists string, into *penstock.Batch) {
	for name := range strings.SplitSeq(lists, ",") {
		v := m.Meta.Get(name)
		if v.Kind() != penstock.KindString {
			continue
		}
		text := v.Str()
		d := into.NewDoc()
		d.Reset(jsonview.JSON, unsafe.Slice(unsafe.StringData(text), len(text)))
		if d.Parse(jsonview.Limits{}) == nil { // else it was never ours
			m.Meta.Set(name, penstock.NodeValue(d, 0).Load(into.Arena()))
		}
	}
}

func (r *reader) key(m *penstock.Message, key []byte, into *penstock.Batch) error {
	switch {
	case len(key) == 0 || r.keys == keysNone:
	case r.keys == keysBase64:
		b := base64.StdEncoding.AppendEncode(into.Arena().Alloc(base64.StdEncoding.EncodedLen(len(key)))[:0], key)
		m.Key = unsafe.String(unsafe.SliceData(b), len(b))
	case !utf8.Valid(key):
		return &penstock.Error{Code: penstock.Invalid, Op: "kafka", Path: "key", Err: errors.New("the record's key is no text (UTF-8)"), Hint: "say `keys: base64` beside the topic, or `keys: none`"}
	default:
		m.Key = unsafe.String(unsafe.SliceData(key), len(key))
	}
	return nil
}

// value makes the body of a record's value. It is the one place that knows how a value is framed.
func (r *reader) value(m *penstock.Message, value []byte, format string, into *penstock.Batch) error {
	switch {
	case value == nil: // a tombstone is null
	case r.json && format == formatText && utf8.Valid(value):
		m.Body.Reset(jsonview.Text, value)
	case r.json && format == formatBytes, r.opaque: // also where it is empty, which is not null here
		m.Body.Reset(jsonview.Binary, value)
	default:
		return r.bodies.Body(into, m.Body, value)
	}
	return nil
}

// maxNames bounds how many names of headers are remembered.
const maxNames = 1 << 10

// eventHeader is what the headers begin with that are the attributes of a CloudEvent (CloudEvents 1.0, Kafka protocol binding, section 3.2.3).
const eventHeader = "ce_"

// name is the name that a header has in meta.
func (r *reader) name(header string) string {
	if known, ok := r.names[header]; ok {
		return known
	}
	header = strings.Clone(header)
	lower := penstock.EventMeta(strings.ToLower(header), eventHeader)
	if len(r.names) < maxNames {
		r.names[header] = lower
	}
	return lower
}
