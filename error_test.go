package penstock

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestErrorSaysWhatARetryMayKnow(t *testing.T) {
	inner := &Error{Code: Limited, RetryAfter: 3 * time.Second, Unsent: true, Err: errors.New("slow down")}
	for _, c := range []struct {
		name   string
		err    error
		after  time.Duration
		unsent bool
	}{
		{"nil", nil, 0, false},
		{"plain", errors.New("x"), 0, false},
		{"silent", &Error{Code: Unavailable}, 0, false},
		{"own", inner, 3 * time.Second, true},
		{"wrapped", fmt.Errorf("call: %w", inner), 3 * time.Second, true},
		{"inside another error", &Error{Code: Unavailable, Op: "ask", Err: fmt.Errorf("x: %w", inner)}, 3 * time.Second, true},
		{"the outer one says it", &Error{RetryAfter: time.Second, Err: inner}, time.Second, true},
	} {
		if got := RetryAfterOf(c.err); got != c.after {
			t.Errorf("%s: RetryAfterOf = %s, want %s", c.name, got, c.after)
		}
		if got := IsUnsent(c.err); got != c.unsent {
			t.Errorf("%s: IsUnsent = %t", c.name, got)
		}
	}
}
