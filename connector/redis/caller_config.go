package redis

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

var callerSpec = penstock.Spec{
	Name:    "redis",
	Summary: "Reads and changes keys: texts and numbers, hashes, and by `command` what else Redis has.",
}

// CallConfig is the configuration of the caller. One of get, getMany, exists, set, delete, increment, expire, getHash, setHash and command is set.
type CallConfig struct {
	// The server to ask.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The key to read: `stock:${body.sku}`. The reply is its value; a key that is not there gives an absent value, no error.
	Get penstock.Template `json:"get" penstock:"place=plain"`
	// Keys to read. The reply is a list of their values, null for those that are not there.
	GetMany []penstock.Template `json:"getMany" penstock:"place=plain"`
	// The key to look for. The reply is {exists: true}.
	Exists penstock.Template `json:"exists" penstock:"place=plain"`
	// The key to write, whatever is there. The reply is {set: true}; false where `only` kept it from being written.
	Set penstock.Template `json:"set" penstock:"place=plain"`
	// With set: absent writes only where the key is not there (NX), present only where it is (XX).
	Only string `json:"only" penstock:"enum=absent|present"`
	// The key to delete. The reply is {deleted: 1}, or 0 where there was none.
	Delete penstock.Template `json:"delete" penstock:"place=plain"`
	// The key of a number to add to; it begins with 0. The reply is {value: 17}.
	Increment penstock.Template `json:"increment" penstock:"place=plain"`
	// With increment: what is added, an integer, which may be negative. Default: 1.
	Amount penstock.Template `json:"amount" penstock:"place=plain"`
	// The key that is to live for `ttl` from now on. The reply is {set: true}; false where there is no such key.
	Expire penstock.Template `json:"expire" penstock:"place=plain"`
	// With set, increment, expire and setHash: how long the key lives. With increment and setHash it is set where the key has no end yet, so that a counter counts
	// for so long from its beginning. Default: for good.
	TTL penstock.Duration `json:"ttl" penstock:"min=1ms"`
	// The key of a hash to read. The reply is an object of its fields, which are texts; absent where there is none.
	GetHash penstock.Template `json:"getHash" penstock:"place=plain"`
	// With getHash: read only this field. The reply is its value; absent where there is none.
	HashField penstock.Template `json:"hashField" penstock:"place=plain"`
	// The key of a hash to write fields of: the members of the body, which is an object. What is no text is written as JSON; other fields stay. The reply is
	// {added: 2}, the number of fields that were not there.
	SetHash penstock.Template `json:"setHash" penstock:"place=plain"`
	// Another command, word by word: ["ZADD", "scores", "${body.points}", "${body.player}"]. The first word is the command, the second mostly the key; each is one
	// argument, whatever is in it. Commands that wait, change the connection or administer the server are refused. The reply is what the server says: texts, numbers,
	// lists and objects of them.
	Command []penstock.Template `json:"command" penstock:"place=plain"`
	// With command or increment: say that doing it a second time has no second effect, so that it may be tried again after a failure that leaves open whether it was done.
	Idempotent bool `json:"idempotent"`
	// With set and setHash: what is written, a data tree: `body: { id: "${body.id}" }`. Default: the message's body.
	Body penstock.DataTree `json:"body"`
	// How the value that is written is written.
	BodyFormat penstock.Format `json:"bodyFormat" penstock:"default=json"`
	// How a value that is read is written.
	Format penstock.Format `json:"format" penstock:"default=json"`
}

// The verbs.
const (
	vGet, vGetMany, vExists, vSet, vDelete = "get", "getMany", "exists", "set", "delete"
	vIncrement, vExpire                    = "increment", "expire"
	vGetHash, vSetHash, vCommand           = "getHash", "setHash", "command"
)

func (c *CallConfig) verbs() (out []string) {
	for _, v := range []struct {
		name string
		is   bool
	}{{vGet, !c.Get.IsZero()}, {vGetMany, len(c.GetMany) > 0}, {vExists, !c.Exists.IsZero()}, {vSet, !c.Set.IsZero()}, {vDelete, !c.Delete.IsZero()}, {vIncrement, !c.Increment.IsZero()},
		{vExpire, !c.Expire.IsZero()}, {vGetHash, !c.GetHash.IsZero()}, {vSetHash, !c.SetHash.IsZero()}, {vCommand, len(c.Command) > 0}} {
		if v.is {
			out = append(out, v.name)
		}
	}
	return out
}

