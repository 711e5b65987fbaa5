package penstock

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time in a configuration: Go's notation plus d for days of 24
// hours, largest unit first or not ("30s", "1h30m", "7d", "1d12h", "1.5h").
type Duration time.Duration

// Std is d as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String gives the form that ParseDuration reads, without days: "36h0m0s".
func (d Duration) String() string { return time.Duration(d).String() }

// day is the length of the unit d: always 24 hours; Penstock has no calendar in durations.
const day = 24 * time.Hour

// ParseDuration reads a duration: one or more decimal numbers with a unit each, of ns, us
// (µs), ms, s, m, h and d; a minus sign may stand before all. A bare 0 is allowed; any
// other number needs its unit. Errors say what is wrong with the text.
func ParseDuration(s string) (Duration, error) {
	if !strings.Contains(s, "d") {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, durationError(s)
		}
		return Duration(d), nil
	}
	neg := strings.HasPrefix(s, "-")
	rest := strings.TrimPrefix(s, "-")
	var total time.Duration
	for rest != "" {
		n := 0
		for n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == '.') {
			n++
		}
		u := n
		for u < len(rest) && (rest[u] < '0' || rest[u] > '9') && rest[u] != '.' {
			u++
		}
		if n == 0 || u == n {
			return 0, durationError(s)
		}
		part, err := durationPart(rest[:n], rest[n:u])
		if err != nil {
			return 0, durationError(s)
		}
		if part > math.MaxInt64-total {
			return 0, fmt.Errorf("%q is longer than 292 years", s)
		}
		total += part
		rest = rest[u:]
	}
	if neg {
		total = -total
	}
	return Duration(total), nil
}

func durationPart(number, unit string) (time.Duration, error) {
	if unit != "d" {
		return time.ParseDuration(number + unit)
	}
	// A number of days as hours, exactly: 0.1d is 2.4h.
	r, ok := new(big.Rat).SetString(strings.TrimSuffix(number, "."))
	if !ok || len(number) > 32 {
		return 0, fmt.Errorf("%q is no number of days", number)
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(day)))
	ns := new(big.Int).Quo(r.Num(), r.Denom())
	if !ns.IsInt64() {
		return 0, fmt.Errorf("%q days is too long", number)
	}
	return time.Duration(ns.Int64()), nil
}

func durationError(s string) error {
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return fmt.Errorf("%q has no unit; write %ss, %sms, %sm …", s, s, s, s)
	}
	return fmt.Errorf("%q is no duration; write it as 250ms, 30s, 1h30m or 7d", s)
}

// Rate is how often something may happen: Count times in each Per.
type Rate struct {
	Count float64
	Per   time.Duration // of 1 ms, 1 s, 1 min, 1 h or 24 h
}

// IsZero reports whether the field was left out.
func (r Rate) IsZero() bool { return r.Per == 0 }

// PerSecond is r as times a second.
func (r Rate) PerSecond() float64 {
	if r.Per == 0 {
		return 0
	}
	return r.Count / r.Per.Seconds()
}

var ratePers = []struct {
	unit string
	per  time.Duration
}{{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", day}}

// String gives the form that ParseRate reads.
func (r Rate) String() string {
	for _, p := range ratePers {
		if p.per == r.Per {
			return strconv.FormatFloat(r.Count, 'f', -1, 64) + "/" + p.unit
		}
	}
	return strconv.FormatFloat(r.PerSecond(), 'f', -1, 64) + "/s"
}

// ParseRate reads a rate: a positive decimal number, a slash, and one of ms, s, m, h and d
// ("100/s", "0.5/m").
func ParseRate(s string) (Rate, error) {
	number, unit, ok := strings.Cut(s, "/")
	if ok && plainNumber(number) {
		if f, err := strconv.ParseFloat(number, 64); err == nil && f > 0 && !math.IsInf(f, 0) {
			for _, p := range ratePers {
				if p.unit == unit {
					return Rate{Count: f, Per: p.per}, nil
				}
			}
		}
	}
	return Rate{}, fmt.Errorf("%q is no rate; write it as 100/s, 20/m or 5/h", s)
}

// Size is a number of bytes.
type Size int64

var sizeUnits = []struct {
	unit  string
	bytes int64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"Pi", 1 << 50},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"P", 1e15}, {"", 1},
}

// String gives the form that ParseSize reads, in the largest binary unit that is exact.
func (s Size) String() string {
	for i := 4; i >= 0; i-- {
		if u := sizeUnits[i]; s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.unit
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// ParseSize reads a size as Kubernetes writes quantities of memory: a decimal number and
// Ki, Mi, Gi, Ti, Pi (powers of 1024), k, M, G, T, P (powers of 1000), or no unit (bytes).
// A fraction of a byte is an error.
func ParseSize(s string) (Size, error) {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(s, u.unit)
		if !ok || !plainNumber(number) {
			continue
		}
		r, ok := new(big.Rat).SetString(number)
		if !ok {
			break
		}
		r.Mul(r, new(big.Rat).SetInt64(u.bytes))
		if !r.IsInt() {
			return 0, fmt.Errorf("%q is no whole number of bytes", s)
		}
		if !r.Num().IsInt64() {
			return 0, fmt.Errorf("%q is more than 8 exbibytes", s)
		}
		return Size(r.Num().Int64()), nil
	}
	return 0, fmt.Errorf("%q is no size; write it as 512Ki, 10Mi, 2Gi or a number of bytes", s)
}

// Share is a part of a whole, from 0 to 1, written as a percentage.
type Share float64

// String gives the form that ParseShare reads.
func (s Share) String() string {
	return strconv.FormatFloat(math.Round(float64(s)*1e12)/1e10, 'f', -1, 64) + "%"
}

// ParseShare reads a share: a decimal number from 0 to 100 and a percent sign ("20%", "0.1%").
func ParseShare(s string) (Share, error) {
	if number, ok := strings.CutSuffix(s, "%"); ok && plainNumber(number) {
		if f, err := strconv.ParseFloat(number, 64); err == nil && f <= 100 {
			return Share(f / 100), nil
		}
	}
	return 0, fmt.Errorf("%q is no share; write it as a percentage from 0%% to 100%%, like 20%%", s)
}

// plainNumber reports whether s is digits with at most one point between them: no sign, no
// exponent, no underscore.
func plainNumber(s string) bool {
	whole, frac, point := strings.Cut(s, ".")
	digits := func(s string) bool { return s != "" && len(s) <= 32 && strings.Trim(s, "0123456789") == "" }
	return digits(whole) && (!point || digits(frac))
}
