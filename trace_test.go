package penstock

import (
	"context"
	"strings"
	"testing"
)

func TestTraceparent(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	tc, ok := ParseTraceparent(good)
	if !ok || !tc.Sampled() || tc.Traceparent() != good {
		t.Errorf("%v %v %s", ok, tc, tc.Traceparent())
	}
	if got := TraceFrom(ContextWithTrace(context.Background(), tc)); got != tc {
		t.Error(got)
	}
	if !TraceFrom(context.Background()).IsZero() {
		t.Error("a trace from nowhere")
	}
	for name, bad := range map[string]string{
		"empty": "", "short": good[:54], "long": good + "0", "upper case": strings.ToUpper(good), "no trace": "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"no span": "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "version ff": "ff" + good[2:], "not hex": strings.Replace(good, "4bf9", "4bg9", 1),
		"00 with more": good + "-x", "a later version without a dash": "01" + good[2:] + "x",
	} {
		if _, ok := ParseTraceparent(bad); ok {
			t.Errorf("%s: %q passes", name, bad)
		}
	}
	if _, ok := ParseTraceparent("01" + good[2:] + "-what-comes"); !ok {
		t.Error("a later version is refused")
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Fuzz(func(t *testing.T, s string) {
		if tc, ok := ParseTraceparent(s); ok {
			if again, ok := ParseTraceparent(tc.Traceparent()); !ok || again != tc {
				t.Errorf("%q: %v, then %v", s, tc, again)
			}
		}
	})
}
