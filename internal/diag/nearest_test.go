package diag

import "testing"

func TestNearest(t *testing.T) {
	words := []string{"deadLetter", "retry", "order", "to", "from"}
	for word, want := range map[string]string{
		"deadletter": "deadLetter", "dead-letter": "deadLetter", "deadLeter": "deadLetter", "rerty": "retry",
		"odrer": "order", "completely": "", "x": "", "": "", "form": "from",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
