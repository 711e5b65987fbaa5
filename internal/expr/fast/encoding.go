package fast

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// encoder compiles cel-go's extension "encoders" (but YAML), and the profile's hash, mask, round,
// raw and uuid.
func (c *compiler) encoder(name string, xs []code) (code, bool, error) {
	switch {
	case (name == "base64.encode" || name == "base64.encodeUrl") && len(xs) == 1:
		enc := base64.StdEncoding
		if name == "base64.encodeUrl" {
			enc = base64.URLEncoding
		}
		return unary(xs[0], types.StringType, func(f *penstock.Frame, v penstock.Value) penstock.Value {
			if v = ops.Resolve(v, f.Arena); v.Kind() != penstock.KindBytes {
				return ops.NoOverload(name, v)
			}
			out := f.Arena.Alloc(enc.EncodedLen(len(v.Bytes())))
			enc.Encode(out, v.Bytes())
			return ops.TextValue(out)
		}), true, nil
	case name == "base64.decode" && len(xs) == 1:
		return str1(name, xs, types.BytesType, decodeWith(base64.StdEncoding, base64.RawStdEncoding)), true, nil
	case name == "base64.decodeUrl" && len(xs) == 1:
		return str1(name, xs, types.BytesType, decodeWith(base64.URLEncoding, base64.RawURLEncoding)), true, nil
	case name == "json.encode" && len(xs) == 1:
		in := xs[0].eval
		return code{typ: types.StringType, eval: func(f *penstock.Frame) penstock.Value {
			v := in(f)
			if v.IsError() {
				return v
			}
			out, err := v.AppendJSON(nil)
			if err != nil {
				return ops.WrapError(err)
			}
			return ops.TextValue(out)
		}}, true, nil
	case name == "json.parse" && len(xs) == 1:
		x := str1(name, xs, types.DynType, parseJSON)
		in := x.eval
		return newOptional(func(f *penstock.Frame) penstock.Value { return ops.Resolve(in(f), f.Arena) }, types.DynType), true, nil
	case name == "raw" && len(xs) == 1:
		return xs[0], true, nil
	}
	return c.privacy(name, xs)
}

func decodeWith(enc, unpadded *base64.Encoding) func(*penstock.Frame, string) penstock.Value {
	return func(_ *penstock.Frame, s string) penstock.Value {
		b, err := enc.DecodeString(s)
		if err != nil {
			b, err = unpadded.DecodeString(s)
		}
		if err != nil {
			return ops.Errorf("%.40q is no base64", s)
		}
		return penstock.BytesValue(b)
	}
}

// parseJSON reads a JSON text of its own; what is none is Absent.
func parseJSON(_ *penstock.Frame, s string) penstock.Value {
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, []byte(s))
	if d.Parse(jsonview.Limits{}) != nil {
		return penstock.Absent
	}
	return penstock.NodeValue(d, 0)
}

// privacy compiles what hides data or makes identities, and round.
func (c *compiler) privacy(name string, xs []code) (code, bool, error) {
	switch {
	case name == "mask" && len(xs) == 1:
		return str1(name, xs, types.StringType, func(f *penstock.Frame, s string) penstock.Value { return mask(f, s, 0) }), true, nil
	case name == "mask" && len(xs) == 2:
		return binary2(xs[0], xs[1], types.StringType, func(f *penstock.Frame, a, b penstock.Value) penstock.Value {
			a, b = ops.Resolve(a, f.Arena), ops.Resolve(b, f.Arena)
			if a.Kind() != penstock.KindString || b.Kind() != penstock.KindInt {
				return ops.NoOverload("mask", a, b)
			}
			return mask(f, a.Str(), b.Int())
		}), true, nil
	case name == "hash" && (len(xs) == 1 || len(xs) == 2):
		return nary(xs, types.StringType, hash), true, nil
	case name == "uuid" && len(xs) == 0:
		return code{typ: types.StringType, eval: func(f *penstock.Frame) penstock.Value {
			return penstock.StringValue(f.Runtime.UUID())
		}}, true, nil
	case name == "round" && len(xs) == 2:
		return binary2(xs[0], xs[1], types.DecimalType, func(f *penstock.Frame, a, b penstock.Value) penstock.Value {
			a, b = ops.Resolve(a, f.Arena), ops.Resolve(b, f.Arena)
			if a.Kind() != penstock.KindDecimal || b.Kind() != penstock.KindInt {
				return ops.NoOverload("round", a, b)
			}
			if n := b.Int(); n > penstock.MaxDecimalDigits || n < -penstock.MaxDecimalDigits {
				return ops.WrapError(penstock.ErrDecimalLimit)
			}
			d, err := a.Decimal().Round(int(b.Int()))
			if err != nil {
				return ops.WrapError(err)
			}
			return penstock.DecimalValue(d)
		}), true, nil
	}
	return code{}, false, nil
}

// mask hides a text but for its last characters, never more than half of it.
func mask(f *penstock.Frame, s string, keep int64) penstock.Value {
	if keep < 0 {
		return ops.Errorf("mask: cannot keep %d characters", keep)
	}
	at := len(s)
	for keep = min(keep, int64(utf8.RuneCountInString(s)/2)); keep > 0; keep-- {
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
	}
	out := append(f.Arena.Alloc(4 + len(s) - at)[:0], "****"...)
	return ops.TextValue(append(out, s[at:]...))
}

// hash is the hexadecimal SHA-256 or SHA-512 (FIPS 180-4) of a text or bytes.
func hash(f *penstock.Frame, vs []penstock.Value) penstock.Value {
	v := ops.Resolve(vs[0], f.Arena)
	var data []byte
	switch v.Kind() {
	case penstock.KindString:
		data = bytesOf(v.Str())
	case penstock.KindBytes:
		data = v.Bytes()
	default:
		return ops.NoOverload("hash", vs...)
	}
	algorithm := "sha256"
	if len(vs) == 2 {
		a := ops.Resolve(vs[1], f.Arena)
		if a.Kind() != penstock.KindString {
			return ops.NoOverload("hash", vs...)
		}
		algorithm = a.Str()
	}
	switch algorithm {
	case "sha256":
		sum := sha256.Sum256(data)
		return hexText(f, sum[:])
	case "sha512":
		sum := sha512.Sum512(data)
		return hexText(f, sum[:])
	}
	return ops.Errorf("hash knows sha256 and sha512, not %q", algorithm)
}

func hexText(f *penstock.Frame, b []byte) penstock.Value {
	out := f.Arena.Alloc(hex.EncodedLen(len(b)))
	hex.Encode(out, b)
	return ops.TextValue(out)
}
