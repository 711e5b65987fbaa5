package cli

import (
	"slices"
	"testing"
)

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 1799: "1,799", 320705: "320,705", 1234567: "1,234,567", -1000: "-1,000", -999: "-999"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestElapsed(t *testing.T) {
	for s, want := range map[float64]string{0: "0.0s", 0.0021: "3ms", 0.26: "0.3s", 59: "59.0s", 60: "1m00s", 185.4: "3m05s", 3600: "1h00m", 7800: "2h10m"} {
		if got := elapsed(s); got != want {
			t.Errorf("elapsed(%v) = %s, want %s", s, got, want)
		}
	}
}

func TestRate(t *testing.T) {
	for r, want := range map[float64]string{0: "0/s", 0.25: "0.2/s", 9.96: "10.0/s", 12.4: "12/s", 81234.6: "81,235/s"} {
		if got := rate(r); got != want {
			t.Errorf("rate(%v) = %s, want %s", r, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	got := table([][]string{{"flow", "read"}, {"orders", "7"}, {"é", "1,234"}, {"x", ""}}, []bool{false, true})
	want := []string{"flow     read", "orders      7", "é       1,234", "x"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestClip(t *testing.T) {
	for _, tc := range []struct {
		s     string
		width int
		want  string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"éàü", 2, "é…"}, {"abc", 0, "…"}} {
		if got := clip(tc.s, tc.width); got != tc.want {
			t.Errorf("clip(%q, %d) = %q, want %q", tc.s, tc.width, got, tc.want)
		}
	}
}