// Validate implements penstock.Resolver.
func (c *CallConfig) Validate() (errs []error) {
	verbs := c.verbs()
	if len(verbs) != 1 {
		return append(errs, errors.New("set one of `get`, `getMany`, `exists`, `set`, `delete`, `increment`, `expire`, `getHash`, `setHash` and `command`"))
	}
	v := verbs[0]
	only := func(set bool, name string, with ...string) {
		if set && !slices.Contains(with, v) {
			errs = append(errs, fmt.Errorf("`%s` has no meaning without `%s`", name, strings.Join(with, "` or `")))
		}
	}
	only(c.Only != "", "only", vSet)
	only(!c.Amount.IsZero(), "amount", vIncrement)
	only(c.TTL != 0, "ttl", vSet, vIncrement, vExpire, vSetHash)
	only(!c.HashField.IsZero(), "hashField", vGetHash)
	only(c.Idempotent, "idempotent", vCommand, vIncrement)
	only(!c.Body.IsZero(), "body", vSet, vSetHash)
	if v == vExpire && c.TTL == 0 {
		errs = append(errs, errors.New("`expire` needs `ttl`, how long the key is to live"))
	}
	if v == vIncrement && isStatic(c.Amount) && !c.Amount.IsZero() {
		if _, err := strconv.ParseInt(c.Amount.Source, 10, 64); err != nil {
			errs = append(errs, fmt.Errorf("amount: %q is no integer", c.Amount.Source))
		}
	}
	if v == vCommand {
		errs = append(errs, checkCommand(c.Command)...)
	}
	return errs
}

// checkCommand says what is wrong with a command.
func checkCommand(words []penstock.Template) (errs []error) {
	if !isStatic(words[0]) {
		return append(errs, errors.New("command: the first word is the command itself, and must be the same for all messages"))
	}
	name := strings.ToUpper(words[0].Source)
	if _, known := commands[name]; !known {
		return append(errs, fmt.Errorf("command: %.40q is not one that may be sent: it may wait, change the connection or administer the server, or is not known. The reference lists those that may", words[0].Source))
	}
	if strings.HasPrefix(name, "EVAL") || strings.HasPrefix(name, "FCALL") {
		if len(words) > 1 && !isStatic(words[1]) {
			errs = append(errs, fmt.Errorf("command: what %s runs must be the same for all messages: hand over values as arguments behind it", name))
		}
	}
	if len(words) < 2 {
		errs = append(errs, fmt.Errorf("command: %s needs a key behind it", name))
	}
	return errs
}

// SpecFor implements penstock.Specific.
func (c *CallConfig) SpecFor(s penstock.Spec) penstock.Spec {
	for _, v := range c.verbs() {
		switch v {
		case vGet, vGetMany, vExists, vGetHash:
			s.Idempotent, s.Reads = true, true
		case vSet:
			s.Idempotent = c.Only != "absent"
		case vDelete, vExpire, vSetHash:
			s.Idempotent = true
		case vIncrement:
			s.Idempotent = c.Idempotent
		case vCommand:
			reads := commands[strings.ToUpper(c.Command[0].Source)]
			s.Idempotent, s.Reads = c.Idempotent || reads, reads
		}
	}
	return s
}

// ReplyType implements penstock.Rowed: a schema is that of a value.
func (c *CallConfig) ReplyType(value *types.Type) *types.Type {
	object := func(name, doc string, t *types.Type) *types.Type {
		return &types.Type{Kind: types.Object, Fields: []types.Field{{Name: name, Type: t, Required: true, Doc: doc}}}
	}
	switch v := c.verbs(); {
	case len(v) != 1:
		return types.DynType
	case v[0] == vGet:
		return types.OptionalOf(value)
	case v[0] == vGetHash && c.HashField.IsZero() && value.Kind == types.Dyn:
		return types.OptionalOf(types.MapOf(types.StringType))
	case v[0] == vGetHash && c.HashField.IsZero():
		return types.OptionalOf(value)
	case v[0] == vGetHash:
		return types.OptionalOf(types.StringType)
	case v[0] == vGetMany:
		return types.ListOf(types.OptionalOf(value))
	case v[0] == vExists:
		return object("exists", "Whether the key is there.", types.BoolType)
	case v[0] == vSet, v[0] == vExpire:
		return object("set", "Whether it was done.", types.BoolType)
	case v[0] == vDelete:
		return object("deleted", "How many keys there were.", types.IntType)
	case v[0] == vIncrement:
		return object("value", "The number that is there now.", types.IntType)
	case v[0] == vSetHash:
		return object("added", "How many of the fields were not there.", types.IntType)
	}
	return types.DynType
}
