package reference

import (
	"fmt"
	"strings"

	"penstock.dev/penstock/internal/expr"
)

// example shows what a function gives. A test evaluates it, and holds that every function has one.
type example struct {
	name   string
	group  string // where the function stands on the page
	source string
	result string // JSON
}

const (
	groupAdded    = "Added by Penstock"
	groupBasic    = "Values and types"
	groupText     = "Text"
	groupMath     = "Numbers"
	groupLists    = "Lists and maps"
	groupMacros   = "Going through lists and maps"
	groupTime     = "Time"
	groupOptional = "Absent values"
	groupCoding   = "Encodings and patterns"
)

// examples stand in the order of the page.
var examples = []example{
	{"sum", groupAdded, "[1, 2, 3].sum()", "6"},
	{"avg", groupAdded, "[1.0, 2.0].avg()", "1.5"},
	{"min", groupAdded, "[3, 1, 2].min()", "1"},
	{"max", groupAdded, "[3, 1, 2].max()", "3"},
	{"groupBy", groupAdded, "[1, 2, 3].groupBy(x, x % 2 == 0)", `[{"key":false,"items":[1,3]},{"key":true,"items":[2]}]`},
	{"mask", groupAdded, `mask("4111111111111111", 4)`, `"****1111"`},
	{"hash", groupAdded, `hash("a").size()`, "64"},
	{"uuid", groupAdded, "uuid().size()", "36"},
	{"decimal", groupAdded, `decimal("0.1") + decimal("0.2")`, "0.3"},
	{"raw", groupAdded, `raw("a/b")`, `"a/b"`},

	{"int", groupBasic, `int("42")`, "42"},
	{"uint", groupBasic, `uint("42")`, "42"},
	{"double", groupBasic, `double("1.5")`, "1.5"},
	{"string", groupBasic, "string(1.5)", `"1.5"`},
	{"bytes", groupBasic, `bytes("é").size()`, "2"},
	{"bool", groupBasic, `bool("true")`, "true"},
	{"type", groupBasic, "type(1) == int", "true"},
	{"dyn", groupBasic, "dyn(1)", "1"},
	{"size", groupBasic, `size("é☃")`, "2"},
	{"has", groupBasic, `has({"a": null}.a)`, "true"},

	{"contains", groupText, `"penstock".contains("sto")`, "true"},
	{"startsWith", groupText, `"penstock".startsWith("pen")`, "true"},
	{"endsWith", groupText, `"penstock".endsWith("stock")`, "true"},
	{"charAt", groupText, `"penstock".charAt(3)`, `"s"`},
	{"indexOf", groupText, `"banana".indexOf("an")`, "1"},
	{"lastIndexOf", groupText, `"banana".lastIndexOf("an")`, "3"},
	{"substring", groupText, `"penstock".substring(3, 6)`, `"sto"`},
	{"split", groupText, `"a,b,c".split(",")`, `["a","b","c"]`},
	{"join", groupText, `["a", "b"].join("-")`, `"a-b"`},
	{"replace", groupText, `"banana".replace("an", "o")`, `"booa"`},
	{"trim", groupText, `"  a ".trim()`, `"a"`},
	{"lowerAscii", groupText, `"ABC".lowerAscii()`, `"abc"`},
	{"upperAscii", groupText, `"abc".upperAscii()`, `"ABC"`},
	{"reverse", groupText, `"abc".reverse()`, `"cba"`},
	{"format", groupText, `"%s has %d".format(["a", 3])`, `"a has 3"`},
	{"strings.quote", groupText, `strings.quote("a\nb")`, `"\"a\\nb\""`},

	{"math.abs", groupMath, "math.abs(-3)", "3"},
	{"math.sign", groupMath, "math.sign(-3)", "-1"},
	{"math.ceil", groupMath, "math.ceil(1.2)", "2"},
	{"math.floor", groupMath, "math.floor(1.8)", "1"},
	{"math.round", groupMath, "math.round(1.5)", "2"},
	{"math.trunc", groupMath, "math.trunc(-1.8)", "-1"},
	{"round", groupMath, `round(decimal("1.005"), 2)`, "1.00"},
	{"math.greatest", groupMath, "math.greatest(1, 3, 2)", "3"},
	{"math.least", groupMath, "math.least(1, 3, 2)", "1"},
	{"math.sqrt", groupMath, "math.sqrt(9.0)", "3"},
	{"math.isNaN", groupMath, "math.isNaN(0.0 / 0.0)", "true"},
	{"math.isFinite", groupMath, "math.isFinite(1.0)", "true"},
	{"math.bitAnd", groupMath, "math.bitAnd(6, 3)", "2"},
	{"math.bitOr", groupMath, "math.bitOr(6, 3)", "7"},
	{"math.bitXor", groupMath, "math.bitXor(6, 3)", "5"},
	{"math.bitNot", groupMath, "math.bitNot(0)", "-1"},
	{"math.bitShiftLeft", groupMath, "math.bitShiftLeft(1, 3)", "8"},
	{"math.bitShiftRight", groupMath, "math.bitShiftRight(8, 3)", "1"},
	{"math.isInf", groupMath, "math.isInf(1.0 / 0.0)", "true"},

	{"distinct", groupLists, "[1, 2, 1].distinct()", "[1,2]"},
	{"flatten", groupLists, "[[1], [2, 3]].flatten()", "[1,2,3]"},
	{"slice", groupLists, "[1, 2, 3].slice(1, 3)", "[2,3]"},
	{"sort", groupLists, "[3, 1, 2].sort()", "[1,2,3]"},
	{"sortBy", groupLists, `["bb", "a"].sortBy(x, x.size())`, `["a","bb"]`},
	{"first", groupLists, "[1, 2].first().orValue(0)", "1"},
	{"last", groupLists, "[1, 2].last().orValue(0)", "2"},
	{"lists.range", groupLists, "lists.range(3)", "[0,1,2]"},
	{"sets.contains", groupLists, "sets.contains([1, 2, 3], [3, 1])", "true"},
	{"sets.equivalent", groupLists, "sets.equivalent([1, 2], [2, 1, 1])", "true"},
	{"sets.intersects", groupLists, "sets.intersects([1, 2], [2, 3])", "true"},
	{"hasAll", groupLists, "[1, 2, 3].hasAll([1, 3])", "true"},
	{"hasAny", groupLists, "[1, 2].hasAny([2, 9])", "true"},
	{"hasExactly", groupLists, "[1, 2].hasExactly([2, 1])", "true"},
	{"hasOnly", groupLists, "[1, 1].hasOnly([1, 2])", "true"},

	{"all", groupMacros, "[1, 2].all(x, x > 0)", "true"},
	{"exists", groupMacros, "[1, 2].exists(x, x > 1)", "true"},
	{"exists_one", groupMacros, "[1, 2].exists_one(x, x > 1)", "true"},
	{"filter", groupMacros, "[1, 2].filter(x, x > 1)", "[2]"},
	{"map", groupMacros, "[1, 2].map(x, x * 2)", "[2,4]"},
	{"transformList", groupMacros, `["a", "b"].transformList(i, v, v + string(i))`, `["a0","b1"]`},
	{"transformMap", groupMacros, `{"a": 1}.transformMap(k, v, v + 1)`, `{"a":2}`},
	{"transformMapEntry", groupMacros, `{"a": 1}.transformMapEntry(k, v, {k + "x": v})`, `{"ax":1}`},
	{"cel.bind", groupMacros, "cel.bind(x, 2 + 3, x * x)", "25"},
	{"existsOne", groupMacros, "[5, 6].existsOne(i, x, i == 0 && x == 5)", "true"},

	{"timestamp", groupTime, `timestamp("2010-12-01T08:26:00Z").getFullYear()`, "2010"},
	{"duration", groupTime, `duration("90s") > duration("1m")`, "true"},
	{"getFullYear", groupTime, `timestamp("2010-12-31T23:30:00Z").getFullYear("Europe/Berlin")`, "2011"},
	{"getMonth", groupTime, `timestamp("2010-12-01T08:26:00Z").getMonth()`, "11"},
	{"getDate", groupTime, `timestamp("2010-12-01T08:26:00Z").getDate()`, "1"},
	{"getDayOfWeek", groupTime, `timestamp("2010-12-01T08:26:00Z").getDayOfWeek()`, "3"},
	{"getDayOfYear", groupTime, `timestamp("2010-12-01T08:26:00Z").getDayOfYear()`, "334"},
	{"getHours", groupTime, `timestamp("2010-12-01T08:26:00Z").getHours()`, "8"},
	{"getMinutes", groupTime, `timestamp("2010-12-01T08:26:00Z").getMinutes()`, "26"},
	{"getSeconds", groupTime, `duration("1m30s").getSeconds()`, "90"},
	{"getDayOfMonth", groupTime, `timestamp("2010-12-01T08:26:00Z").getDayOfMonth()`, "0"},
	{"getMilliseconds", groupTime, `timestamp("2010-12-01T08:26:00.250Z").getMilliseconds()`, "250"},

	{"orValue", groupOptional, `{"a": 1}.?b.orValue(0)`, "0"},
	{"or", groupOptional, `{"a": 1}.?b.or({"b": 2}.?b).orValue(0)`, "2"},
	{"hasValue", groupOptional, `{"a": 1}.?a.hasValue()`, "true"},
	{"value", groupOptional, `{"a": 1}.?a.value()`, "1"},
	{"optMap", groupOptional, `{"a": 1}.?a.optMap(x, x + 1).orValue(0)`, "2"},
	{"optFlatMap", groupOptional, `{"a": {"b": 1}}.?a.optFlatMap(x, x.?b).orValue(0)`, "1"},
	{"optional.of", groupOptional, "optional.of(1).orValue(0)", "1"},
	{"optional.none", groupOptional, "optional.none().orValue(0)", "0"},
	{"optional.ofNonZeroValue", groupOptional, `optional.ofNonZeroValue("").orValue("x")`, `"x"`},
	{"optional.unwrap", groupOptional, "optional.unwrap([optional.of(1), optional.none()])", "[1]"},
	{"unwrapOpt", groupOptional, "[optional.of(1), optional.none()].unwrapOpt()", "[1]"},

	{"base64.encode", groupCoding, `base64.encode(b"abc")`, `"YWJj"`},
	{"base64.decode", groupCoding, `string(base64.decode("YWJj"))`, `"abc"`},
	{"json.encode", groupCoding, `json.encode({"a": [1]})`, `"{\"a\":[1]}"`},
	{"json.parse", groupCoding, `json.parse("[1]").orValue([])[0]`, "1"},
	{"matches", groupCoding, `"C536365".matches("^C[0-9]+$")`, "true"},
	{"regex.replace", groupCoding, `regex.replace("a1b22", "[0-9]+", "#")`, `"a#b#"`},
	{"regex.extract", groupCoding, `regex.extract("item 42", "([0-9]+)").orValue("")`, `"42"`},
	{"regex.extractAll", groupCoding, `regex.extractAll("a1b22", "[0-9]+")`, `["1","22"]`},
	{"base64.encodeUrl", groupCoding, `base64.encodeUrl(b"\xff\xfe")`, `"__4="`},
	{"base64.decodeUrl", groupCoding, `base64.decodeUrl("__4=").size()`, "2"},
}

func functionsPage() string {
	known := map[string]expr.Function{}
	for _, f := range expr.Functions() {
		known[f.Name] = f
	}
	var b strings.Builder
	b.WriteString(generatedMark + "# Functions of expressions\n\nExpressions are [CEL](https://cel.dev) with the profile of this version. Beside these stand the operators " +
		"`+ - * / %`, `== != < <= > >=`, `&& ||`, `!`, `a ? b : c`, `in`, `.field`, `.?field`, `[key]` and `[?key]`.\n")
	group := ""
	for _, e := range examples {
		if e.group != group {
			group = e.group
			b.WriteString("\n## " + group + "\n\n| written | gives | example | |\n|---|---|---|---|\n")
		}
		f := known[e.name]
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | `%s` |\n", code(f.Signature), cell(f.Doc), code(e.source), code(e.result))
	}
	return b.String()
}

// code makes text fit between backticks in a table, where only the bar has a meaning.
func code(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
