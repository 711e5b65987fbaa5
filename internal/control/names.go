package control

import (
	"strings"

	"penstock.dev/penstock/internal/diag"
)

// Nearest is the word of choice that was probably meant by word, or "".
func Nearest(word string, choice []string) string { return diag.Nearest(word, choice) }

// didYouMean is a hint for a name that is not there.
func didYouMean(word string, choice []string) string {
	if near := Nearest(word, choice); near != "" {
		return "did you mean " + near + "?"
	}
	return "there is " + strings.Join(choice, ", ")
}
