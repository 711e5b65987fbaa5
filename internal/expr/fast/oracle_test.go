package fast_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/fast"
	"penstock.dev/penstock/internal/expr/ops"
	ptypes "penstock.dev/penstock/types"
)

// expressions are evaluated by cel-go as well; no body has a type.
var expressions = []string{
	// && and || absorb errors on either side.
	`1/0 > 0 && false`, `false && 1/0 > 0`, `1/0 > 0 || true`, `true || 1/0 > 0`, `1/0 > 0 && true`, `1/0 > 0 || false`, `!(1/0 > 0)`,
	`body.any.s && false`, `body.any.s || true`, `body.any.s && true`, `body.any.b && body.any.s`, `body.any.b || body.any.s`, `true ? 1 : 1/0`, `body.any.s ? 1 : 2`,
	`[1, 0].all(x, 1/x > 0)`, `[0, -1].all(x, 1/x > 0)`, `[0, 1].exists(x, 1/x > 0)`, `[0].exists(x, 1/x > 0)`, `[1, 0].exists_one(x, 1/x > 0)`, `[1, 2, 3].exists_one(x, x > 2)`,
	`[1, 2].map(x, 1/(x-1))`, `[1, 2, 3].filter(x, x > 1)`, `[1, 2, 3].map(x, x > 1, x * 2)`, `{"a": 1, "b": 2}.all(k, k < "c")`, `{"a": 1}.map(k, k)`,
	`[[1, 2], [3]].all(l, l.exists(x, x > 1))`, `[1, 2].map(x, [3, 4].map(y, x * y))`, `body.lines.map(l, l.sku)`, `body.lines.filter(l, l.quantity > 1).size()`,
	`body.lines.exists(l, l.sku == "y")`, `body.lines.all(l, l.price > 1)`, `body.tags.exists(t, t == "ü")`, `body.rates.all(k, body.rates[k] >= 1)`,
	`[1, 2].transformList(i, v, i + v)`, `[1, 2].transformList(i, v, i > 0, v)`, `{"a": 1}.transformMap(k, v, v + 1)`, `{"a": 1, "b": 2}.transformMap(k, v, v > 1, v)`,
	`["x", "y"].transformMapEntry(i, v, {v: i})`, `["x", "x"].transformMapEntry(i, v, {v: i})`, `[1, 2].all(i, v, v > i)`, `{"a": 1}.exists(k, v, k == "a" && v == 1)`, `[3, 4].existsOne(i, v, v > 3)`,
	`body.any.l.transformList(i, v, i)`, `body.any.o.transformMap(k, v, 1)`, `cel.bind(x, body.any.i, x + x)`, `cel.bind(x, 1/0, true || x == 1)`, `cel.bind(x, body.?q, x.orValue(1))`,
	// Arithmetic.
	`9223372036854775807 + 1`, `-9223372036854775808 - 1`, `9223372036854775807 * 2`, `-9223372036854775808 / -1`, `-9223372036854775808 % -1`, `7 / 2`, `-7 / 2`, `-7 % 3`, `5 % 0`, `5 / 0`,
	`-(-9223372036854775808)`, `3037000500 * 3037000500`, `-3037000500 * 3037000500`, `1u + 2u`, `1u - 2u`, `18446744073709551615u + 1u`, `18446744073709551615u * 2u`, `5u / 0u`, `5u % 0u`,
	`1.5 + 2.5`, `1.0 / 0.0`, `-1.5`, `0.1 + 0.2`, `"a" + "b"`, `"" + "b"`, `b"a" + b"b"`, `[1] + [2, 3]`, `[] + [1]`, `body.tags + ["z"]`, `body.any.i + body.any.i`, `body.any.i + body.any.s`, `body.any.s + body.any.s`,
	`duration("1h") + duration("30m")`, `timestamp("2024-01-01T00:00:00Z") - duration("1s")`, `duration("1s") + timestamp("2024-01-01T00:00:00Z")`,
	`timestamp("9999-12-31T23:59:59Z") + duration("1s")`, `timestamp("0001-01-01T00:00:00Z") - timestamp("9999-12-31T23:59:59Z")`,
	// Comparisons.
	`1 < 2`, `dyn(1) < 1.5`, `dyn(2u) > 1`, `dyn(1.5) >= 1u`, `dyn(-1) < 0u`, `"a" < "b"`, `b"a" < b"b"`, `false < true`, `dyn(1) == 1.0`, `dyn(1u) == 1`, `dyn(1) == "1"`, `null == null`, `[1, 2] == [1.0, 2u]`, `[1] == [2]`,
	`dyn({"a": 1}) == {"a": 1.0}`, `dyn({1: 2}) == {1u: 2}`, `{"a": 1} == {"b": 1}`, `body.any == body.any`, `body.any.l == [1, 2.5, "x", [3]]`, `body.any.o == {"k": {"z": 1}}`, `body.lines[0] == body.lines[1]`,
	`timestamp("2024-01-01T00:00:00Z") < timestamp("2024-01-01T00:00:00.1Z")`, `duration("1s") == duration("1000ms")`, `type(1) == int`, `type(body.any.l) == list`, `type(type(1)) == type`,
	`dyn(1) in [1.0]`, `"a" in ["b"]`, `"a" in ["a", "b", "c", "d", "e", "f", "g", "h", "i"]`, `"z" in ["a", "b", "c", "d", "e", "f", "g", "h", "i"]`, `"k" in {"k": 1}`, `dyn(1u) in {1: 2}`, `body.any.i in [7]`, `"b" in body.any`,
	`body.id in ["A-1", 3]`, `body.any.i in ["7"]`, `{1: "a"}[dyn(1u)]`, `{1: "a"}[dyn(1.0)]`, `{1u: "a"}[dyn(1)]`, `{true: 1}[true]`, `[1, 2][dyn(1u)]`, `[1, 2][dyn(1.0)]`, `[1, 2][dyn(1.5)]`, `[1][1]`, `[1][-1]`, `{"a": 1}["b"]`,
	// Strings, in code points.
	`size("héé€😀")`, `"😀x".charAt(1)`, `"😀x".indexOf("x")`, `"a😀b😀".lastIndexOf("😀")`, `"😀ab".substring(1)`, `"😀ab".substring(1, 2)`, `"ab".substring(3)`, `"ab".substring(2, 1)`, `"ab".charAt(2)`, `"ab".charAt(3)`,
	`"abcabc".indexOf("c", 3)`, `"abc".indexOf("", 5)`, `"abc".indexOf("z")`, `"abc".indexOf("a", -1)`, `"abcabc".lastIndexOf("b", 3)`, `"abc".lastIndexOf("")`, `"abc".lastIndexOf("", 1)`, `"abc".lastIndexOf("c", 9)`, `"ab".lastIndexOf("abc")`, `"aaa".lastIndexOf("aa", 1)`,
	`"ÄbC".lowerAscii()`, `"äbC".upperAscii()`, `" x\t".trim()`, `"a,b".split(",")`, `"a,b,c".split(",", 2)`, `"abc".split("")`, `"a".split(",", 0)`, `"aXbX".replace("X", "-")`, `"aXbX".replace("X", "-", 1)`, `["a", "b"].join("-")`, `["a"].join()`, `[].join(",")`,
	`body.tags.join()`, `body.lines.map(l, l.sku).join(",")`, `["a", 1].join()`, `"añ😀".reverse()`, `[1, 2].reverse()`, `strings.quote("a\"\n")`, `"abc".contains("b")`, `"abc".startsWith("ab")`, `"abc".endsWith("bc")`, `"abc".matches("^a.c$")`, `"abc".matches("(")`,
	`body.id.matches("^" + "A")`, `body.any.i.startsWith("x")`, `regex.extract("a1b2", "[0-9]").value()`, `regex.extract("ab", "[0-9]").hasValue()`, `regex.extractAll("a1b2", "([0-9])")`, `regex.replace("a1b2", "([a-z])([0-9])", "\\2\\1")`, `regex.replace("a1b2", "[0-9]", "#", 1)`, `regex.replace("a", "a", "\\9")`,
	// Arguments that vary.
	`body.id.contains(body.any.s)`, `body.id.startsWith(body.any.i)`, `"s".endsWith(body.any.s)`, `"xsx".matches(body.any.s)`, `"x".matches(body.any.s + "(")`, `regex.extract("xsx", body.any.s).value()`, `regex.extract("x(s)", "(" + body.any.s)`, `regex.extractAll("ss", body.any.s)`, `regex.extract("ab", "(a)(b)")`,
	`regex.extract("ab", "(z)?a")`, `regex.replace("s", body.any.s, "t")`, `regex.replace("s", "s", "\\\\")`, `regex.replace("s", "s", "x\\")`, `regex.replace("s", "s", "\\x")`, `regex.replace("sss", "s", "t", 0)`, `"a,b".split(body.any.s)`, `timestamp("2024-02-29T12:30:45Z").getHours(body.any.s)`, `timestamp("2024-02-29T12:30:45Z").getHours("+" + "01:00")`,
	`timestamp("2024-02-29T12:30:45Z").getHours("24:00")`, `timestamp("2024-02-29T12:30:45Z").getDate("x:00")`, `body.any.i.getHours()`, `[dyn(1), 2].join(body.any.s)`, `-body.any.i`, `-body.any.d`, `-body.any.s`, `math.sign(0.0/0.0)`, `math.sign(-3)`, `math.sign(0.0)`, `math.sqrt(body.any.s)`, `math.bitNot(3u)`, `math.bitAnd(1, body.any.d)`, `math.least(2u, 1)`,
	`math.abs(2u)`, `math.abs(-1.5)`, `math.greatest([1].filter(x, x > 1))`, `math.least([dyn("a")])`, `body.any.l.map(x, string(x))`, `(body.any.b ? [1] : body.any.l).size()`, `(body.any.b ? body.?x : body.?id).value()`, `cel.bind(x, body.any.o, x.k.z)`, `[body.any.o, {"k": 1}].map(x, x.k)`, `lists.range(-1)`, `body.any.l.slice(1, 3)`, `body.any.s.flatten()`, `body.any.i.sort()`, `[1].flatten(-1)`,
	// Conversions.
	`int("12")`, `int("x")`, `int(1.9)`, `int(-1.9)`, `int(1e19)`, `int(5u)`, `int(18446744073709551615u)`, `uint(-1)`, `uint(2.9)`, `uint("7")`, `double("1.5")`, `double(3)`, `double("x")`, `string(1.0)`, `string(1e6)`, `string(1e21)`, `string(0.1)`, `string(5u)`, `string(true)`,
	`string(b"\xff")`, `string(b"ok")`, `bytes("é")`, `bool("true")`, `bool("TRUE")`, `bool("yes")`, `string(duration("1h1.5s"))`, `string(timestamp("2024-01-01T00:00:00.120Z"))`, `int(timestamp("2024-01-01T00:00:00Z"))`, `int(duration("1s"))`, `timestamp(0)`, `timestamp("2024-13-01T00:00:00Z")`,
	`timestamp("2024-02-29T23:59:60Z")`, `timestamp("2024-02-30T00:00:00Z")`, `timestamp("2024-01-01t00:00:00Z")`, `timestamp("2024-01-01T00:00:00")`, `timestamp("2024-01-01T00:00:00.123456789999Z")`, `timestamp(253402300800)`, `duration("x")`, `dyn(1) + 1`, `string(body.any.d)`, `string(null)`, `string(dyn([1]))`,
	// Times.
	`timestamp("2024-02-29T12:30:45.678Z").getFullYear()`, `timestamp("2024-02-29T12:30:45.678Z").getMonth()`, `timestamp("2024-02-29T12:30:45.678Z").getDayOfYear()`, `timestamp("2024-02-29T12:30:45.678Z").getDayOfMonth()`, `timestamp("2024-02-29T12:30:45.678Z").getDate()`,
	`timestamp("2024-02-29T12:30:45.678Z").getDayOfWeek()`, `timestamp("2024-02-29T12:30:45.678Z").getHours()`, `timestamp("2024-02-29T23:30:45.678Z").getHours("+02:30")`, `timestamp("2024-02-29T12:30:45.678Z").getMinutes("-02:30")`, `timestamp("2024-02-29T12:30:45.678Z").getHours("America/New_York")`,
	`timestamp("2024-02-29T12:30:45.678Z").getSeconds()`, `timestamp("2024-02-29T12:30:45.678Z").getMilliseconds()`, `timestamp("2024-02-29T12:30:45.678Z").getHours("Nowhere")`, `duration("3725.5s").getHours()`, `duration("3725.5s").getMinutes()`, `duration("3725.5s").getSeconds()`, `duration("3725.5s").getMilliseconds()`, `dyn(duration("1s")).getDate()`,
	// Lists, sets, math, encoders.
	`size([1, 2])`, `size({"a": 1})`, `size(b"ab")`, `body.any.l.size()`, `body.any.i.size()`, `[1, 2, 3].slice(1, 2)`, `[1].slice(0, 2)`, `[[1], [2, [3]]].flatten()`, `[[1], [2, [3]]].flatten(2)`, `[3, 1, 2].sort()`, `["b", "a"].sort()`, `[1, "a"].sort()`, `[1, 2, 1].distinct()`, `lists.range(3)`,
	`[{"n": 2}, {"n": 1}].sortBy(e, e.n)`, `body.lines.sortBy(l, l.quantity).map(l, l.sku)`, `sets.contains([dyn(1), 2], [2.0])`, `sets.intersects([1], [2])`, `sets.equivalent([1, 1], [1])`, `[1, 2].hasAll([1])`, `[1].hasOnly([1, 2])`, `[1].hasAny([2, 1])`, `[1].hasExactly([1])`,
	`math.greatest(1, 2.5, 2u)`, `math.least([3, 1, 2])`, `math.greatest(1)`, `math.ceil(1.2)`, `math.floor(-1.2)`, `math.round(-2.5)`, `math.trunc(-1.9)`, `math.abs(-3)`, `math.abs(-9223372036854775808)`, `math.sign(-2.0)`, `math.sign(3u)`, `math.sqrt(4)`, `math.isNaN(0.0/0.0)`, `math.isInf(1.0/0.0)`, `math.isFinite(1.0)`,
	`math.bitAnd(6, 3)`, `math.bitOr(6u, 1u)`, `math.bitXor(6, 3)`, `math.bitNot(0)`, `math.bitShiftLeft(1, 3)`, `math.bitShiftRight(-8, 1)`, `math.bitShiftLeft(1, 64)`, `math.bitShiftLeft(1, -1)`,
	`base64.encode(b"hi")`, `base64.decode("aGk")`, `base64.decode("aGk=")`, `base64.decode("!")`,
	// Absence.
	`body.nothing`, `has(body.nothing)`, `has(body.any.n)`, `has(body.any.n.x)`, `has(body.any.s.x)`, `has(body.nothing.x)`, `body.?nothing.orValue(1)`, `body.?any.?n.hasValue()`, `body.?any.n.x.hasValue()`, `body.any.?s.?x.hasValue()`, `body.any.l[?9].hasValue()`, `body.any.l[?0].value()`, `body[?"any"].i.value()`,
	`{"a": 1}.?b.hasValue()`, `{?"a": optional.none()}`, `{?"a": optional.of(1)}`, `[?optional.none(), 1]`, `optional.none().value()`, `optional.of(1).hasValue(1)`, `optional.none() == optional.none()`, `dyn(optional.of(1)) == optional.of(1.0)`, `optional.of(1) != optional.none()`, `optional.of(1).or(optional.none()).value()`,
	`{"b": 1, "a": 2}`, `body.any.l[0] + 1`, `body.lines[1].sku + "!"`, `body["id"]`, `body.any.l["x"]`, `body.any.l[body.any.d]`, `body.tags[int("1")]`, `body[body.any.s]`, `body.any.l.?x`, `has(body.any.l.x)`,
}

