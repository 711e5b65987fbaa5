package penstock

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/template"

	goccy "github.com/goccy/go-yaml"
	yaml "go.yaml.in/yaml/v2"
)

const hush = "correct-horse"

// holder is what a driver's configuration looks like.
type holder struct {
	Public  Secret
	Pointer *Secret
	List    []Secret
	Map     map[string]Secret
	private Secret
	any     any
}

func newHolder() holder {
	s := NewSecret(hush)
	return holder{s, &s, []Secret{s}, map[string]Secret{"k": s}, s, s}
}

// TestNothingPrintsASecret: every way of printing that the standard library and YAML have.
func TestNothingPrintsASecret(t *testing.T) {
	h := newHolder()
	for _, v := range []any{h, &h, h.Public, h.Pointer, h.List, h.Map, h.private, []any{h}, struct{ x holder }{h}} {
		for _, verb := range "vsqxXdbocUeEfFgGtTp" {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "10", ".3", "+#"} {
				format := "%" + flags + string(verb)
				hides(t, format, fmt.Sprintf(format, v))
			}
		}
		hides(t, "Sprint", fmt.Sprint(v)+fmt.Sprintln(v))
		hides(t, "error", fmt.Errorf("while connecting with %v: %w", v, errors.New("refused")).Error())
		text, err := json.Marshal(v)
		hides(t, "JSON", string(text), err)
		for _, handler := range []func(*bytes.Buffer) slog.Handler{
			func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(handler(&b)).With("with", v).Error("failed", "secret", v, slog.Group("g", "v", v))
			hides(t, "slog", b.String())
		}
		text, err = yaml.Marshal(v)
		hides(t, "YAML", string(text), err)
		text, err = goccy.Marshal(v)
		hides(t, "YAML", string(text), err)
		var b bytes.Buffer
		hides(t, "template", b.String(), template.Must(template.New("").Parse("{{.}} {{printf `%v` .}}")).Execute(&b, v))
		b.Reset()
		err = gob.NewEncoder(&b).Encode(v)
		hides(t, "gob", b.String(), err)
		b.Reset()
		err = xml.NewEncoder(&b).Encode(v)
		hides(t, "XML", b.String(), err)
	}
	if got := fmt.Sprintf("%v|%s|%d|%#v|%10x", h.Public, h.Public, h.Public, h.Public, h.Public); got != strings.TrimSuffix(strings.Repeat("[redacted]|", 5), "|") {
		t.Error(got)
	}
}

func hides(t *testing.T, how, text string, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			text += err.Error()
		}
	}
	for _, form := range append(forms(hush), fmt.Sprintf("% x", hush), fmt.Sprintf("%d", []byte(hush)), strings.ToUpper(forms(hush)[9])) {
		if strings.Contains(text, form) {
			t.Fatalf("%s prints it as %s", how, form)
		}
	}
}

// TestReflectionDoesNotFindASecret walks all that reflection reaches without unsafe, unexported fields too, as printers for debugging do.
func TestReflectionDoesNotFindASecret(t *testing.T) {
	seen := map[uintptr]bool{}
	texts := 0
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		switch v.Kind() {
		case reflect.String:
			texts++
			if strings.Contains(v.String(), hush) {
				t.Errorf("%s holds it", path)
			}
		case reflect.Pointer:
			if !v.IsNil() && !seen[v.Pointer()] {
				seen[v.Pointer()] = true
				walk(v.Elem(), path+".*")
			}
		case reflect.Interface:
			walk(v.Elem(), path)
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				walk(v.Index(i), path+"[]")
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				walk(k, path+" key")
				walk(v.MapIndex(k), path+"[]")
			}
		}
	}
	h := newHolder()
	values := NewSecretValues()
	values.Replace(map[string]string{"a": hush})
	walk(reflect.ValueOf([]any{&h, values, "a text that is found"}), "h")
	if texts == 0 {
		t.Error("the walk finds no text at all")
	}
}

func TestSecretCell(t *testing.T) {
	var zero Secret
	zero.Bind(NewSecretValues(), "a")
	if !zero.IsZero() || zero.Reveal() != "" {
		t.Error("the zero Secret")
	}
	s := EmptySecret()
	if s.IsZero() || s.Reveal() != "" {
		t.Error("one without a value")
	}
	config := struct{ Password Secret }{s}
	copied := config // as a driver's build gets it
	values := NewSecretValues()
	s.Bind(values, "a")
	for _, want := range []string{"one", "two"} {
		values.Replace(map[string]string{"a": want, "b": "another"})
		if got := copied.Password.Reveal(); got != want {
			t.Errorf("the copy reveals %q, want %q", got, want)
		}
	}
	b := EmptySecret()
	b.Bind(values, "b")
	if got := RevealAll(s, zero, b, NewSecret("own")); !reflect.DeepEqual(got, []string{"two", "", "another", "own"}) {
		t.Errorf("%q", got)
	}
	if one, other := NewSecret("x"), NewSecret("x"); one == other {
		t.Error("equality tells something of the values")
	}
}

