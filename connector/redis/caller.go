package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// caller asks.
type caller struct {
	config CallConfig
	env    penstock.Env
	link   *link
	client rueidis.Client
	verb   string
	works  sync.Pool // *asking
}

// asking is the memory of one call.
type asking struct {
	body, text []byte
	doc        jsonview.Doc
}

var (
	_ penstock.Caller = (*caller)(nil)
	_ penstock.Rowed  = (*CallConfig)(nil)
)

func newCaller(c CallConfig, env penstock.Env) (penstock.Caller, error) {
	if c.Format.Codec == nil || c.BodyFormat.Codec == nil {
		return nil, penstock.E(penstock.Config, "redis", env.Name, "no codec")
	}
	out := &caller{config: c, env: env, verb: c.verbs()[0]}
	out.works.New = func() any { return new(asking) }
	return out, nil
}

// Open implements penstock.Caller.
func (c *caller) Open(ctx context.Context) (err error) {
	if c.link, err = connect(c.config.Connection, c.env); err != nil {
		return err
	}
	c.client, err = c.link.open(ctx)
	return err
}

// Close implements penstock.Caller. The connection is closed at the end of the run.
func (c *caller) Close(context.Context) error { return nil }

// Call implements penstock.Caller.
func (c *caller) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	if c.client == nil {
		return penstock.E(penstock.Internal, "redis", c.env.Name, "the caller is not open")
	}
	w := c.works.Get().(*asking)
	defer c.works.Put(w)
	w.body = w.body[:0]
	ctx, cancel := context.WithTimeout(ctx, c.link.timeout())
	defer cancel()
	switch c.verb {
	case vGet, vGetMany:
		return c.get(ctx, w, f, into)
	case vGetHash:
		return c.getHash(ctx, w, f, into)
	case vCommand:
		return c.command(ctx, w, f, into)
	}
	return c.change(ctx, w, f, into)
}

// get reads one key or many.
func (c *caller) get(ctx context.Context, w *asking, f *penstock.Frame, into *penstock.Message) error {
	if c.verb == vGet {
		key, err := keyOf(c.config.Get, f, &w.text, vGet)
		if err != nil {
			return err
		}
		data, err := c.client.Do(ctx, c.client.B().Get().Key(key).Build()).AsBytes()
		if rueidis.IsRedisNil(err) {
			return absent(into)
		}
		if err != nil {
			return failure(err, "key "+key)
		}
		return c.value(f, into.Body, data)
	}
	cmds := make([]rueidis.Completed, len(c.config.GetMany))
	for i, t := range c.config.GetMany {
		key, err := keyOf(t, f, &w.text, vGetMany)
		if err != nil {
			return err
		}
		cmds[i] = c.client.B().Get().Key(key).Build() // not MGET, whose keys must be on one node of a cluster
	}
	out := append(f.Arena.Alloc(64)[:0], '[')
	for i, a := range c.client.DoMulti(ctx, cmds...) {
		if i > 0 {
			out = append(out, ',')
		}
		data, err := a.AsBytes()
		if rueidis.IsRedisNil(err) {
			out = append(out, "null"...)
			continue
		}
		if err != nil {
			return failure(err, "key "+c.config.GetMany[i].Source)
		}
		if err = c.value(f, &w.doc, data); err != nil {
			return err
		}
		if err := w.doc.Parse(jsonview.Limits{}); err != nil {
			return &penstock.Error{Code: penstock.Invalid, Op: "redis", Path: "key " + c.config.GetMany[i].Source, Err: err}
		}
		out = w.doc.AppendJSON(out, 0)
	}
	into.Body.Reset(jsonview.JSON, append(out, ']'))
	return nil
}

// absent is the reply where there is nothing.
func absent(into *penstock.Message) error {
	into.Body.Reset(jsonview.JSON, []byte("null"))
	into.Meta.Set("absent", penstock.True)
	return nil
}

