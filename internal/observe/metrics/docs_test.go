package metrics

import (
	"os"
	"strings"
	"testing"
)

// TestDocs holds the page of metrics to what there is.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if want := "| `" + f.Name + "` | " + f.Type + " | " + strings.Join(f.Labels, ", ") + " | " + f.Help + " |\n"; !strings.Contains(string(text), want) {
			t.Errorf("docs/observability.md has no line\n%s", want)
		}
	}
}
