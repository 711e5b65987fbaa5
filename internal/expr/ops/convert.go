package ops

import (
	"math"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
)

func badConversion(v penstock.Value, to string) penstock.Value {
	if v.IsError() {
		return v
	}
	return NoOverload(to, v)
}

func badText(v penstock.Value, to string) penstock.Value {
	return Errorf("%q is no %s", clip(append([]byte(nil), v.Str()...)), to)
}

// ToInt is CEL's int(v): numbers are cut toward zero, overflow is an error, text is read in base
// 10, a timestamp gives its Unix seconds, a duration its nanoseconds.
func ToInt(v penstock.Value) penstock.Value {
	switch v = Resolve(v, nil); v.Kind() {
	case penstock.KindInt:
		return v
	case penstock.KindUint:
		if v.Uint() > math.MaxInt64 {
			return errIntOverflow
		}
		return penstock.IntValue(int64(v.Uint()))
	case penstock.KindDouble:
		// Like cel-go, the bounds themselves are refused: −2^63 may be a rounded −2^63−1.
		if f := v.Double(); f > -1<<63 && f < 1<<63 {
			return penstock.IntValue(int64(f))
		}
		return errIntOverflow
	case penstock.KindDecimal:
		return decimalToInt(v.Decimal())
	case penstock.KindString:
		i, err := strconv.ParseInt(v.Str(), 10, 64)
		if err != nil {
			return badText(v, "int")
		}
		return penstock.IntValue(i)
	case penstock.KindTimestamp:
		return penstock.IntValue(v.Timestamp().Unix())
	case penstock.KindDuration:
		return penstock.IntValue(int64(v.Duration()))
	}
	return badConversion(v, "int")
}

// ToUint is CEL's uint(v).
func ToUint(v penstock.Value) penstock.Value {
	switch v = Resolve(v, nil); v.Kind() {
	case penstock.KindUint:
		return v
	case penstock.KindInt:
		if v.Int() < 0 {
			return errUintOverflow
		}
		return penstock.UintValue(uint64(v.Int()))
	case penstock.KindDouble:
		if f := v.Double(); f >= 0 && f < 1<<64 {
			return penstock.UintValue(uint64(f))
		}
		return errUintOverflow
	case penstock.KindDecimal:
		return decimalToUint(v.Decimal())
	case penstock.KindString:
		u, err := strconv.ParseUint(v.Str(), 10, 64)
		if err != nil {
			return badText(v, "uint")
		}
		return penstock.UintValue(u)
	}
	return badConversion(v, "uint")
}

// ToDouble is CEL's double(v); a decimal gives the nearest double.
func ToDouble(v penstock.Value) penstock.Value {
	switch v = Resolve(v, nil); v.Kind() {
	case penstock.KindDouble:
		return v
	case penstock.KindInt:
		return penstock.DoubleValue(float64(v.Int()))
	case penstock.KindUint:
		return penstock.DoubleValue(float64(v.Uint()))
	case penstock.KindDecimal:
		return decimalToDouble(v.Decimal())
	case penstock.KindString:
		f, err := strconv.ParseFloat(v.Str(), 64)
		if err != nil {
			return badText(v, "double")
		}
		return penstock.DoubleValue(f)
	}
	return badConversion(v, "double")
}

// ToBool is CEL's bool(v): text as strconv.ParseBool has it.
func ToBool(v penstock.Value) penstock.Value {
	switch v = Resolve(v, nil); v.Kind() {
	case penstock.KindBool:
		return v
	case penstock.KindString:
		b, err := strconv.ParseBool(v.Str())
		if err != nil {
			return badText(v, "bool")
		}
		return penstock.BoolValue(b)
	}
	return badConversion(v, "bool")
}

// ToBytes is CEL's bytes(v): the UTF-8 of a text.
func ToBytes(v penstock.Value) penstock.Value {
	switch v = Resolve(v, nil); v.Kind() {
	case penstock.KindBytes:
		return v
	case penstock.KindString:
		return penstock.BytesValue([]byte(v.Str()))
	}
	return badConversion(v, "bytes")
}

// ToTimestamp is CEL's timestamp(v): RFC 3339 text, or Unix seconds. The zone is forgotten.
func ToTimestamp(v penstock.Value) penstock.Value {
	switch v = Resolve(v, nil); v.Kind() {
	case penstock.KindTimestamp:
		return v
	case penstock.KindInt:
		if v.Int() < minUnix || v.Int() > maxUnix {
			return errTimeRange
		}
		return penstock.TimestampValue(time.Unix(v.Int(), 0))
	case penstock.KindString:
		t, ok := ParseTimestamp(v.Str())
		if !ok {
			return Errorf("%q is no RFC 3339 timestamp", clip(append([]byte(nil), v.Str()...)))
		}
		if s := t.Unix(); s < minUnix || s > maxUnix {
			return errTimeRange
		}
		return penstock.TimestampValue(t)
	}
	return badConversion(v, "timestamp")
}

// ToDuration is CEL's duration(v): text as time.ParseDuration has it.
func ToDuration(v penstock.Value) penstock.Value {
	switch v = Resolve(v, nil); v.Kind() {
	case penstock.KindDuration:
		return v
	case penstock.KindString:
		d, err := time.ParseDuration(v.Str())
		if err != nil {
			return badText(v, "duration")
		}
		return penstock.DurationValue(d)
	}
	return badConversion(v, "duration")
}

