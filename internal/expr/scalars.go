package expr

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"math"
	"strconv"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

func toDecimal(v ref.Val) ref.Val {
	var text string
	switch x := v.(type) {
	case decimalVal:
		return x
	case types.Int, types.Uint:
		d, _ := widenToDecimal(x)
		return d
	case textDouble:
		text = x.text
	case types.Double:
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return types.NewErr("NaN and infinity are no decimals")
		}
		text = strconv.FormatFloat(float64(x), 'g', -1, 64)
	case types.String:
		text = string(x)
	default:
		return noOverload("decimal", v)
	}
	d, err := penstock.ParseDecimal(text)
	if err != nil {
		return types.NewErr("decimal(%.40q): %w", text, err)
	}
	return decimalVal{d}
}

func roundDecimal(v, places ref.Val) ref.Val {
	n := places.(types.Int)
	if n > penstock.MaxDecimalDigits || n < -penstock.MaxDecimalDigits {
		return types.WrapErr(penstock.ErrDecimalLimit)
	}
	d, err := v.(decimalVal).d.Round(int(n))
	if err != nil {
		return types.WrapErr(err)
	}
	return decimalVal{d}
}

func absDecimal(v ref.Val) ref.Val { return decimalVal{v.(decimalVal).d.Abs()} }

func truncDecimal(v ref.Val) ref.Val { return decimalVal{v.(decimalVal).d.Trunc()} }

func floorDecimal(v ref.Val) ref.Val { return step(v.(decimalVal).d, -1) }

func ceilDecimal(v ref.Val) ref.Val { return step(v.(decimalVal).d, 1) }

// step cuts d and goes one on in the direction of sign if that cut anything on that side.
func step(d penstock.Decimal, sign int) ref.Val {
	t := d.Trunc()
	if d.Cmp(t) == sign {
		var err error
		if t, err = t.Add(penstock.DecimalFromInt(int64(sign))); err != nil {
			return types.WrapErr(err)
		}
	}
	return decimalVal{t}
}

// roundHalfUp rounds half away from zero, as math.round does with doubles.
func roundHalfUp(v ref.Val) ref.Val {
	d := v.(decimalVal).d
	half, err := penstock.ParseDecimal("0.5")
	if err != nil {
		return types.WrapErr(err)
	}
	if d.Sign() < 0 {
		half = half.Neg()
	}
	if d, err = d.Add(half); err != nil {
		return types.WrapErr(err)
	}
	return decimalVal{d.Trunc()}
}

// maskText hides a text but for its last keep characters, never more than half of it.
func maskText(v, keep ref.Val) ref.Val {
	s, n := string(v.(types.String)), int64(keep.(types.Int))
	if n < 0 {
		return types.NewErr("mask: cannot keep %d characters", n)
	}
	n = min(n, int64(utf8.RuneCountInString(s)/2))
	at := len(s)
	for ; n > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
	}
	return types.String("****" + s[at:])
}

func hashText(v, algorithm ref.Val) ref.Val {
	var b []byte
	switch x := v.(type) {
	case types.String:
		b = []byte(x)
	case types.Bytes:
		b = x
	}
	switch algorithm {
	case types.String("sha256"):
		sum := sha256.Sum256(b)
		return types.String(hex.EncodeToString(sum[:]))
	case types.String("sha512"):
		sum := sha512.Sum512(b)
		return types.String(hex.EncodeToString(sum[:]))
	}
	return types.NewErr("hash knows sha256 and sha512, not %q", algorithm.Value())
}

func jsonEncode(v ref.Val) ref.Val {
	b, err := fromRef(v).AppendJSON(nil)
	if err != nil {
		return types.WrapErr(err)
	}
	return types.String(b)
}

// jsonParse reads a JSON text; what is none gives optional.none().
func jsonParse(v ref.Val) ref.Val {
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, []byte(v.(types.String)))
	if d.Parse(jsonview.Limits{}) != nil {
		return types.OptionalNone
	}
	r := readDyn(d, 0, nil)
	if types.IsError(r) {
		return r
	}
	return types.OptionalOf(r)
}
