package stage

import (
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/jsonview"
)

// appendHead appends what a group keeps of its first message: a record with its headers, its origin and its format, but
// without variables and body.
func appendHead(dst []byte, first record.View) []byte {
	d := first.Draft()
	d.Key, d.Body, d.Format, d.NoVars, d.Flags = "", nil, jsonview.JSON, true, 0
	return d.Append(dst)
}

// appendElement appends a message's body to the list. Lanes have read it: it is well-formed.
func appendElement(list []byte, v record.View) []byte {
	n := len(list)
	if list = v.AppendBody(list); len(list) == n { // the empty document
		list = append(list, "null"...)
	}
	return list
}

// The entries of meta.aggregate.
var (
	countName  = penstock.StringValue("count")
	reasonName = penstock.StringValue("reason")
)

// appendGroup appends the message of a group that is complete, and happened at the time of its last message.
func (g *openGroup) appendGroup(dst []byte, why reason, now, at int64) ([]byte, error) {
	head, err := record.Parse(g.head)
	if err != nil {
		return dst, err
	}
	d := head.Draft()
	d.Time, d.EventTime, d.Key, d.Body = now, time.Unix(0, at).UTC(), g.key, g.body
	d.Meta = []penstock.MetaEntry{{Name: "aggregate", Value: penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{
		{Key: countName, Value: penstock.IntValue(int64(g.n))},
		{Key: reasonName, Value: penstock.StringValue(string(why))},
	}})}}
	if len(g.traces) > 0 {
		d.Meta = append(d.Meta, penstock.MetaEntry{Name: observe.LinksHeader, Value: penstock.StringValue(strings.Join(g.traces, " "))}, penstock.MetaEntry{Name: "traceparent"})
	}
	return d.Append(dst), nil
}

// linked notes the trace of a message that is recorded: the group's message links to it.
func (g *openGroup) linked(v record.View) {
	if len(g.traces) >= observe.MaxLinks {
		return
	}
	for name, value := range v.Meta() {
		if name != "traceparent" || value.Kind() != penstock.KindString {
			continue
		}
		if t, ok := penstock.ParseTraceparent(value.Str()); ok && t.Sampled() {
			g.traces = append(g.traces, t.Traceparent())
		}
		return
	}
}
