package redis

import (
	"context"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func (f *fixture) caller(t testing.TB, c CallConfig) penstock.Caller {
	t.Helper()
	c.Connection = f.ref
	if c.Format.IsZero() {
		c.Format = drive.JSON(t)
	}
	if c.BodyFormat.IsZero() {
		c.BodyFormat = drive.JSON(t)
	}
	if errs := c.Validate(); errs != nil {
		t.Fatal(errs)
	}
	out, err := newCaller(c, f.env)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// call asks with a body and gives the reply.
func call(c penstock.Caller, body string) (string, error) {
	b := conform.Batch(body)
	b.Runtime = &penstock.Runtime{Clock: penstock.SystemClock{}}
	into := b.NewMessage()
	if err := c.Call(context.Background(), b.Frame(b.Msgs[0]), into); err != nil {
		return "", err
	}
	if err := into.Body.Parse(jsonview.Limits{}); err != nil {
		return "", err
	}
	return string(into.Body.AppendJSON(nil, 0)), nil
}

func TestCallerConforms(t *testing.T) {
	f := on(t, service.Redis(t))
	k := name() + ":"
	f.do(t, "SET", k+"1", `{"a":1}`)
	f.do(t, "SET", k+"k:2", `[1.50]`)
	f.do(t, "RPUSH", k+"list", "x")
	conform.Caller(t, conform.CallerHarness{
		New: func(t testing.TB) penstock.Caller {
			return f.caller(t, CallConfig{Get: drive.Template(k + "${body.q}")})
		},
		Replies: map[string]string{"1": `{"a":1}`, `"k:2"`: `[1.50]`},
		Misses:  []string{"3", `"gone"`},
		Fails:   `"list"`,
	})
}

func TestKeysAreReadAndChanged(t *testing.T) {
	f := on(t, service.Redis(t))
	p := name() + ":"
	k := drive.Template(p + "${body.k}")
	minute := penstock.Duration(time.Minute)
	verbs := map[string]CallConfig{
		"set": {Set: k}, "new": {Set: k, Only: "absent"}, "old": {Set: k, Only: "present", TTL: minute}, "get": {Get: k}, "delete": {Delete: k}, "exists": {Exists: k},
		"add": {Increment: k, Amount: drive.Template("${body.n}"), TTL: minute}, "one": {Increment: k}, "expire": {Expire: k, TTL: minute},
		"hash": {SetHash: k}, "gethash": {GetHash: k}, "field": {GetHash: k, HashField: drive.Template("${body.f}")}, "many": {GetMany: []penstock.Template{k, text(p + "nobody"), k}},
		"zadd":   {Command: []penstock.Template{text("zadd"), k, drive.Template("${body.n}"), drive.Template("${body.f}")}},
		"zrange": {Command: []penstock.Template{text("ZRANGE"), k, text("0"), text("-1"), text("WITHSCORES")}},
		"script": {Command: []penstock.Template{text("EVAL"), text("return {1, ARGV[1], {'x'}}"), text("1"), k, drive.Template("${body.f}")}},
		"hset":   {Command: []penstock.Template{text("HGETALL"), k}}, "miss": {Command: []penstock.Template{text("LPOP"), k}},
	}
	callers := map[string]penstock.Caller{}
	for name, c := range verbs {
		callers[name] = drive.Opened(t, f.caller(t, c))
	}
	for i, s := range []struct {
		verb, body, want string
		code             penstock.Code
	}{
		{"get", `{"k":"a"}`, "null", ""},
		{"exists", `{"k":"a"}`, `{"exists":false}`, ""},
		{"old", `{"k":"a"}`, `{"set":false}`, ""},
		{"new", `{"k":"a","v":1}`, `{"set":true}`, ""},
		{"new", `{"k":"a","v":2}`, `{"set":false}`, ""},
		{"get", `{"k":"a"}`, `{"k":"a","v":1}`, ""},
		{"many", `{"k":"a"}`, `[{"k":"a","v":1},null,{"k":"a","v":1}]`, ""},
		{"exists", `{"k":"a"}`, `{"exists":true}`, ""},
		{"old", `{"k":"a","v":3}`, `{"set":true}`, ""},
		{"add", `{"k":"a","n":1}`, "", penstock.Unprocessable},
		{"gethash", `{"k":"a"}`, "", penstock.Config},
		{"delete", `{"k":"a"}`, `{"deleted":1}`, ""},
		{"delete", `{"k":"a"}`, `{"deleted":0}`, ""},
		{"expire", `{"k":"a"}`, `{"set":false}`, ""},
		{"one", `{"k":"n"}`, `{"value":1}`, ""},
		{"add", `{"k":"n","n":-5}`, `{"value":-4}`, ""},
		{"add", `{"k":"n","n":"x"}`, "", penstock.Unprocessable},
		{"expire", `{"k":"n"}`, `{"set":true}`, ""},
		{"gethash", `{"k":"h"}`, "null", ""},
		{"hash", `{"k":"h","b":true,"n":[1, 2],"t":"ü\n"}`, `{"added":4}`, ""},
		{"hash", `{"k":"h"}`, `{"added":0}`, ""},
		{"gethash", `{"k":"h"}`, `{"b":"true","k":"h","n":"[1, 2]","t":"ü\n"}`, ""},
		{"hset", `{"k":"h"}`, `{"b":"true","k":"h","n":"[1, 2]","t":"ü\n"}`, ""},
		{"field", `{"k":"h","f":"b"}`, `"true"`, ""},
		{"field", `{"k":"h","f":"no"}`, "null", ""},
		{"zadd", `{"k":"z","n":1.5,"f":"a b\u0000\r\nSET x y"}`, "1", ""}, // one argument, whatever is in it
		{"zrange", `{"k":"z"}`, `[["a b\u0000\r\nSET x y",1.5]]`, ""},
		{"script", `{"k":"z","f":"y"}`, `[1,"y",["x"]]`, ""},
		{"miss", `{"k":"none"}`, "null", ""},
		{"get", `{"k":"z"}`, "", penstock.Config},
	} {
		have, err := call(callers[s.verb], s.body)
		if have != s.want || penstock.CodeOf(err) != s.code && (err != nil || s.code != "") {
			t.Errorf("%d: %s %s gives %s, %v; want %s %s", i, s.verb, s.body, have, err, s.want, s.code)
		}
	}
	for key, lives := range map[string]bool{"n": true, "h": false} {
		m := f.do(t, "PTTL", p+key)
		if n, err := m.AsInt64(); err != nil || (n > 0) != lives {
			t.Errorf("%s lives for %d, %v", key, n, err)
		}
	}
}

func TestCallIsRefused(t *testing.T) {
	k := drive.Template("k")
	for what, c := range map[string]struct {
		config CallConfig
		words  string
	}{
		"nothing":      {CallConfig{}, "set one of"},
		"two":          {CallConfig{Get: k, Set: k}, "set one of"},
		"only":         {CallConfig{Get: k, Only: "absent"}, "`only` has no meaning without `set`"},
		"expire":       {CallConfig{Expire: k}, "needs `ttl`"},
		"amount":       {CallConfig{Increment: k, Amount: drive.Template("1.5")}, "no integer"},
		"waits":        {CallConfig{Command: []penstock.Template{drive.Template("BLPOP"), k, drive.Template("0")}}, "not one that may be sent"},
		"subscribes":   {CallConfig{Command: []penstock.Template{drive.Template("subscribe"), k}}, "not one that may be sent"},
		"administers":  {CallConfig{Command: []penstock.Template{drive.Template("FLUSHALL")}}, "not one that may be sent"},
		"varies":       {CallConfig{Command: []penstock.Template{drive.Template("${body.c}"), k}}, "the same for all messages"},
		"script":       {CallConfig{Command: []penstock.Template{drive.Template("EVAL"), drive.Template("${body.c}"), drive.Template("0")}}, "the same for all messages"},
		"without keys": {CallConfig{Command: []penstock.Template{drive.Template("GET")}}, "needs a key"},
	} {
		t.Run(what, func(t *testing.T) {
			errs := c.config.Validate()
			if len(errs) == 0 || !strings.Contains(errs[0].Error(), c.words) {
				t.Errorf("%v, want %q", errs, c.words)
			}
		})
	}
}

func TestCallSaysWhatItIs(t *testing.T) {
	k := drive.Template("k")
	for what, c := range map[string]struct {
		config           CallConfig
		idempotent, read bool
	}{
		"get":       {CallConfig{Get: k}, true, true},
		"set":       {CallConfig{Set: k}, true, false},
		"set once":  {CallConfig{Set: k, Only: "absent"}, false, false},
		"increment": {CallConfig{Increment: k}, false, false},
		"read":      {CallConfig{Command: []penstock.Template{drive.Template("zscore"), k, k}}, true, true},
		"write":     {CallConfig{Command: []penstock.Template{drive.Template("ZINCRBY"), k, k, k}}, false, false},
		"declared":  {CallConfig{Command: []penstock.Template{drive.Template("ZADD"), k, k, k}, Idempotent: true}, true, false},
	} {
		if s := c.config.SpecFor(callerSpec); s.Idempotent != c.idempotent || s.Reads != c.read {
			t.Errorf("%s: idempotent %v, reads %v", what, s.Idempotent, s.Reads)
		}
	}
}
