package rabbitmq

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
)

// Names of meta that stand for properties of a message (AMQP 0.9.1, section 1.8.3: basic), and for what the server says of its delivery.
const (
	metaContentType     = "content-type"
	metaContentEncoding = "content-encoding"
	metaMessageID       = "message-id"
	metaCorrelationID   = "correlation-id"
	metaReplyTo         = "reply-to"
	metaType            = "type"
	metaAppID           = "app-id"
	metaUserID          = "user-id"
	metaPriority        = "priority"
	metaExpiration      = "expiration"
	metaTimestamp       = "timestamp"
	metaExchange        = "exchange"
	metaRoutingKey      = "routing-key"
	metaRedelivered     = "redelivered"

	// keyHeader holds the key of a message, for which AMQP has no place.
	keyHeader    = "penstock-key"
	streamOffset = "x-stream-offset"
)

// receive makes key, meta and time of what stands in a delivery beside its payload.
func receive(m *penstock.Message, d *amqp.Delivery) {
	text := func(name, v string) {
		if v != "" {
			m.Meta.Add(name, penstock.StringValue(valid(v)))
		}
	}
	text(metaContentType, d.ContentType)
	text(metaContentEncoding, d.ContentEncoding)
	text(metaMessageID, d.MessageId)
	text(metaCorrelationID, d.CorrelationId)
	text(metaReplyTo, d.ReplyTo)
	text(metaType, d.Type)
	text(metaAppID, d.AppId)
	text(metaUserID, d.UserId)
	if d.Priority > 0 {
		m.Meta.Add(metaPriority, penstock.IntValue(int64(d.Priority)))
	}
	text(metaExpiration, d.Expiration)
	if !d.Timestamp.IsZero() {
		m.Time = d.Timestamp
		m.Meta.Add(metaTimestamp, penstock.TimestampValue(d.Timestamp))
	}
	text(metaExchange, d.Exchange)
	text(metaRoutingKey, d.RoutingKey)
	if d.Redelivered {
		m.Meta.Add(metaRedelivered, penstock.BoolValue(true))
	}
	if len(d.Headers) == 0 {
		return
	}
	var few [16]string
	names := few[:0] // in order: meta would differ from one time to the next
	for name := range d.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v := d.Headers[name]
		if key, ok := v.(string); ok && name == keyHeader {
			m.Key = valid(key)
			continue
		}
		// Set, not Add: a header may have the name of a property, or differ from another in case only.
		m.Meta.Set(penstock.EventMeta(valid(name), eventProperty, eventOther), fromField(v))
	}
}

// What the application properties begin with that are the attributes of a CloudEvent; the second is for clients that can't write the colon (CloudEvents AMQP protocol
// binding, section 3.1.3.1).
const (
	eventProperty = "cloudEvents:"
	eventOther    = "cloudEvents_"
)

// valid makes text of what may have any bytes.
func valid(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return strings.ToValidUTF8(s, "\uFFFD")
		}
	}
	return s
}

// fromField makes a value of a field of a table (AMQP 0.9.1 section 4.2.5.5, with RabbitMQ's errata).
func fromField(v any) penstock.Value {
	switch v := v.(type) {
	case string:
		return penstock.StringValue(valid(v))
	case bool:
		return penstock.BoolValue(v)
	case int64:
		return penstock.IntValue(v)
	case int32:
		return penstock.IntValue(int64(v))
	case int16:
		return penstock.IntValue(int64(v))
	case int8:
		return penstock.IntValue(int64(v))
	case int:
		return penstock.IntValue(int64(v))
	case byte:
		return penstock.IntValue(int64(v))
	case uint16:
		return penstock.IntValue(int64(v))
	case uint32:
		return penstock.IntValue(int64(v))
	case float64:
		return penstock.DoubleValue(v)
	case float32:
		return penstock.DoubleValue(float64(v))
	case []byte:
		return penstock.BytesValue(v)
	case time.Time:
		return penstock.TimestampValue(v)
	case amqp.Decimal:
		d, err := penstock.ParseDecimal(strconv.Itoa(int(v.Value)) + "e-" + strconv.Itoa(int(v.Scale)))
		if err != nil {
			return penstock.Null
		}
		return penstock.DecimalValue(d)
	case amqp.Table:
		m := &penstock.Map{}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			m.Entries = append(m.Entries, penstock.Entry{Key: penstock.StringValue(valid(name)), Value: fromField(v[name])})
		}
		return penstock.MapValue(m)
	case []any:
		l := &penstock.List{}
		for _, e := range v {
			l.Elems = append(l.Elems, fromField(e))
		}
		return penstock.ListValue(l)
	}
	return penstock.Null
}
