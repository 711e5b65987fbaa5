package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestRedriversShareTheDeadLetters has two flows ask for dead letters of a third, all at once: each is given in by one of them.
func TestRedriversShareTheDeadLetters(t *testing.T) {
	const dead, asks = 600, 60
	heal := func(name string) string {
		return fmt.Sprintf(`---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: %[1]s }
spec:
  from: { file: { path: asks.jsonl } }
  order: none
  concurrency: 8
  steps:
    - redrive: { flow: orders, where: error.redriven == 0, limit: 7 }
  to: { file: { path: %[1]s.jsonl } }
`, name)
	}
	here(t, `apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: orders }
spec:
  from: { file: { path: in.jsonl } }
  steps:
    - fail: { code: unprocessable, message: too late }
  to: { drop: {} }
`+heal("one")+heal("two"))
	var in strings.Builder
	for i := range dead {
		fmt.Fprintf(&in, "{\"id\":%d}\n", i)
	}
	for name, text := range map[string]string{"in.jsonl": in.String(), "asks.jsonl": strings.Repeat("{}\n", asks)} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command(t, 0, "run", "--flow", "orders")
	command(t, 0, "run", "--flow", "one", "--flow", "two")
	given := 0
	for _, name := range []string{"one.jsonl", "two.jsonl"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var r struct{ Redriven, Left int }
			if err := json.Unmarshal([]byte(line), &r); err != nil || r.Redriven > 7 || r.Left > dead {
				t.Fatalf("%s: %v", line, err)
			}
			given += r.Redriven
		}
	}
	again := strings.Count(command(t, 0, "dlq", "export", "--where", "error.redriven == 1"), "\n")
	if left := strings.Count(command(t, 0, "dlq", "export"), "\n"); given != dead || again != dead || left != dead {
		t.Errorf("%d of %d were given in; %d died once more, of %d", given, dead, again, left)
	}
}
