package badinput_test

import (
	"errors"
	"penstock.dev/penstock/internal/control"
	"strings"
	"testing"
)

func asFault(err error, f **control.Fault) bool { return errors.As(err, f) }
func TestX(t *testing.T) {
	show := func(name string, o *outcome) {
		t.Logf("== %s: err=%v", name, o.err)
		f := o.flow()
		t.Logf("read %d done %d dead %d unsettled %d", f.Read, f.Done, f.Dead, f.Unsettled)
		for _, l := range o.out {
			t.Logf("  out %.200s", l)
		}
		for _, d := range o.dead {
			t.Logf("  dead %.100s enc=%s line=%d file=%s %+v", d.Body, d.Encoding, d.Meta.Line, d.Meta.File, d.Meta.Dead)
		}
	}
	read := flowOf("from: { file: { path: \"${params.src}\" } }\nsteps: [ { filter: body.a != 0 } ]\nto: { stdout: {} }")
	show("malformed", runFlow(t, read, "in.jsonl", "{\"a\":1}\n{\"a\" 2}\nrubbish\n{\"a\":[1}\n{\"a\":3,}\n{\"a\":4}\n{\"a\":\n{\"a\":5}\n{\"a\":01}\n{\"a\":\"x\ty\"}\n{\"a\":6} trailing\n{\"a\":7}\n{\"b\":7}\n{\"a\":\"\\uD800\"}\n"))
	show("truncated", runFlow(t, read, "in.jsonl", "{\"a\":1}\n{\"a\":2,\"b\":\"xy"))
	show("deep", runFlow(t, read, "in.jsonl", "{\"a\":1}\n"+strings.Repeat("[", 600)+strings.Repeat("]", 600)+"\n{\"a\":"+strings.Repeat("[", 511)+strings.Repeat("]", 511)+"}\n{\"a\":2}\n"+strings.Repeat("[", 100000)+"\n{\"a\":3}\n"))
	show("utf8", runFlow(t, read, "in.jsonl", "{\"a\":\"\xff\"}\n{\"a\":2}\n{\"\xc3\x28\":1,\"a\":1}\n\xff\xfe\n{\"a\":3}\n"))
	show("dup", runFlow(t, read, "in.jsonl", "{\"a\":1,\"a\":2}\n{\"a\":2,\"b\":{\"c\":1,\"\\u0063\":2}}\n{\"a\":3}\n"))
	huge := flowOf("from: { file: { path: \"${params.src}\", maxRecord: 1Ki } }\nsteps: [ { filter: body.a != 0 } ]\nto: { stdout: {} }")
	show("huge", runFlow(t, huge, "in.jsonl", "{\"a\":1}\n{\"a\":\""+strings.Repeat("x", 3000)+"\"}\n{\"a\":2}\n{\"a\":\""+strings.Repeat("x", 3000000)+"\"}\n{\"a\":3}\n{\"a\":\""+strings.Repeat("x", 3000)))
	show("csv", runFlow(t, read, "in.csv", "a,b\n1,2\n1\n1,2,3\n\"x\"y,2\n\"\xff\",2\n3,4\n\"never closed,\n5,6\n"))
	show("csvhuge", runFlow(t, huge, "in.csv", "a,b\n1,2\n"+strings.Repeat("x", 3000)+",2\n3,4\n\""+strings.Repeat("x\n", 3000)+"\"\n5,6\n"))
	show("csvdup", runFlow(t, read, "in.csv", "a,a\n1,2\n"))
	show("csvempty", runFlow(t, read, "in.csv", ""))
	show("array", runFlow(t, flowOf("from: { file: { path: \"${params.src}\", format: { json: { array: true } } } }\nsteps: [ { filter: body.a != 0 } ]\nto: { stdout: {} }"), "in.json", "[{\"a\":1},{\"a\" 2},{\"a\":3}\n{\"a\":4}"))
	show("utf16", runFlow(t, read, "in.jsonl", "\xff\xfe{\x00}\x00"))
}