// ToDecimal is decimal(v): numbers exactly (a double by its shortest text), text as digits.
func ToDecimal(v penstock.Value) penstock.Value {
	switch v = Resolve(v, nil); v.Kind() {
	case penstock.KindDecimal:
		return v
	case penstock.KindInt:
		return penstock.DecimalValue(penstock.DecimalFromInt(v.Int()))
	case penstock.KindUint:
		return penstock.DecimalValue(penstock.DecimalFromUint(v.Uint()))
	case penstock.KindDouble:
		f := v.Double()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return Errorf("NaN and infinity are no decimals")
		}
		if t := v.NumberText(); t != "" {
			return parseDecimal(t)
		}
		var room [32]byte
		return parseDecimal(string(strconv.AppendFloat(room[:0], f, 'g', -1, 64)))
	case penstock.KindString:
		return parseDecimal(v.Str())
	}
	return badConversion(v, "decimal")
}

// ParseTimestamp reads RFC 3339 as strictly as CEL has it: upper-case T and Z, two-digit fields, a
// fraction after a point (beyond nanoseconds it is cut), an offset of at most 23:59. ok is false for
// anything else, and for days that do not exist.
func ParseTimestamp(s string) (t time.Time, ok bool) {
	if len(s) < 20 || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return t, false
	}
	year, a := digits(s[0:4])
	month, b := digits(s[5:7])
	day, c := digits(s[8:10])
	hour, d := digits(s[11:13])
	minute, e := digits(s[14:16])
	sec, g := digits(s[17:19])
	if !a || !b || !c || !d || !e || !g || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || sec > 59 ||
		day > daysIn(year, month) {
		return t, false
	}
	rest := s[19:]
	nsec := 0
	if rest[0] == '.' {
		i, unit := 1, 100_000_000
		for ; i < len(rest) && rest[i]-'0' < 10; i++ {
			nsec += int(rest[i]-'0') * unit
			unit /= 10
		}
		if i == 1 || i == len(rest) {
			return t, false
		}
		rest = rest[i:]
	}
	offset := 0
	switch {
	case rest == "Z":
	case len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':':
		h, a := digits(rest[1:3])
		m, b := digits(rest[4:6])
		if !a || !b || h > 23 || m > 59 {
			return t, false
		}
		offset = h*3600 + m*60
		if rest[0] == '-' {
			offset = -offset
		}
	default:
		return t, false
	}
	unix := daysSince1970(year, month, day)*86400 + int64(hour*3600+minute*60+sec-offset)
	return time.Unix(unix, int64(nsec)).UTC(), true
}

func digits(s string) (n int, ok bool) {
	for i := 0; i < len(s); i++ {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int(c)
	}
	return n, true
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSince1970 counts in the proleptic Gregorian calendar, with years that begin in March
// so that the leap day is last.
func daysSince1970(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := year / 400
	if year < 0 {
		era = (year - 399) / 400
	}
	yoe := year - era*400
	doy := (153*(month-3)+2)/5 + day - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return int64(era)*146097 + int64(doe) - 719468
}

// IsZero reports whether v is the zero or empty value of its kind, as optional.ofNonZeroValue
// asks.
func IsZero(v penstock.Value) bool {
	switch v = Resolve(v, nil); v.Kind() {
	case penstock.KindNull, penstock.KindAbsent:
		return true
	case penstock.KindBool:
		return !v.Bool()
	case penstock.KindInt, penstock.KindUint:
		return v.Uint() == 0
	case penstock.KindDouble:
		return v.Double() == 0
	case penstock.KindDecimal:
		return v.Decimal().CmpInt(0) == 0
	case penstock.KindString:
		return v.Str() == ""
	case penstock.KindBytes:
		return len(v.Bytes()) == 0
	case penstock.KindTimestamp:
		return v.Timestamp().IsZero()
	case penstock.KindDuration:
		return v.Duration() == 0
	case penstock.KindList, penstock.KindMap, penstock.KindNode:
		return Len(v) == 0
	case penstock.KindOptional:
		return v.Optional().IsAbsent()
	}
	return false
}

// ParseDuration reads CEL's form of a duration ("3.5s", Go's units) or ISO 8601's without years
// and months, whose length depends on the calendar ("PT1H30M", "P2DT5S", "P3W"). Parts of a
// nanosecond are cut.
func ParseDuration(s string) (d time.Duration, ok bool) {
	body, neg := strings.CutPrefix(s, "-")
	body, iso := strings.CutPrefix(body, "P")
	if !iso {
		d, err := time.ParseDuration(s)
		return d, err == nil
	}
	date, clock, hasClock := strings.Cut(body, "T")
	if date == "" && clock == "" || hasClock && clock == "" {
		return 0, false
	}
	total := penstock.Decimal{}
	if total, ok = addISO(total, date, "WD", []int64{604800, 86400}); !ok {
		return 0, false
	}
	if total, ok = addISO(total, clock, "HMS", []int64{3600, 60, 1}); !ok {
		return 0, false
	}
	nanos, ok := total.Trunc().Int()
	if neg {
		nanos = -nanos
	}
	return time.Duration(nanos), ok
}

// addISO adds the parts of one half of an ISO 8601 duration, in nanoseconds.
func addISO(total penstock.Decimal, part, units string, seconds []int64) (penstock.Decimal, bool) {
	for part != "" {
		i := strings.IndexFunc(part, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != ',' })
		if i <= 0 {
			return total, false
		}
		unit := strings.IndexByte(units, part[i])
		x, err := penstock.ParseDecimal(strings.Replace(part[:i], ",", ".", 1))
		if unit < 0 || err != nil {
			return total, false
		}
		if x, err = x.Mul(penstock.DecimalFromInt(seconds[unit] * 1e9)); err == nil {
			total, err = total.Add(x)
		}
		if err != nil {
			return total, false
		}
		part = part[i+1:]
	}
	return total, true
}
