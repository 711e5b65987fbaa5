package conform

import (
	"context"
	"io"
	"strings"
	"testing"

	"penstock.dev/penstock"
)

type plain struct{}

func (plain) Open(context.Context) error                       { return nil }
func (plain) Read(context.Context, *penstock.Batch) error      { return io.EOF }
func (plain) Settle(context.Context, []penstock.Outcome) error { return nil }
func (plain) Close(context.Context) error                      { return nil }

type goingOn struct{ plain }

func (goingOn) Resume(context.Context, []penstock.Position) error { return nil }

// TestASourceIsWhatItIsRegisteredAs: the suite finds drivers whose Spec does not fit what they are.
func TestASourceIsWhatItIsRegisteredAs(t *testing.T) {
	for _, c := range []struct {
		name     string
		spec     penstock.Spec
		source   penstock.Source
		features SourceFeatures
		want     string // in the one mismatch; "" for none
	}{
		{"positioned", penstock.Spec{Settle: penstock.Cumulative, Replay: penstock.ReplayPosition}, goingOn{}, SourceFeatures{Resumes: true}, ""},
		{"positioned, built for a run without state", penstock.Spec{Settle: penstock.Cumulative, Replay: penstock.ReplayPosition}, goingOn{}, SourceFeatures{}, ""},
		{"promised only", penstock.Spec{Settle: penstock.Cumulative, Replay: penstock.ReplayPosition}, plain{}, SourceFeatures{}, "is not Positioned"},
		{"not told", penstock.Spec{Settle: penstock.Each, Replay: penstock.ReplayAgain}, goingOn{}, SourceFeatures{Resumes: true}, "less than it gives"},
		{"goes on, and gives some of it again", penstock.Spec{Settle: penstock.Cumulative, Replay: penstock.ReplayAgain}, goingOn{}, SourceFeatures{}, ""},
		{"only the harness says so", penstock.Spec{Settle: penstock.Each}, plain{}, SourceFeatures{Resumes: true}, "harness declares Resumes"},
		{"without an end", penstock.Spec{Settle: penstock.Each}, plain{}, SourceFeatures{Finite: true}, "not registered as Finite"},
		{"ends", penstock.Spec{Settle: penstock.Each, Finite: true}, plain{}, SourceFeatures{Finite: true}, ""},
		{"settles in no way", penstock.Spec{}, plain{}, SourceFeatures{}, "neither cumulative nor each"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := mismatches(c.spec, c.source, c.features)
			if c.want == "" && len(got) == 0 || c.want != "" && len(got) == 1 && strings.Contains(got[0], c.want) {
				return
			}
			t.Errorf("%q, want %q", got, c.want)
		})
	}
}
