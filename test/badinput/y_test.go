package badinput_test
import ("testing";"strings";"fmt")
func show(t *testing.T, name string, o *outcome) {
		t.Logf("== %s: err=%v", name, o.err)
		if len(o.sum.Flows)==0 {t.Log("no flows");return}
		f := o.flow()
		t.Logf("read %d done %d dead %d unsettled %d filtered %d", f.Read, f.Done, f.Dead, f.Unsettled, f.Filtered)
		for i, l := range o.out { if i<40 {t.Logf("  out %.250s", l) }}
		for i, d := range o.dead { if i<40 {t.Logf("  dead %.100s enc=%s line=%d %+v", d.Body, d.Encoding, d.Meta.Line, d.Meta.Dead) }}
}
func try(t *testing.T, name string, text, file, content string) {
	t.Run(name, func(t *testing.T) {
		show(t, name, runFlow(t, text, file, content))
	})
}
func TestY(t *testing.T) {
	from := "from: { file: { path: \"${params.src}\" } }\n"
	fromS := "from: { file: { path: \"${params.src}\" }, schema: row }\n"
	to := "to: { stdout: {} }\n"
	st := func(steps string) string { return "steps:\n" + indent(steps) }
	nums := "{\"v\":9007199254740993}\n{\"v\":9223372036854775807}\n{\"v\":9223372036854775808}\n{\"v\":18446744073709551616}\n{\"v\":1.10000000000000000000000001}\n{\"v\":1e400}\n{\"v\":123456789012345678901234567890.5}\n{\"v\":-0}\n{\"v\":1E2}\n"
	try(t, "untouched", flowOf(from+st("- set: { body.seen: true }")+to), "in.jsonl", nums)
	try(t, "map untouched", flowOf(from+st("- map: { v: \"${body.v}\" }")+to), "in.jsonl", nums)
	try(t, "map typed int", flowOf(fromS+st("- map: { v: \"${body.v + 1}\" }")+to)+schemaOf("v: { type: integer }"), "in.jsonl", nums)
	try(t, "map typed number", flowOf(fromS+st("- map: { v: \"${body.v + 1}\" }")+to)+schemaOf("v: { type: number }"), "in.jsonl", nums)
	try(t, "map typed decimal", flowOf(fromS+st("- map: { v: \"${body.v + 1}\" }")+to)+schemaOf("v: { type: number, format: decimal }"), "in.jsonl", nums)
	try(t, "map untyped add", flowOf(from+st("- map: { v: \"${body.v + 1}\" }")+to), "in.jsonl", nums)
	try(t, "untyped times2", flowOf(from+st("- map: { v: \"${body.v * 2}\" }")+to), "in.jsonl", nums)
	try(t, "compare", flowOf(from+st("- map: { gt: \"${body.v > 9007199254740992}\", eq: \"${body.v == 9007199254740993}\" }")+to), "in.jsonl", nums)
	try(t, "div", flowOf(fromS+st("- map: { q: \"${body.a / body.b}\", m: \"${body.a % body.b}\" }")+to)+schemaOf("a: { type: integer }\nb: { type: integer }"), "in.jsonl", "{\"a\":7,\"b\":2}\n{\"a\":7,\"b\":0}\n{\"a\":-9223372036854775808,\"b\":-1}\n{\"a\":9,\"b\":3}\n")
	try(t, "divdouble", flowOf(fromS+st("- map: { q: \"${body.a / body.b}\" }")+to)+schemaOf("a: { type: number }\nb: { type: number }"), "in.jsonl", "{\"a\":7,\"b\":2}\n{\"a\":7,\"b\":0}\n{\"a\":0,\"b\":0}\n")
	try(t, "divdec", flowOf(fromS+st("- map: { q: \"${body.a / body.b}\" }")+to)+schemaOf("a: { type: number, format: decimal }\nb: { type: number, format: decimal }"), "in.jsonl", "{\"a\":7,\"b\":2}\n{\"a\":7,\"b\":0}\n{\"a\":1,\"b\":3}\n{\"a\":1e6000,\"b\":3}\n{\"a\":1e-6000,\"b\":3}\n{\"a\":1e999999999999,\"b\":3}\n{\"a\":"+strings.Repeat("9",40000)+",\"b\":3}\n")
	try(t, "muldec", flowOf(fromS+st("- map: { q: \"${body.a * body.b}\" }")+to)+schemaOf("a: { type: number, format: decimal }\nb: { type: number, format: decimal }"), "in.jsonl", "{\"a\":7,\"b\":2}\n{\"a\":"+strings.Repeat("9",400)+",\"b\":"+strings.Repeat("9",1000)+"}\n{\"a\":1e1000000,\"b\":1e1000000}\n{\"a\":1,\"b\":1e-40000}\n")
	try(t, "sumdec", flowOf(fromS+st("- map: { q: \"${body.a + body.b}\" }")+to)+schemaOf("a: { type: number, format: decimal }\nb: { type: number, format: decimal }"), "in.jsonl", "{\"a\":7,\"b\":2}\n{\"a\":1e5000,\"b\":1e-5000}\n{\"a\":1e1000000,\"b\":1}\n{\"a\":1,\"b\":1e-40000}\n")
	try(t, "regex dyn", flowOf(from+st("- map: { q: \"${body.s.matches(body.re)}\" }")+to), "in.jsonl", "{\"s\":\"abc\",\"re\":\"b\"}\n{\"s\":\"abc\",\"re\":\"(\"}\n{\"s\":\"abc\",\"re\":\"a{2000}\"}\n{\"s\":\"abc\",\"re\":\"c$\"}\n")
	try(t, "cost", flowOf(from+st("- map: { q: \"${body.l.map(a, body.l.map(b, body.l.filter(c, c == a + b).size())).size()}\" }")+to), "in.jsonl", "{\"l\":[1,2,3]}\n{\"l\":["+strings.TrimSuffix(strings.Repeat("1,",3000),",")+"]}\n{\"l\":[1]}\n")
	try(t, "costsort", flowOf(from+st("- map: { q: \"${lists.range(body.v).size()}\" }")+to), "in.jsonl", "{\"v\":3}\n{\"v\":1000000000000}\n{\"v\":-1}\n")
	try(t, "poison", flowOf(from+st("- map: { v: \"${body.v}\", q: \"${body.s.size()}\" }")+to), "in.jsonl", func() string { var b strings.Builder; for i := range 20 { if i%7==3 { fmt.Fprintf(&b, "{\"v\":%d,\"s\":1}\n", i) } else { fmt.Fprintf(&b, "{\"v\":%d,\"s\":\"x\"}\n", i) } }; return b.String() }())
	try(t, "deadsink", flowOf(from+st("- map: { v: \"${body.v}\" }")+to+"onError: { deadLetter: { stdout: {} } }\n"), "in.jsonl", "{\"v\":1}\n{\"v\"}\n{\"v\":2}\n{\"m\":3}\n{\"v\":4}\n")
	try(t, "deadsinkcsv", flowOf(from+st("- map: { v: \"${body.v}\" }")+to+"onError: { deadLetter: { stdout: {} } }\n"), "in.csv", "v,m\n1,2\n1\n2,3\n")
	try(t, "csv filtered only by meta", flowOf(from+to), "in.csv", "v,m\n1,2\n1\n2,3\n\xff,1\n")
	try(t, "json unread", flowOf(from+to), "in.jsonl", "{\"v\":1}\n{\"v\"}\nrubbish\n{\"v\":\"\xff\"}\n{\"v\":1,\"v\":1}\n")
	try(t, "csv coerce", flowOf(fromS+st("- map: { v: \"${body.v + 1}\" }")+to)+schemaOf("v: { type: integer }\nm: { type: boolean }"), "in.csv", "v,m\n1,true\n17850.0,true\n9223372036854775808,true\n1.5,true\nx,true\n,true\n9007199254740993,maybe\n")
	try(t, "csv coerce validate", flowOf(fromS+st("- validate: {}")+to)+schemaOf("v: { type: integer }\nm: { type: boolean }"), "in.csv", "v,m\n1,true\n17850.0,true\n9223372036854775808,true\n1.5,true\nx,true\n,true\n9007199254740993,maybe\n")
}
