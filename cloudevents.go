package penstock

import "strings"

// What a CloudEvent looks like inside a flow, whatever carried it: in binary mode its context attributes are headers of the message (meta) whose names
// begin with [EventPrefix], as in the HTTP protocol binding, and the body is its data; in structured mode the body is the envelope, or a list of
// them, and the header content-type says so. The steps `decode: cloudEvent` and `encode: {cloudEvent: …}` make one of the other. A connector gives the
// attributes the names of its own binding (CloudEvents 1.0.2: HTTP and NATS ce-, Kafka ce_, AMQP cloudEvents: or cloudEvents_, MQTT none), and
// sends the content type of a message that is an event.
const (
	// EventPrefix is what the names of headers begin with that are attributes: ce-id, ce-type and so on.
	EventPrefix = "ce-"
	// EventType is the media type of an event in structured mode (CloudEvents JSON event format, section 3).
	EventType = "application/cloudevents+json"
	// EventBatchType is the media type of a list of them (section 4).
	EventBatchType = "application/cloudevents-batch+json"
)

// IsEvent says that the message is a CloudEvent in binary mode: it has the header ce-specversion.
func (m *Message) IsEvent() bool { return !m.Meta.Get(EventPrefix + "specversion").IsAbsent() }

// EventContentType is the content type that the message says of itself where it is a CloudEvent, in whichever mode, or a batch of them; else "". A sink sends it
// in place of that of its format: it is the event's datacontenttype, or tells that there is an envelope.
func (m *Message) EventContentType() string {
	v := m.Meta.Get("content-type")
	if v.Kind() != KindString {
		return ""
	}
	if s := v.Str(); m.IsEvent() || strings.HasPrefix(s, "application/cloudevents") {
		return s
	}
	return ""
}

// EventMeta is the name in meta of a header that came by the name header: those that begin with one of prefixes are attributes, all others keep their names.
func EventMeta(header string, prefixes ...string) string {
	for _, p := range prefixes {
		if attribute, ok := strings.CutPrefix(header, p); ok {
			return EventPrefix + attribute
		}
	}
	return header
}

// EventHeader is the name that goes out for a name in meta: an attribute begins with prefix, all others keep their names.
func EventHeader(name, prefix string) string {
	if attribute, ok := strings.CutPrefix(name, EventPrefix); ok {
		return prefix + attribute
	}
	return name
}

// IsEventAttribute reports whether s can name an attribute: it has only lower-case letters and digits (CloudEvents 1.0.2, "Naming Conventions").
func IsEventAttribute(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
