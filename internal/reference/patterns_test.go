package reference

import (
	"os"
	"strings"
	"testing"
)

// TestPatterns holds the page to its promise: the 65 patterns, each with an example that is a test.
func TestPatterns(t *testing.T) {
	n := 0
	seen := map[string]bool{}
	for i, c := range chapters {
		for _, p := range c.patterns {
			if i < len(chapters)-1 {
				n++
			}
			if seen[p.name] || p.written == "" {
				t.Errorf("%s is there twice, or without words", p.name)
			}
			seen[p.name] = true
			text, err := os.ReadFile("../../examples/" + p.example + ".yaml")
			if err != nil {
				t.Errorf("%s: %v", p.name, err)
			} else if !strings.Contains(string(text), "kind: Test") {
				t.Errorf("%s: %s has no test", p.name, p.example)
			}
		}
	}
	if n != 65 {
		t.Errorf("%d patterns of Hohpe & Woolf", n)
	}
}
