package penstock_test

import (
	"testing"
	"time"

	"penstock.dev/penstock"
)

func TestParseDuration(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration
		bad  bool
	}{
		{in: "30s", want: 30 * time.Second},
		{in: "1h30m", want: 90 * time.Minute},
		{in: "7d", want: 7 * 24 * time.Hour},
		{in: "1d12h", want: 36 * time.Hour},
		{in: "12h1d", want: 36 * time.Hour},
		{in: "0.5d", want: 12 * time.Hour},
		{in: "-1d", want: -24 * time.Hour},
		{in: "0", want: 0},
		{in: "250µs", want: 250 * time.Microsecond},
		{in: "106751d", want: 106751 * 24 * time.Hour},
		{in: "106752d", bad: true}, // over 292 years
		{in: "106751d106751d", bad: true},
		{in: "", bad: true},
		{in: "d", bad: true},
		{in: "5", bad: true},
		{in: "1d2", bad: true},
		{in: "1.2.3d", bad: true},
		{in: "-", bad: true},
		{in: "1 d", bad: true},
		{in: "1w", bad: true},
	} {
		got, err := penstock.ParseDuration(c.in)
		if (err != nil) != c.bad || got.Std() != c.want {
			t.Errorf("ParseDuration(%q) = %v, %v", c.in, got, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in, out string
		want    penstock.Size
		bad     bool
	}{
		{in: "10Mi", want: 10 << 20, out: "10Mi"},
		{in: "1024Ki", want: 1 << 20, out: "1Mi"},
		{in: "1.5Ki", want: 1536, out: "1536"},
		{in: "2k", want: 2000, out: "2000"},
		{in: "512", want: 512, out: "512"},
		{in: "0", want: 0, out: "0"},
		{in: "7Pi", want: 7 << 50, out: "7Pi"},
		{in: "0.1", bad: true},
		{in: "9000Pi", bad: true},
		{in: "-1Ki", bad: true},
		{in: "1e3", bad: true},
		{in: "10MB", bad: true},
		{in: "Mi", bad: true},
		{in: "", bad: true},
	} {
		got, err := penstock.ParseSize(c.in)
		if (err != nil) != c.bad || got != c.want || !c.bad && got.String() != c.out {
			t.Errorf("ParseSize(%q) = %v (%d), %v", c.in, got, got, err)
		}
	}
}

func TestParseRate(t *testing.T) {
	for _, c := range []struct {
		in        string
		perSecond float64
		bad       bool
	}{
		{in: "100/s", perSecond: 100},
		{in: "30/m", perSecond: 0.5},
		{in: "0.5/ms", perSecond: 500},
		{in: "36/h", perSecond: 0.01},
		{in: "8640/d", perSecond: 0.1},
		{in: "0/s", bad: true},
		{in: "100", bad: true},
		{in: "100/", bad: true},
		{in: "/s", bad: true},
		{in: "1e3/s", bad: true},
		{in: "100/sec", bad: true},
	} {
		got, err := penstock.ParseRate(c.in)
		if (err != nil) != c.bad || got.PerSecond() != c.perSecond || !c.bad && got.String() != c.in || got.IsZero() != c.bad {
			t.Errorf("ParseRate(%q) = %v, %v", c.in, got, err)
		}
	}
}

func TestParseShare(t *testing.T) {
	for _, c := range []struct {
		in   string
		want penstock.Share
		bad  bool
	}{
		{in: "20%", want: 0.2},
		{in: "0.1%", want: 0.001},
		{in: "100%", want: 1},
		{in: "0%", want: 0},
		{in: "101%", bad: true},
		{in: "0.2", bad: true},
		{in: "%", bad: true},
		{in: "-1%", bad: true},
	} {
		got, err := penstock.ParseShare(c.in)
		if (err != nil) != c.bad || got != c.want || !c.bad && got.String() != c.in {
			t.Errorf("ParseShare(%q) = %v, %v", c.in, got, err)
		}
	}
}

func FuzzQuantities(f *testing.F) {
	for _, s := range []string{"30s", "1d12h", "10Mi", "1.5Ki", "100/s", "0.5/m", "20%", "0.1%", "", "-1d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := penstock.ParseDuration(s); err == nil {
			if again, err := penstock.ParseDuration(d.String()); err != nil || again != d {
				t.Errorf("%q → %v → %v, %v", s, d, again, err)
			}
		}
		if v, err := penstock.ParseSize(s); err == nil {
			if again, err := penstock.ParseSize(v.String()); err != nil || again != v {
				t.Errorf("%q → %v → %v, %v", s, v, again, err)
			}
		}
		if v, err := penstock.ParseRate(s); err == nil {
			if again, err := penstock.ParseRate(v.String()); err != nil || again != v {
				t.Errorf("%q → %v → %v, %v", s, v, again, err)
			}
		}
		if v, err := penstock.ParseShare(s); err == nil && (v < 0 || v > 1) {
			t.Errorf("%q → %v", s, float64(v))
		}
	})
}
