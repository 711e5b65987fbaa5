package resource_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/resource"
)

func loadText(src string) (*resource.Set, *diag.List) {
	return resource.Load(resource.Options{Paths: []string{"a.yaml"}, FS: fstest.MapFS{"a.yaml": {Data: []byte(src)}}})
}

// checkPlaces holds every finding to a place that is in the file.
func checkPlaces(t *testing.T, src string, l *diag.List) {
	t.Helper()
	rows := strings.Split(strings.ReplaceAll(src, "\r\n", "\n"), "\n")
	for _, d := range l.Sorted() {
		if d.Message == "" || d.Code == "" {
			t.Errorf("a finding says nothing: %+v", d)
		}
		if d.Pos.File == "" {
			t.Errorf("no file: %v", d)
		}
		if d.Pos.File != "a.yaml" {
			continue // a parameter
		}
		if d.Pos.Line < 1 || d.Pos.Line > len(rows) || d.Pos.Col < 1 || d.Pos.Col > utf8.RuneCountInString(rows[d.Pos.Line-1])+2 {
			t.Errorf("no such place: %v\n%s", d, src)
		}
	}
}

func TestHostileFiles(t *testing.T) {
	const n = 1 << 14
	repeat := func(count int, f func(i int) string) string {
		var b strings.Builder
		for i := range count {
			b.WriteString(f(i))
		}
		return b.String()
	}
	for name, src := range map[string]string{
		"brackets":  strings.Repeat("[", n),
		"braces":    strings.Repeat("{a: ", n),
		"dashes":    strings.Repeat("- ", n),
		"questions": strings.Repeat("? ", n),
		"tags":      strings.Repeat("!a ", n) + "x",
		"anchors":   strings.Repeat("&a ", n) + "x",
		"colons":    strings.Repeat("a: ", n),
		"indent":    repeat(300, func(i int) string { return strings.Repeat(" ", i) + "a:\n" }),
		"digits":    "a: " + strings.Repeat("9", n),
		"float":     "a: 1e" + strings.Repeat("9", n),
		"quote":     "a: \"" + strings.Repeat("x", n),
		"long line": "a: " + strings.Repeat("x", n),
		"laugh": "a: &a [x,x,x,x,x,x,x,x,x]\n" + repeat(10, func(i int) string {
			p := 'a' + rune(i)
			return fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c]\n", p+1, p+1, p, p, p, p, p, p)
		}),
		"self":       "a: &a [ *a ]",
		"nul":        "a: \x00",
		"utf-16":     "\xff\xfea\x00:\x00",
		"bad utf-8":  "a: b\nc: \xc3\x28",
		"separator":  "a: b\u2028c: d",
		"bom":        "\ufeffa: b",
		"cr":         "a: b\rc: d",
		"empty":      "",
		"blank":      "\n\n# x\n---\n---\n",
		"scalar":     "x",
		"directives": "%YAML 1.1\n%TAG ! tag:x\n---\na: b",
		"two":        "a: b\n...\nc: d",
		"huge":       strings.Repeat("# x\n", resource.MaxDocument/4+1) + "a: b",
	} {
		t.Run(name, func(t *testing.T) {
			_, l := loadText(src)
			if !l.HasErrors() {
				t.Error("no error")
			}
			if len(src) < 1<<17 {
				checkPlaces(t, src, l)
			}
		})
	}
}

// goodText is the right configuration of the golden cases.
func goodText(t testing.TB) string {
	src, err := os.ReadFile("testdata/good.txtar")
	if err != nil {
		t.Fatal(err)
	}
	return readArchive(string(src))[0].data
}

// TestThousandWrongFiles makes wrong files of the right one, by bytes, by lines and by values, and
// holds that reading them never panics and always says where.
func TestThousandWrongFiles(t *testing.T) {
	documents := strings.Split(goodText(t), "---\n")
	rng := rand.New(rand.NewPCG(1, 2))
	wrong := 0
	const count = 1500
	for i := range count {
		src := mutate(rng, documents[rng.IntN(len(documents))], i%3)
		_, l := loadText(src)
		if l.HasErrors() {
			wrong++
		}
		checkPlaces(t, src, l)
		if t.Failed() {
			t.Fatalf("case %d", i)
		}
	}
	if wrong < 1000 {
		t.Errorf("only %d of %d changes were noticed", wrong, count)
	}
}