// value makes a document of what is under a key, which nobody changes any more.
func (c *caller) value(f *penstock.Frame, d *jsonview.Doc, data []byte) error {
	switch {
	case len(data) == 0 && c.config.Format.Name == "json":
		d.Reset(jsonview.JSON, []byte("null"))
	case c.config.Format.Name == "json":
		d.Reset(jsonview.JSON, data)
		if err := d.Parse(jsonview.Limits{}); err != nil {
			return &penstock.Error{Code: penstock.Invalid, Op: "redis", Path: c.verb, Err: fmt.Errorf("what is under the key: %w", err), Hint: "say how it is written: `format: { text: {} }`"}
		}
	case c.config.Format.Name == "bytes":
		d.Reset(jsonview.Binary, data)
	case c.config.Format.Name == "text":
		d.Reset(jsonview.JSON, jsonview.AppendString(f.Arena.Alloc(len(data) + 2)[:0], valid(string(data))))
	default:
		dst, err := c.config.Format.Codec.Decode(f.Arena.Alloc(len(data))[:0], data)
		if err != nil {
			return &penstock.Error{Code: penstock.Invalid, Op: "redis", Path: c.verb, Err: fmt.Errorf("what is under the key: %w", err)}
		}
		d.Reset(jsonview.JSON, dst)
	}
	return nil
}

// getHash reads a hash, or one field of it.
func (c *caller) getHash(ctx context.Context, w *asking, f *penstock.Frame, into *penstock.Message) error {
	key, err := keyOf(c.config.GetHash, f, &w.text, vGetHash)
	if err != nil {
		return err
	}
	if !c.config.HashField.IsZero() {
		name, err := textOf(c.config.HashField, f, &w.text, "hashField")
		if err != nil {
			return err
		}
		text, err := c.client.Do(ctx, c.client.B().Hget().Key(key).Field(name).Build()).ToString()
		if rueidis.IsRedisNil(err) {
			return absent(into)
		}
		if err != nil {
			return failure(err, "key "+key)
		}
		into.Body.Reset(jsonview.JSON, jsonview.AppendString(f.Arena.Alloc(len(text) + 2)[:0], valid(text)))
		return nil
	}
	m, err := c.client.Do(ctx, c.client.B().Hgetall().Key(key).Build()).ToMessage()
	if err != nil {
		return failure(err, "key "+key)
	}
	all, err := m.AsStrMap()
	if err != nil {
		return failure(err, "key "+key)
	}
	if len(all) == 0 {
		return absent(into)
	}
	out, err := appendReply(f.Arena.Alloc(256)[:0], &m)
	if err != nil {
		return failure(err, "key "+key)
	}
	into.Body.Reset(jsonview.JSON, out)
	return nil
}

// change does what writes.
func (c *caller) change(ctx context.Context, w *asking, f *penstock.Frame, into *penstock.Message) error {
	b, ttl := c.client.B(), c.config.TTL.Std().Milliseconds()
	at := map[string]penstock.Template{vExists: c.config.Exists, vSet: c.config.Set, vDelete: c.config.Delete, vIncrement: c.config.Increment, vExpire: c.config.Expire, vSetHash: c.config.SetHash}[c.verb]
	key, err := keyOf(at, f, &w.text, c.verb)
	if err != nil {
		return err
	}
	var cmd rueidis.Completed
	name, truth := "", false
	switch c.verb {
	case vExists:
		cmd, name, truth = b.Exists().Key(key).Build(), "exists", true
	case vDelete:
		cmd, name = b.Del().Key(key).Build(), "deleted"
	case vExpire:
		cmd, name, truth = b.Pexpire().Key(key).Milliseconds(ttl).Build(), "set", true
	case vIncrement:
		n, err := c.amount(w, f)
		if err != nil {
			return err
		}
		cmd, name = b.Incrby().Key(key).Increment(n).Build(), "value"
	case vSet:
		data, err := c.written(w, f)
		if err != nil {
			return err
		}
		words := []string{string(data)}
		if ttl > 0 {
			words = append(words, "PX", strconv.FormatInt(ttl, 10))
		}
		switch c.config.Only {
		case "absent":
			words = append(words, "NX")
		case "present":
			words = append(words, "XX")
		}
		err = c.client.Do(ctx, b.Arbitrary("SET").Keys(key).Args(words...).Build()).Error()
		if err != nil && !rueidis.IsRedisNil(err) {
			return failure(err, "key "+key)
		}
		return reply(into, "set", boolean(err == nil))
	case vSetHash:
		words, err := c.members(w, f)
		if err != nil {
			return err
		}
		cmd, name = b.Arbitrary("HSET").Keys(key).Args(words...).Build(), "added"
	}
	cmds := []rueidis.Completed{cmd}
	if ttl > 0 && (c.verb == vIncrement || c.verb == vSetHash) {
		cmds = append(cmds, b.Arbitrary("PEXPIRE").Keys(key).Args(strconv.FormatInt(ttl, 10), "NX").Build())
	}
	answers := c.client.DoMulti(ctx, cmds...)
	for _, a := range answers {
		if err := a.Error(); err != nil {
			return failure(err, "key "+key)
		}
	}
	n, err := answers[0].AsInt64()
	if err != nil {
		return failure(err, "key "+key)
	}
	if truth {
		return reply(into, name, boolean(n > 0))
	}
	return reply(into, name, strconv.FormatInt(n, 10))
}

