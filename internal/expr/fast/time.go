package fast

import (
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// time compiles the accessors of timestamps and durations. A timestamp is read in UTC unless a
// zone is given: a name of the IANA database, or an offset such as +02:00.
func (c *compiler) time(name string, xs []code) (code, bool, error) {
	part := timePart(name)
	if part == nil || len(xs) < 1 || len(xs) > 2 {
		return code{}, false, nil
	}
	if len(xs) == 1 {
		whole := durationPart(name)
		return unary(xs[0], types.IntType, func(f *penstock.Frame, v penstock.Value) penstock.Value {
			switch v = ops.Resolve(v, f.Arena); {
			case v.Kind() == penstock.KindTimestamp:
				return penstock.IntValue(int64(part(v.Timestamp())))
			case v.Kind() == penstock.KindDuration && whole != nil:
				return penstock.IntValue(whole(v.Duration()))
			}
			return ops.NoOverload(name, v)
		}), true, nil
	}
	if xs[1].con && xs[1].val.Kind() == penstock.KindString {
		loc, bad := zone(xs[1].val.Str())
		return unary(xs[0], types.IntType, func(f *penstock.Frame, v penstock.Value) penstock.Value {
			if v = ops.Resolve(v, f.Arena); v.Kind() != penstock.KindTimestamp {
				return ops.NoOverload(name, v)
			}
			if loc == nil {
				return bad
			}
			return penstock.IntValue(int64(part(v.Timestamp().In(loc))))
		}), true, nil
	}
	return binary2(xs[0], xs[1], types.IntType, func(f *penstock.Frame, a, b penstock.Value) penstock.Value {
		a, b = ops.Resolve(a, f.Arena), ops.Resolve(b, f.Arena)
		if a.Kind() != penstock.KindTimestamp || b.Kind() != penstock.KindString {
			return ops.NoOverload(name, a, b)
		}
		loc, bad := zone(b.Str())
		if loc == nil {
			return bad
		}
		return penstock.IntValue(int64(part(a.Timestamp().In(loc))))
	}), true, nil
}

func timePart(name string) func(time.Time) int {
	switch name {
	case "getFullYear":
		return time.Time.Year
	case "getMonth":
		return func(t time.Time) int { return int(t.Month()) - 1 }
	case "getDayOfYear":
		return func(t time.Time) int { return t.YearDay() - 1 }
	case "getDate":
		return time.Time.Day
	case "getDayOfMonth":
		return func(t time.Time) int { return t.Day() - 1 }
	case "getDayOfWeek":
		return func(t time.Time) int { return int(t.Weekday()) }
	case "getHours":
		return time.Time.Hour
	case "getMinutes":
		return time.Time.Minute
	case "getSeconds":
		return time.Time.Second
	case "getMilliseconds":
		return func(t time.Time) int { return t.Nanosecond() / 1e6 }
	}
	return nil
}

func durationPart(name string) func(time.Duration) int64 {
	switch name {
	case "getHours":
		return func(d time.Duration) int64 { return int64(d / time.Hour) }
	case "getMinutes":
		return func(d time.Duration) int64 { return int64(d / time.Minute) }
	case "getSeconds":
		return func(d time.Duration) int64 { return int64(d / time.Second) }
	case "getMilliseconds":
		return func(d time.Duration) int64 { return int64(d / time.Millisecond) }
	}
	return nil
}

// zone finds a time zone; nil with an error where there is none of that name.
func zone(name string) (*time.Location, penstock.Value) {
	h, m, isOffset := strings.Cut(name, ":")
	if !isOffset {
		loc, err := time.LoadLocation(name)
		if err != nil {
			return nil, ops.Errorf("no such time zone: %q", name)
		}
		return loc, penstock.Absent
	}
	sign := 1
	if h != "" && (h[0] == '-' || h[0] == '+') {
		if h[0] == '-' {
			sign = -1
		}
		h = h[1:]
	}
	hours, okH := twoDigits(h)
	minutes, okM := twoDigits(m)
	if !okH || !okM || hours > 23 || minutes > 59 {
		return nil, ops.Errorf("no such time zone: %q", name)
	}
	return time.FixedZone("", sign*(hours*3600+minutes*60)), penstock.Absent
}

func twoDigits(s string) (int, bool) {
	if len(s) < 1 || len(s) > 2 {
		return 0, false
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}