var strangeValues = []string{
	"", "~", "yes", "0x1F", "1e3", "-1", "1.5", "\"${body.x}\"", "body.x", "[]", "{}", "[ [ ] ]", "{ a: b }", "'", "\"", "*x", "&x y", "!t z", "|", "<<: x",
	"99999999999999999999", "é☃😀", "${", "30s", "100%", "10/s", "7d", "true", "null", "%", "@", "`", "- -", "? :", "\t", strings.Repeat("x", 200),
}

func mutate(rng *rand.Rand, src string, how int) string {
	switch how {
	case 0: // bytes
		b := []byte(src)
		for range 1 + rng.IntN(3) {
			at := rng.IntN(len(b))
			switch rng.IntN(4) {
			case 0:
				b[at] = byte(rng.IntN(256))
			case 1:
				b = slices.Delete(b, at, at+1)
			case 2:
				b = slices.Insert(b, at, " :{}[],'\"-#|&*!%\t\nx"[rng.IntN(19)])
			case 3:
				b = b[:at+1]
			}
			if len(b) == 0 {
				return ""
			}
		}
		return string(b)
	case 1: // lines
		rows := strings.SplitAfter(src, "\n")
		at := rng.IntN(len(rows))
		switch rng.IntN(4) {
		case 0:
			rows = slices.Delete(rows, at, at+1)
		case 1:
			rows = slices.Insert(rows, at, rows[rng.IntN(len(rows))])
		case 2:
			rows[at] = strings.Repeat(" ", rng.IntN(5)) + strings.TrimLeft(rows[at], " ")
		case 3:
			to := rng.IntN(len(rows))
			rows[at], rows[to] = rows[to], rows[at]
		}
		return strings.Join(rows, "")
	default: // values and keys: what stands between two separators becomes something strange
		seps := ":,[]{}\n"
		from := rng.IntN(len(src))
		if i := strings.IndexAny(src[from:], seps); i >= 0 {
			from += i + 1
		}
		to := len(src)
		if i := strings.IndexAny(src[min(from, len(src)):], seps); i >= 0 {
			to = from + i
		}
		return src[:min(from, len(src))] + " " + strangeValues[rng.IntN(len(strangeValues))] + src[to:]
	}
}

func FuzzLoad(f *testing.F) {
	for _, d := range strings.Split(goodText(f), "---\n") {
		f.Add(d)
	}
	f.Add(goodText(f))
	f.Add("a: |\n  x\n---\n- 1\n")
	f.Add("a: &x [ 1 ]\nb: *x\n<<: *x\n")
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 1<<14 {
			t.Skip()
		}
		_, l := loadText(src)
		checkPlaces(t, src, l)
	})
}

// TestTooDeepSaysWhere: at the bracket, the dash or the line that goes too far.
func TestTooDeepSaysWhere(t *testing.T) {
	steps := ""
	for i := range 101 {
		steps += strings.Repeat(" ", i) + "a:\n"
	}
	for src, want := range map[string]string{
		"a: b\nc: " + strings.Repeat("[", 200):              "a.yaml:2:103",
		"a: b\n---\nc:\n  d: é" + strings.Repeat("[ ", 200): "a.yaml:4:203",
		"a:\n  " + strings.Repeat("- ", 200) + "x":          "a.yaml:2:3",
		steps: "a.yaml:101:101",
		"a: b\n---\nc: " + strings.Repeat("[]", 200) + " # x\n": "",
	} {
		_, l := loadText(src)
		at := ""
		for _, d := range l.Sorted() {
			if d.Code == "too-deep" {
				at = d.Pos.String()
			}
		}
		if at != want {
			t.Errorf("%.30q: at %q, want %q", src, at, want)
		}
	}
}