// TestDuplicateKeys: unlike cel-go, a map literal refuses them, as the specification has it.
func TestDuplicateKeys(t *testing.T) {
	for _, src := range []string{`{"a": 1, "a": 2}`, `{1: 1, 1u: 2}`} {
		if v := compile(t, newEnv(t), src, ptypes.DynType).Eval(newFrame(sample)); !v.IsError() {
			t.Errorf("%s gave %s", src, show(v))
		}
	}
}

// TestOracle compares with cel-go: the same value, or an error on both sides.
func TestOracle(t *testing.T) {
	env := newEnv(t)
	d := json.NewDecoder(bytes.NewReader([]byte(sample)))
	d.UseNumber()
	var body any
	if err := d.Decode(&body); err != nil {
		t.Fatal(err)
	}
	native := map[string]any{"body": numbers(body), "item": 9}
	refused := 0
	for _, src := range expressions {
		a, iss := env.Compile(src)
		if iss.Err() != nil {
			t.Errorf("%s: %v", src, iss.Err())
			continue
		}
		prg, err := env.Program(a)
		if err != nil { // cel-go sees constant patterns earlier than we do
			continue
		}
		out, _, err := prg.Eval(native)
		want := "error"
		if err == nil {
			want = text(out)
		}
		p, err := fast.Compile(fast.Input{AST: a.NativeRep(), Scope: bodyScope(ptypes.DynType)})
		if err != nil {
			t.Logf("%s: %v", src, err)
			refused++
			continue
		}
		got := ours(p.Eval(newFrame(sample)))
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
	if refused > 0 {
		t.Errorf("%d expressions are not supported", refused)
	}
}

// numbers gives ints where the text has them.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	}
	return v
}

