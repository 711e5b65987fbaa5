package flowtest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// yamlFlow writes a document on one line of YAML, so that both readings of YAML agree on it.
func yamlFlow(t *penstock.Tree) string {
	switch t.Kind {
	case penstock.TreeNumber:
		return yamlNumber(t.Text)
	case penstock.TreeText:
		return yamlText(t.Text)
	case penstock.TreeList:
		if len(t.Elems) == 0 {
			return "[]"
		}
		parts := make([]string, len(t.Elems))
		for i := range t.Elems {
			parts[i] = yamlFlow(&t.Elems[i])
		}
		return "[ " + strings.Join(parts, ", ") + " ]"
	case penstock.TreeMap:
		if len(t.Keys) == 0 {
			return "{}"
		}
		parts := make([]string, len(t.Keys))
		for i, k := range t.Keys {
			parts[i] = yamlText(k) + ": " + yamlFlow(&t.Elems[i])
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	}
	return text(t)
}

var plainText = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// special are the plain words that YAML 1.1 or 1.2 reads as something else than text.
var special = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}

// yamlText writes a text bare where nobody can take it for anything else.
func yamlText(s string) string {
	if plainText.MatchString(s) && !slices.Contains(special, strings.ToLower(s)) {
		return s
	}
	var b strings.Builder
	for _, r := range string(jsonview.AppendString(nil, s)) {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff: // a line end to one reading and not to the other, or invisible
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// yamlNumber writes a number without the exponents that YAML 1.1 takes for text: 1e3 is 1.0e+3.
func yamlNumber(s string) string {
	i := strings.IndexAny(s, "eE")
	if i < 0 {
		return s
	}
	mantissa, exp := s[:i], s[i+1:]
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	if exp[0] != '-' && exp[0] != '+' {
		exp = "+" + exp
	}
	return mantissa + "e" + exp
}
