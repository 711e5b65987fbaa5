package resource_test

import (
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/resource"
)

type base struct {
	Level string `json:"level" penstock:"enum=low|high,default=low"`
}

type driver struct {
	base
	resource.Place
	Path      penstock.Template               `json:"path" penstock:"required"`
	Where     penstock.Expr                   `json:"where"`
	Args      penstock.Tree                   `json:"args"`
	Into      penstock.Path                   `json:"into"`
	Format    penstock.Format                 `json:"format" penstock:"default=json"`
	Data      penstock.DataTree               `json:"data"`
	Conn      penstock.ConnectionRef          `json:"connection"`
	Password  penstock.Secret                 `json:"password"`
	Wait      penstock.Duration               `json:"wait" penstock:"default=7d,max=8d"`
	Std       time.Duration                   `json:"std"`
	Size      penstock.Size                   `json:"size" penstock:"default=10Mi,max=1Gi"`
	Rate      penstock.Rate                   `json:"rate" penstock:"default=100/s"`
	Share     penstock.Share                  `json:"share" penstock:"default=20%"`
	Code      penstock.Code                   `json:"code"`
	Header    *bool                           `json:"header" penstock:"default=true"`
	Text      *string                         `json:"text" penstock:"default=5"`
	Small     int8                            `json:"small" penstock:"min=-3"`
	Big       uint64                          `json:"big"`
	Factor    float64                         `json:"factor" penstock:"default=1.5"`
	Words     []string                        `json:"words" penstock:"enum=a|b"`
	Labels    map[string]string               `json:"labels"`
	Counts    map[string]int                  `json:"counts"`
	Ordered   resource.Ordered[penstock.Expr] `json:"ordered"`
	Raw       *resource.Node                  `json:"raw"`
	Inner     *inner                          `json:"inner"`
	Defaulted inner                           `json:"defaulted"`
	List      []inner                         `json:"list"`
	hidden    int
	NotRead   int
}

type inner struct {
	resource.Place
	N int `json:"count" penstock:"default=3"`
}

func decode(t *testing.T, src string) (driver, *resource.Decoder, []diag.Diagnostic) {
	t.Helper()
	l := &diag.List{}
	d := &resource.Decoder{Diags: l}
	var out driver
	for _, n := range resource.ParseYAML("a.yaml", []byte(src), l) {
		d.Decode(n, &out)
	}
	return out, d, l.Sorted()
}

