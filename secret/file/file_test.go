package file

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// replace puts another file in the place of path.
func replace(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	must(t, os.WriteFile(path+".new", []byte(text), mode))
	must(t, os.Rename(path+".new", path))
}

func open(t testing.TB, path string, log *slog.Logger) penstock.SecretProvider {
	p, err := New(Config{Path: penstock.Template{Source: path}, Every: penstock.Duration(50 * time.Millisecond)}, penstock.Env{Clock: penstock.SystemClock{}, Logger: log})
	must(t, err)
	return p
}

// quote writes a value in double quotes.
func quote(v string) string {
	return `"` + strings.NewReplacer("\\", `\\`, `"`, `\"`, "$", `\$`, "\n", `\n`).Replace(v) + `"`
}

func TestConform(t *testing.T) {
	conform.Secrets(t, conform.SecretsHarness{
		Features: conform.SecretsFeatures{Rotates: true, Together: true},
		New: func(t testing.TB) conform.SecretsPlace {
			path := filepath.Join(t.TempDir(), ".env")
			var last map[string]string
			put := func(t testing.TB, values map[string]string) {
				last = values
				var b strings.Builder
				for n, v := range values {
					b.WriteString(strings.ToUpper(strings.ReplaceAll(n, "-", "_")) + "=" + quote(v) + "\n")
				}
				replace(t, path, b.String(), 0o600)
			}
			return conform.SecretsPlace{
				Provider: func(t testing.TB) penstock.SecretProvider { return open(t, path, nil) },
				Put:      put,
				Break: func(t testing.TB, name string) {
					last[name] = ""
					put(t, last)
				},
			}
		},
	})
}

func TestParse(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"":                                      {},
		"# only a comment":                      {},
		"A=1":                                   {"A": "1"},
		"\ufeffA=1\r\n\r\n  B = two words \r\n": {"A": "1", "B": "two words"},
		"export A=x # comment\nB=x#y\nC=# none": {"A": "x", "B": "x#y", "C": ""},
		`A='it $HOME # "\n' # c` + "\n" + `b.c-d=""`:                  {"A": `it $HOME # "\n`, "b.c-d": ""},
		`A="a\n\"b\"\\\$\t\r" ` + "\nB='two\nlines'\nC=\"also\ntwo\"": {"A": "a\n\"b\"\\$\t\r", "B": "two\nlines", "C": "also\ntwo"},
		"A=a=b==":      {"A": "a=b=="},
		"exported=yes": {"exported": "yes"},
	} {
		got, err := parse(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"A=1\nhunter22":        "line 2: NAME=value is wanted",
		"A=1\n\nA=2":           "line 3: A is there twice",
		"A='open":              "line 1: a quote is never closed",
		"A='x\ny'\nB=\"open\\": "line 3: a quote is never closed",
		`A="\x41"`:             "line 1: an unknown escape",
		`A="x" y`:              "line 1: something stands behind the closing quote",
		"=x":                   "line 1: NAME=value is wanted",
		"hunter 22=x":          "line 1: NAME=value is wanted",
	} {
		got, err := parse(text)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %q, %v; want %s", text, got, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), "open\\")) {
			t.Errorf("%q: the error repeats what stands there: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"A=1", "export B='x\ny' # c\n", `C="a\n\"\\\$" `, "A=1\nA=2", "=", "A='", "A=\"\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parse(text)
		if err != nil {
			return
		}
		var again strings.Builder
		for n, v := range got {
			again.WriteString(n + "=" + quote(v) + "\n")
		}
		if back, err := parse(again.String()); err != nil || !reflect.DeepEqual(back, got) {
			t.Errorf("%q gives %q, and written again %q, %v", text, got, back, err)
		}
	})
}

func TestNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.env")
	replace(t, path, "DB_PASSWORD=one\ntoken=exact\nTOKEN=another\napi.key=a\nAPI_KEY=b\nEMPTY=\n", 0o644)
	var out bytes.Buffer
	p := open(t, path, slog.New(slog.NewTextHandler(&out, nil)))
	for range 2 {
		got, err := p.Read(context.Background(), []string{"db-password", "token", "api-key", "empty", "nothing"})
		must(t, err)
		if got["db-password"].Value != "one" || got["token"].Value != "exact" || len(got) != 4 {
			t.Errorf("%d readings", len(got))
		}
		for _, name := range []string{"api-key", "empty"} {
			if got[name].Err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	}
	if log := out.String(); strings.Count(log, "chmod 600") != 1 {
		t.Errorf("a file that everybody can read: %s", log)
	}
	if w := p.Where("db-password"); w != "the line DB_PASSWORD=… of the file "+path {
		t.Error(w)
	}
}

func TestUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.env")
	p := open(t, path, nil)
	if _, err := p.Read(context.Background(), []string{"a"}); penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), path) {
		t.Error("a file that is not there:", err)
	}
	replace(t, path, "A=hunter22\nhunter22", 0o600)
	if _, err := p.Read(context.Background(), []string{"a"}); err == nil || strings.Contains(err.Error(), "hunter22") || !strings.Contains(err.Error(), "line 2") {
		t.Error("a line that is no NAME=value:", err)
	}
}