// text shows a cel-go value with its kind.
func text(v ref.Val) string {
	switch v := v.(type) {
	case *types.Optional:
		if !v.HasValue() {
			return "none"
		}
		return "some(" + text(v.GetValue()) + ")"
	case traits.Lister:
		s := "["
		for it := v.Iterator(); it.HasNext() == types.True; {
			s += text(it.Next()) + " "
		}
		return s + "]"
	case traits.Mapper:
		m := map[string]string{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			k := it.Next()
			m[text(k)] = text(v.Get(k))
		}
		return fmt.Sprint(m)
	case types.Bytes:
		return fmt.Sprintf("bytes %x", []byte(v))
	case types.Timestamp:
		return "timestamp " + v.UTC().String()
	case types.Null:
		return "null"
	case *types.Type:
		return "type " + v.TypeName()
	}
	return v.Type().TypeName() + " " + fmt.Sprint(v.Value())
}

// ours shows one of our values the same way.
func ours(v penstock.Value) string {
	v = ops.Resolve(v, nil)
	switch v.Kind() {
	case penstock.KindError:
		return "error"
	case penstock.KindAbsent:
		return "none"
	case penstock.KindOptional:
		if v.Optional().IsAbsent() {
			return "none"
		}
		return "some(" + ours(v.Optional()) + ")"
	case penstock.KindNull:
		return "null"
	case penstock.KindBool:
		return fmt.Sprint("bool ", v.Bool())
	case penstock.KindInt:
		return fmt.Sprint("int ", v.Int())
	case penstock.KindUint:
		return fmt.Sprint("uint ", v.Uint())
	case penstock.KindDouble:
		return fmt.Sprint("double ", v.Double())
	case penstock.KindString:
		return "string " + v.Str()
	case penstock.KindBytes:
		return fmt.Sprintf("bytes %x", v.Bytes())
	case penstock.KindTimestamp:
		return "timestamp " + v.Timestamp().String()
	case penstock.KindDuration:
		return "google.protobuf.Duration " + v.Duration().String()
	case penstock.KindType:
		return "type " + v.Str()
	}
	if ops.IsList(v) {
		s := "["
		it := ops.Elems(v)
		for e, more := it.Next(); more; e, more = it.Next() {
			s += ours(e) + " "
		}
		return s + "]"
	}
	m := map[string]string{}
	it := ops.Entries(v)
	for k, e, more := it.Next(); more; k, e, more = it.Next() {
		m[ours(k)] = ours(e)
	}
	return fmt.Sprint(m)
}
