package lower

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/types"
)

// Fits reports how what is of one type may fail a schema: what surely fails is an error, what may
// fail a warning. What says what is of that type: "what is sent".
func Fits(l *diag.List, pos penstock.Pos, schema string, from, to *types.Type, what string) {
	var extra []string
	found := algebra.Check(from, to)
	for _, m := range found {
		if m.Extra != "" {
			extra = append(extra, m.Path)
			continue
		}
		hint := ""
		if m.Missing != "" {
			hint = misspelt(m.Missing, found)
		}
		report := l.Warnf
		if m.Sure {
			report = l.Errorf
		}
		subject := what
		if m.Path != "" {
			subject = "in " + what + ", " + m.Path
		}
		report(pos, "schema-mismatch", schema, hint, "%s %s", subject, m.Message)
	}
	if len(extra) > 0 {
		l.Warnf(pos, "schema-mismatch", schema, "remove it, or declare it", "%s has %s, which %s does not declare", what, strings.Join(extra, ", "), schema)
	}
}

// misspelt looks for the missing field among those that are too many.
func misspelt(missing string, found []algebra.Mismatch) string {
	var extra []string
	for _, m := range found {
		if m.Extra != "" {
			extra = append(extra, m.Extra)
		}
	}
	if near := diag.Nearest(missing, extra); near != "" {
		return "there is `" + near + "`; is it that?"
	}
	return ""
}

func (b *builder) fits(pos penstock.Pos, schema string, from, to *types.Type, what string) {
	Fits(b.diags(), pos, schema, from, to, what)
}
