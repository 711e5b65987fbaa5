package report

import (
	"strings"
	"testing"

	"penstock.dev/penstock/bench/cases"
)

func TestHTTPVerdicts(t *testing.T) {
	rate := func(v float64) cases.StoreFigure { return figure("rate", "requests/s", v) }
	for _, c := range []struct {
		name  string
		sides []cases.StoreSide
		want  []string
	}{
		{"goal", []cases.StoreSide{side("penstock", rate(60e3)), side("peer", rate(15e3)), side(cases.Control, rate(57e3))},
			[]string{"| 0.950 × | the noise |", "rate ≥ 2.50 ×, in that of peer, goal 3.00 | 4.00 × | goal met |", "penstock again (control)"}},
		{"met", []cases.StoreSide{side("penstock", rate(40e3)), side("peer", rate(15e3))}, []string{"| 2.67 × | met |"}},
		{"missed", []cases.StoreSide{side("penstock", rate(30e3)), side("peer", rate(15e3))}, []string{"| 2.00 × | missed |"}},
		{"recorded", []cases.StoreSide{side("penstock", rate(17_700))}, []string{"as recorded (17,700/s), *not paired*, goal 3.00 | 1.00 × | missed |"}},
	} {
		got := text(t, Results{HTTP: []cases.HTTPOutcome{{Case: cases.HTTPCases()[0], Sides: c.sides}}})
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", c.name, w, got)
			}
		}
	}
}
