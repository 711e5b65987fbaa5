package resource

import (
	"strings"

	"penstock.dev/penstock/internal/diag"
)

// hintFor proposes the word that was probably meant: "did you mean `deadLetter`?". Where none is
// near, it lists a short choice, or is empty.
func hintFor(word string, choice []string) string {
	if s := diag.Nearest(word, choice); s != "" {
		return "did you mean `" + s + "`?"
	}
	if len(choice) == 0 || len(choice) > 14 {
		return ""
	}
	return "there " + map[bool]string{true: "is ", false: "are "}[len(choice) == 1] + strings.Join(choice, ", ")
}
