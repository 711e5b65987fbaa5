// Package redis speaks to Redis, Valkey and what else has their protocol: streams, lists, publish and subscribe, and keys. It reads streams by consumer groups,
// lists as reliable queues and channels (from), adds to them and sets keys (to), and reads and changes keys (call).
//
// An entry of a stream has an id of two numbers, milliseconds and a count, which is the message's position for all time.
package redis

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"penstock.dev/penstock"
)

// Register adds the drivers and the Connection's configuration.
func Register(r *penstock.Registry) {
	penstock.RegisterConnection[ConnectionConfig](r, penstock.Spec{
		Name:    "redis",
		Summary: "A Redis or Valkey server, a cluster, or a server that sentinels watch over.",
	})
	penstock.RegisterSource(r, sourceSpec, newSource)
	penstock.RegisterSink(r, sinkSpec, newSink)
	penstock.RegisterCaller(r, callerSpec, newCaller)
}

// config is an error of the configuration.
func config(at, hint, format string, args ...any) *penstock.Error {
	return &penstock.Error{Code: penstock.Config, Op: "redis", Path: at, Err: fmt.Errorf(format, args...), Hint: hint}
}

// fixed evaluates a text that is the same for all messages. Nothing gives "".
func fixed(t penstock.Template, env penstock.Env) (string, error) { return t.Fixed("redis", env) }

// named is fixed for what needs a name.
func named(t penstock.Template, env penstock.Env, what string) (string, error) {
	name, err := fixed(t, env)
	if err == nil && name == "" {
		err = config(t.Pos.String(), "", "`%s` is empty", what)
	}
	return name, err
}

// textOf evaluates a template for a message; an absent or null value is no text.
func textOf(t penstock.Template, f *penstock.Frame, memory *[]byte, what string) (string, error) {
	if t.Program == nil {
		return t.Source, nil
	}
	v := t.Program.Eval(f)
	if v.Kind() == penstock.KindOptional {
		v = v.Optional()
	}
	if v.Kind() == penstock.KindNode {
		v = v.Load(f.Arena)
	}
	switch v.Kind() {
	case penstock.KindError:
		return "", v.Err()
	case penstock.KindAbsent, penstock.KindNull:
		return "", nil
	}
	text, err := v.AppendText((*memory)[:0])
	if err != nil {
		return "", &penstock.Error{Code: penstock.Unprocessable, Op: "redis", Path: what, Err: err}
	}
	*memory = text
	return string(text), nil
}

// keyOf is textOf for the key of an entry, which has a name.
func keyOf(t penstock.Template, f *penstock.Frame, memory *[]byte, what string) (string, error) {
	key, err := textOf(t, f, memory, what)
	if err == nil && key == "" {
		err = &penstock.Error{Code: penstock.Unprocessable, Op: "redis", Path: what, Err: errors.New("the key is empty")}
	}
	return key, err
}

// isStatic says that a template has no ${…}, so that it can be looked at before it is compiled.
func isStatic(t penstock.Template) bool { return !strings.Contains(t.Source, "${") }

// sole says which of several fields are set.
func sole(set map[string]bool) (names []string) {
	for name, is := range set {
		if is {
			names = append(names, name)
		}
	}
	return names
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func millis(n int64) string { return strconv.FormatInt(n, 10) }