// TestRevealAllIsOfOneMoment: a certificate is never beside a key of another version.
func TestRevealAllIsOfOneMoment(t *testing.T) {
	values := NewSecretValues()
	cert, key := EmptySecret(), EmptySecret()
	cert.Bind(values, "cert")
	key.Bind(values, "key")
	put := func(i int) {
		v := strings.Repeat(fmt.Sprint(i%10), 100)
		values.Replace(map[string]string{"cert": v, "key": v})
	}
	put(0)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 5000 {
				if got := RevealAll(cert, key); got[0] != got[1] || len(got[0]) != 100 {
					t.Error("two versions at once")
					return
				}
				if v := cert.Reveal(); len(v) != 100 || strings.Trim(v, v[:1]) != "" {
					t.Error("a torn value")
					return
				}
			}
		})
	}
	for i := range 2000 {
		put(i)
	}
	wg.Wait()
}

func TestRedact(t *testing.T) {
	values := NewSecretValues()
	if values.Redact("as it is") != "as it is" || values.Hides() || (*SecretValues)(nil).Redact("x") != "x" {
		t.Error("without values")
	}
	pem := "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END PRIVATE KEY-----"
	values.Replace(map[string]string{"a": hush, "b": `p@ss "w0rd"/ä`, "short": "abc", "odd": "a&", "byte": "1", "pem": pem, "longer": hush + "-battery"})
	for text, want := range map[string]string{
		"dial: password correct-horse is wrong":                           "dial: password [redacted] is wrong",
		"correct-horse-battery, correct-horse":                            "[redacted], [redacted]",
		"postgres://u:" + url.QueryEscape(`p@ss "w0rd"/ä`) + "@db":        "postgres://u:[redacted]@db",
		"postgres://u:" + url.PathEscape(`p@ss "w0rd"/ä`) + "@db":         "postgres://u:[redacted]@db",
		url.UserPassword("u", `p@ss "w0rd"/ä`).String():                   "u:[redacted]",
		`{"password":"p@ss \"w0rd\"/ä"}`:                                  `{"password":"[redacted]"}`,
		"Authorization: Basic Y29ycmVjdC1ob3JzZQ==":                       "Authorization: Basic [redacted]",
		"Y29ycmVjdC1ob3JzZQ and 636f72726563742d686f727365":               "[redacted] and [redacted]",
		"Authorization: Basic dTpjb3JyZWN0LWhvcnNl":                       "Authorization: Basic dTp[redacted]", // u:correct-horse
		"Basic dXM6Y29ycmVjdC1ob3JzZQ== Basic dXNlOmNvcnJlY3QtaG9yc2U=":   "Basic dXM6[redacted] Basic dXNlOm[redacted]U=",
		"the server says: got correct-hor… (400)":                         "the server says: got [redacted]… (400)",
		"got Y29ycmVjdC1... and corr…":                                    "got [redacted]... and corr…",
		"asn1: MIIEvQIBADANBgkqhkiG9w0BAQEFAASC is no key":                "asn1: [redacted] is no key",
		"no PEM block in " + pem:                                          "no PEM block in [redacted]",
		"abc is short, abcd is another word; -----BEGIN PRIVATE KEY-----": "[redacted] is short, abcd is another word; -----BEGIN PRIVATE KEY-----",
		`pin=abc&x, "abc", (abc) xabc äabc _abc abc_ abc9 abc`:            `pin=[redacted]&x, "[redacted]", ([redacted]) xabc äabc _abc abc_ abc9 [redacted]`,
		"Basic YWJj and 616263, a%26, a&, 1":                              "Basic [redacted] and [redacted], [redacted], [redacted], 1",
		"nothing to hide":                                                 "nothing to hide",
	} {
		if got := values.Redact(text); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	if got := values.Short(); !slices.Equal(got, []string{"byte", "odd", "short"}) {
		t.Errorf("short are %v", got)
	}
	values.Replace(map[string]string{"a": "another-value"})
	if got := values.Redact("correct-horse another-value"); got != "[redacted] [redacted]" {
		t.Errorf("after a rotation: %s", got)
	}
	for i := range 2 * longestMemory {
		values.Replace(map[string]string{"a": fmt.Sprintf("value-%d-", i)})
	}
	if got := values.Redact("correct-horse value-511-"); got != "correct-horse [redacted]" {
		t.Errorf("after %d rotations: %s", 2*longestMemory, got)
	}
}

func TestRevealAllocatesNothing(t *testing.T) {
	values := NewSecretValues()
	values.Replace(map[string]string{"a": hush})
	s := EmptySecret()
	s.Bind(values, "a")
	if n := testing.AllocsPerRun(100, func() { s.Reveal() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
