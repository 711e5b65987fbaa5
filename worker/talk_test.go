package worker

import (
	"testing"
	"time"
)

// TestRetryAfter: both forms that a server, or a proxy before it, may give, and no longer than a worker is patient.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-1": 0, "1.5": 0, "0": 0, "7": 7 * time.Second, "60": time.Minute, "2147483647": time.Minute, "99999999999999999999": 0,
		"Mon, 05 Jan 2026 09:00:07 GMT":  7 * time.Second,
		"Mon, 05 Jan 2026 10:00:00 GMT":  time.Minute,
		"Mon, 05 Jan 2026 08:59:59 GMT":  0,
		"Monday, 05-Jan-26 09:00:07 GMT": 7 * time.Second,
		"Mon Jan  5 09:00:07 2026":       7 * time.Second,
	} {
		if got := retryAfter(v, now); got != want {
			t.Errorf("%q: %s, want %s", v, got, want)
		}
	}
}
