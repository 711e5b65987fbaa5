package report

import (
	"strings"
	"testing"

	"penstock.dev/penstock/bench/cases"
)

func storeOutcome(t *testing.T, name string, sides ...cases.StoreSide) cases.StoreOutcome {
	t.Helper()
	for _, c := range cases.StoreCases() {
		if c.Name == name {
			return cases.StoreOutcome{Case: c, Sizes: "so much", Sides: sides}
		}
	}
	t.Fatalf("no case %s", name)
	return cases.StoreOutcome{}
}

func side(name string, figures ...cases.StoreFigure) cases.StoreSide {
	return cases.StoreSide{Name: name, Disk: []float64{0.2}, Figures: figures}
}

func figure(name, unit string, of ...float64) cases.StoreFigure {
	return cases.StoreFigure{Name: name, Unit: unit, Of: of}
}

func TestStoreVerdicts(t *testing.T) {
	rate := func(v float64) cases.StoreFigure { return figure("rate", "messages/s", v) }
	for _, c := range []struct {
		name string
		o    cases.StoreOutcome
		want []string
	}{
		{"goal", storeOutcome(t, "store-publishers", side("penstock", rate(80e3)), side("JetStream, sync always", rate(4e3)), side(cases.Control, rate(72e3))),
			[]string{"| 80,000 messages/s | 0.200 (0.200 to 0.200) | goal met |", "| 20.0 × | 0.200 (0.200 to 0.200) | met |", "| 0.900 × |", "penstock again (control)"}},
		{"recorded", storeOutcome(t, "store-publishers", side("penstock", rate(42e3))), []string{"| 42,000 messages/s | 0.200 (0.200 to 0.200) | met |", "4,200/s), *not paired* | 10.0 ×"}},
		{"missed", storeOutcome(t, "store-publishers", side("penstock", rate(4e3))), []string{"| 4,000 messages/s | 0.200 (0.200 to 0.200) | missed |", "0.952 ×"}},
		{"at most", storeOutcome(t, "store-small", side("penstock", figure("rate", "transactions/s", 5000), figure("p99", "ms", 20, 40, 200))),
			[]string{"rate ≥ 4,000 transactions/s | 5,000 transactions/s", "p99 ≤ 80.0 ms, goal 30.0 | 40.0 ms | 0.200 (0.200 to 0.200) | met |"}},
		{"another side", storeOutcome(t, "store-behind", side("consumer and live", figure("catch-up", "messages/s", 1e5), figure("live rate", "messages/s", 9000)),
			side("alone", figure("live rate", "messages/s", 10000)), side("a whole flow", figure("catch-up", "messages/s", 2e5))),
			[]string{"catch-up ≥ 150,000 messages/s | 100,000 messages/s | 0.200 (0.200 to 0.200) | missed |", "in that of alone | 0.900 × | 0.200 (0.200 to 0.200) | missed |",
				"catch-up (a whole flow) ≥ 150,000 messages/s | 200,000 messages/s | 0.200 (0.200 to 0.200) | met |"}},
	} {
		got := text(t, Results{Store: []cases.StoreOutcome{c.o}})
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", c.name, w, got)
			}
		}
	}
}

func TestThousands(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 0.1234: "0.123", 1.5: "1.50", 12.34: "12.3", 999.4: "999", 1234: "1,230", 123456: "123,000", 1e7: "10,000,000"} {
		if got := thousands(v); got != want {
			t.Errorf("%v: %s, not %s", v, got, want)
		}
	}
}
