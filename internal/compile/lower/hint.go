package lower

import (
	"slices"
	"strings"

	"penstock.dev/penstock/internal/diag"
)

// Hint proposes the name that was probably meant, or lists what there is when that is short; empty if
// there is nothing to say.
func Hint(wrong string, known []string) string {
	if near := diag.Nearest(wrong, known); near != "" {
		return "did you mean `" + near + "`?"
	}
	if n := len(known); n > 0 && n <= 8 {
		sorted := slices.Clone(known)
		slices.Sort(sorted)
		return "there is " + strings.Join(sorted, ", ")
	}
	return ""
}
