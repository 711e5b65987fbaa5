// Package conform holds the suites that every driver must pass. A driver's test describes the
// driver with a harness, a struct of functions and of features that it declares, and runs the suite:
//
//	func TestConform(t *testing.T) {
//		conform.Source(t, conform.SourceHarness{Fill: …, Spec: …, Features: …})
//	}
//
// A case that needs a feature which the harness does not declare is skipped, saying so. Run the suites with
// -race, and with the build tag penstock_debug, under which memory that was given back is overwritten at once.
package conform

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Doc makes a document of JSON text with memory of its own.
func Doc(text string) *jsonview.Doc {
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, []byte(text))
	return d
}

// Batch makes a batch of messages with these JSON bodies, in the batch's own memory. Each message has an identity of its own (penstock.Env.AppendIdentity), in
// whatever batch it is.
func Batch(bodies ...string) *penstock.Batch {
	return batchAt(made.Add(int64(len(bodies)))-int64(len(bodies)), bodies...)
}

// made counts messages.
var made atomic.Int64

// batchAt is Batch of messages that have the identities from a number on: the same ones for the same number.
func batchAt(from int64, bodies ...string) *penstock.Batch {
	b := new(penstock.Batch)
	for i, text := range bodies {
		m := b.Append()
		m.Body.Reset(jsonview.JSON, b.Arena().Copy([]byte(text)))
		m.Pos = penstock.Position{Stream: "conform", Offset: from + int64(i), Next: from + int64(i) + 1}
	}
	return b
}

// Text is the compact JSON of a body, for comparisons.
func Text(t testing.TB, d *jsonview.Doc) string {
	t.Helper()
	if err := d.Parse(jsonview.Limits{}); err != nil {
		t.Fatalf("the body %.80q can't be read: %v", d.Original(), err)
	}
	return string(d.AppendJSON(nil, 0))
}

// numbered makes n different bodies.
func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(`{"n":%d,"text":"message %d %s"}`, i, i, strings.Repeat("x", i%50))
	}
	return out
}

// same compares what came with what was wanted and shows the first difference.
func same(t testing.TB, got, want []string, ordered bool) {
	t.Helper()
	if !ordered {
		got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	}
	if len(got) != len(want) {
		t.Errorf("%d messages, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("message %d is %s, want %s", i, got[i], want[i])
		}
	}
}

// scribble overwrites the memory of a batch, as its next use would.
func scribble(b *penstock.Batch) {
	for _, m := range b.Msgs {
		if src := m.Body.Original(); len(src) > 0 {
			for i := range src {
				src[i] = '#'
			}
		}
	}
	b.Reset()
}