func boolean(is bool) string { return strconv.FormatBool(is) }

// reply is an object of one member.
func reply(into *penstock.Message, name, value string) error {
	into.Body.Reset(jsonview.JSON, []byte(`{"`+name+`":`+value+`}`))
	return nil
}

// amount is what is added.
func (c *caller) amount(w *asking, f *penstock.Frame) (int64, error) {
	if c.config.Amount.IsZero() {
		return 1, nil
	}
	text, err := textOf(c.config.Amount, f, &w.text, "amount")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, &penstock.Error{Code: penstock.Unprocessable, Op: "redis", Path: "amount", Err: fmt.Errorf("%.40q is no integer", text)}
	}
	return n, nil
}

// document is what is written.
func (c *caller) document(w *asking, f *penstock.Frame) (*jsonview.Doc, error) {
	m := c.config.Body.Mapping
	if m == nil {
		return f.Msg.Body, nil
	}
	var err error
	if w.text, err = m.Append(w.text[:0], f); err != nil {
		return nil, err
	}
	w.doc.Reset(jsonview.JSON, w.text)
	return &w.doc, nil
}

// written is document as bytes.
func (c *caller) written(w *asking, f *penstock.Frame) ([]byte, error) {
	d, err := c.document(w, f)
	if err != nil {
		return nil, err
	}
	w.body, err = encode(w.body[:0], d, c.config.BodyFormat)
	return w.body, err
}

// members are the names and values of what is written.
func (c *caller) members(w *asking, f *penstock.Frame) (words []string, err error) {
	d, err := c.document(w, f)
	if err != nil {
		return nil, err
	}
	err = eachMember(d, func(name []byte, value jsonview.Node) {
		words = append(words, string(name))
		if d.Kind(value) == jsonview.String {
			words = append(words, strings.Clone(d.Str(value, nil)))
		} else {
			words = append(words, string(d.AppendJSON(nil, value)))
		}
	})
	return words, err
}

// eachMember gives the members of a body that has to be an object.
func eachMember(d *jsonview.Doc, member func(name []byte, value jsonview.Node)) error {
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return &penstock.Error{Code: penstock.Invalid, Op: "redis", Path: "body", Err: err}
	}
	if d.Kind(0) != jsonview.Object || d.Len(0) == 0 {
		return &penstock.Error{Code: penstock.Unprocessable, Op: "redis", Path: "body", Err: errors.New("its members are written as fields, so it has to be an object with at least one")}
	}
	var name []byte
	for at := d.First(0); at != jsonview.None; at = d.Next(at) {
		name = append(name[:0], d.Key(at, nil)...)
		member(name, d.Value(at))
	}
	return nil
}

// command sends another command.
func (c *caller) command(ctx context.Context, w *asking, f *penstock.Frame, into *penstock.Message) error {
	words := make([]string, len(c.config.Command))
	for i, t := range c.config.Command {
		var err error
		if words[i], err = textOf(t, f, &w.text, fmt.Sprintf("command[%d]", i)); err != nil {
			return err
		}
	}
	at := "command " + words[0]
	cmd := c.client.B().Arbitrary(words[0])
	if where := commandKey(words); where > 0 {
		cmd = cmd.Args(words[1:where]...).Keys(words[where]).Args(words[where+1:]...)
	} else {
		cmd = cmd.Args(words[1:]...)
	}
	m, err := c.client.Do(ctx, cmd.Build()).ToMessage()
	if rueidis.IsRedisNil(err) {
		return absent(into)
	}
	if err != nil {
		return failure(err, at)
	}
	out, err := appendReply(f.Arena.Alloc(64)[:0], &m)
	if err != nil {
		return failure(err, at)
	}
	into.Body.Reset(jsonview.JSON, out)
	return nil
}