func TestDecodeFillsEveryType(t *testing.T) {
	got, d, found := decode(t, `
path: "${key}.csv"
where: |
  body.a &&
  body.b
data: { x: "${y}" }
args: { b: "${x}", a: [ 1.50, null, true ] }
into: vars.x
format: { csv: { separator: ";" } }
connection: prod
password: { secret: db-password }
wait: 1d12h
std: 5s
size: 4096
rate: 5/m
share: 1%
code: timeout
text: ""
small: -3
big: 18446744073709551
factor: 2
words: [ a, b ]
labels: { x: "${y}" }
counts: { x: 1 }
ordered: { z: body.z, a: true }
raw: { any: [ thing ] }
inner: {}
list: [ { count: 1 }, {} ]
level: high
`)
	if len(found) > 0 {
		t.Fatal(found)
	}
	check := func(name string, ok bool) {
		t.Helper()
		if !ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
	check("path", got.Path.Source == "${key}.csv" && got.Path.Pos == (penstock.Pos{File: "a.yaml", Line: 2, Col: 8}))
	check("where", got.Where.Source == "body.a &&\nbody.b\n" && got.Where.Pos.Line == 4 && got.Where.Pos.Col == 3)
	check("args", strings.Join(got.Args.Keys, " ") == "b a" && got.Args.Elems[1].Elems[0].Text == "1.50")
	check("data", got.Data.Tree.Keys[0] == "x" && got.Data.Tree.Elems[0].Text == "${y}")
	check("into", got.Into.Root == "vars" && got.Into.Steps[0].Name == "x")
	n, ok := got.Format.Config.(*resource.Node)
	check("format", got.Format.Name == "csv" && ok && n.Get("separator").Text == ";")
	check("connection", got.Conn.Name == "prod" && got.Conn.Pos.Line == 10)
	check("secret", len(d.Secrets) == 1 && d.Secrets[0].Name == "db-password")
	values := penstock.NewSecretValues()
	values.Replace(map[string]string{"db-password": "x"})
	d.Secrets[0].Target.Bind(values, "db-password")
	check("secret's cell", got.Password.Reveal() == "x") // got is a copy
	check("durations", got.Wait.Std() == 36*time.Hour && got.Std == 5*time.Second)
	check("quantities", got.Size == 4096 && got.Rate.PerSecond() == 5.0/60 && got.Share == 0.01)
	check("code", got.Code == penstock.Timeout)
	check("pointers", *got.Header && *got.Text == "")
	check("numbers", got.Small == -3 && got.Big == 18446744073709551 && got.Factor == 2)
	check("containers", len(got.Words) == 2 && got.Labels["x"] == "${y}" && got.Counts["x"] == 1)
	check("ordered", got.Ordered.Entries[0].Key == "z" && got.Ordered.Entries[1].Value.Source == "true")
	check("raw", got.Raw.Get("any").Elems[0].Text == "thing")
	check("structs", got.Inner.N == 3 && got.Defaulted.N == 3 && got.List[0].N == 1 && got.List[1].N == 3)
	check("places", got.Inner.Pos.Line == 27 && got.Defaulted.Pos.Line == 2 && got.At("std").Line == 13 && got.AtKey("std").Col == 1 && !got.Has("header"))
	check("embedded", got.Level == "high")
}

func TestDecodeDefaults(t *testing.T) {
	got, _, found := decode(t, "path: x")
	if len(found) > 0 {
		t.Fatal(found)
	}
	if got.Level != "low" || got.Wait.Std() != 7*24*time.Hour || got.Size != 10<<20 || got.Rate.Count != 100 || got.Share != 0.2 ||
		!*got.Header || *got.Text != "5" || got.Factor != 1.5 || got.Format.Name != "json" || got.Format.Config.(*resource.Node).Kind != resource.NodeMap || !got.Data.IsZero() || got.Inner != nil || !got.Where.IsZero() || got.hidden != 0 {
		t.Errorf("%+v", got)
	}
}

func TestDecodeFindings(t *testing.T) {
	for _, c := range []struct{ src, code, message string }{
		{"{}", "missing-field", "needs the field `path`"},
		{"path: ''", "empty", "`path` is empty"},
		{"path: 5", "wrong-type", "`path` wants text, and this is a whole number `5`"},
		{"path: x\nwhere: {}", "wrong-type", "`where` wants an expression"},
		{"path: x\nwhere: ' '", "empty", "`where` is empty"},
		{"path: x\nwhere: '${a} == ''}'' && ${b}'", "template-in-expression", "is an expression (CEL), not a template"},
		{"path: x\npasword: x", "unknown-field", "did you mean `password`?"},
		{"path: x\npassword: hunter2", "literal-secret", "never written into a file"},
		{"path: x\npassword: { secret: A }", "wrong-name", "no resource name"},
		{"path: x\nwait: 9d", "out-of-range", "must be at most 8d"},
		{"path: x\nwait: -1s", "out-of-range", "negative"},
		{"path: x\nstd: 5", "wrong-type", "write 5s"},
		{"path: x\nsize: 2Gi", "out-of-range", "must be at most 1Gi"},
		{"path: x\nsize: -5", "wrong-value", "no size"},
		{"path: x\nrate: fast", "wrong-value", "no rate"},
		{"path: x\nshare: 20", "wrong-type", "share such as 20%"},
		{"path: x\nsmall: -4", "out-of-range", "must be at least -3"},
		{"path: x\nsmall: 200", "out-of-range", "too large"},
		{"path: x\nbig: -1", "out-of-range", "out of range"},
		{"path: x\nfactor: x", "wrong-type", "wants a number"},
		{"path: x\nfactor: '1'", "wrong-type", "leave the quotes out"},
		{"path: x\nheader: 'true'", "wrong-type", "leave the quotes out"},
		{"path: x\nwords: [ c ]", "wrong-value", "is `a` or `b`, not `c`"},
		{"path: x\nwords: a", "wrong-type", "wants a list"},
		{"path: x\nlabels: [ a ]", "wrong-type", "wants a map"},
		{"path: x\ncounts: { a: b }", "wrong-type", "`a` wants a whole number"},
		{"path: x\nordered: [ a ]", "wrong-type", "wants a map"},
		{"path: x\ninner:", "wrong-type", "`inner` is empty; a map is wanted"},
		{"path: x\ninner: { m: 1 }", "unknown-field", "unknown field `m` in `inner`"},
		{"path: x\ndata: { a: body.x }", "expression-in-template", "write `${body.x}`"},
		{"path: x\nargs: { a: body.x }", "expression-in-template", "write `${body.x}`"},
		{"path: params.x/y", "expression-in-template", "is an expression, but this field is text"},
		{"path: x\nlevel: '${x}'", "wrong-value", "is `low` or `high`"},
		{"path: x\ntext: '${x}'", "template-refused", "has no meaning here"},
		{"path: x\ninto: x.y", "wrong-path", "did you mean `body.x.y`"},
		{"path: x\ncode: x", "wrong-value", "`code` can't be `x`"},
		{"[ a ]", "wrong-type", "wants a map, and this is a list"},
	} {
		_, _, found := decode(t, c.src)
		text := ""
		for _, f := range found {
			text += f.String() + "\n"
		}
		if len(found) != 1 || found[0].Code != c.code || !strings.Contains(text, c.message) {
			t.Errorf("%q: want one %s with %q, got\n%s", c.src, c.code, c.message, text)
		}
		if strings.Contains(text, "hunter2") {
			t.Error("a secret is shown")
		}
	}
}

// Texts that begin like a root but are names of files stay text.
func TestTextsThatAreNoExpressions(t *testing.T) {
	for _, path := range []string{"key.pem", "error.log", "state.json", "bodyguard.txt", "./body.json", "body", "${body.x}.json", "body.${key}", "vars", "see body.x"} {
		if _, _, found := decode(t, "path: \""+path+"\""); len(found) > 0 {
			t.Errorf("%s: %v", path, found)
		}
	}
}

func TestDecodeConfig(t *testing.T) {
	r := penstock.NewRegistry()
	penstock.RegisterSink(r, penstock.Spec{Name: "file"}, func(checked, penstock.Env) (penstock.Sink, error) { return nil, nil })
	l := &diag.List{}
	d := &resource.Decoder{Diags: l, Registry: r}
	pos := penstock.Pos{File: "a.yaml", Line: 1, Col: 1}
	n := resource.ParseYAML("a.yaml", []byte("count: 5"), l)[0]
	drv, config := d.DecodeConfig(r, penstock.KindOfSink, "file", pos, n)
	if drv == nil || config.(*checked).N != 5 {
		t.Error(drv, config)
	}
	if l.Len() != 1 || !strings.Contains(l.Sorted()[0].Message, "file: 5 is odd") {
		t.Error(l.Sorted())
	}
	if drv, config := d.DecodeConfig(r, penstock.KindOfSink, "flie", pos, n); drv != nil || config != nil {
		t.Error(drv, config)
	}
	if f := l.Sorted(); len(f) != 2 || !strings.Contains(f[0].String()+f[1].String(), "did you mean `file`?") {
		t.Error(f)
	}
}

type checked struct {
	N int `json:"count"`
}

func (c checked) Validate() []error { return []error{penstock.E(penstock.Config, "", "", "5 is odd")} }

func TestBadTagsPanic(t *testing.T) {
	for name, into := range map[string]any{
		"unknown rule": &struct {
			A int `json:"a" penstock:"requierd"`
		}{},
		"bad default": &struct {
			A int `json:"a" penstock:"default=x"`
		}{},
		"bad type": &struct {
			A chan int `json:"a"`
		}{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			l := &diag.List{}
			src := "b: 1"
			if name == "bad type" {
				src = "a: 1"
			}
			resource.Decode(resource.ParseYAML("a", []byte(src), l)[0], into, l)
		}()
	}
}
