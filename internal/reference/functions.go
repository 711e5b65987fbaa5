package reference

import (
	"fmt"
	"strings"
)

// Function is what may be called in an expression. A test evaluates the examples.
type Function struct {
	Name    string // as it is called, without its arguments
	Group   string // where it stands on the page
	Use     string // how it is called
	Doc     string
	Example string
	Result  string // of Example, as JSON; empty where it varies
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

// Functions lists the functions and macros of the profile, in the order of the page. The list is not to be changed.
func Functions() []Function { return functions }

var functions = []Function{
	{"sum", groupAdded, "list.sum()", "Sum of a list of numbers; 0 of an empty one. Decimals are exact.", "[1, 2, 3].sum()", "6"},
	{"avg", groupAdded, "list.avg()", "Mean of a list of numbers. An empty list is an error.", "[1.0, 2.0].avg()", "1.5"},
	{"min", groupAdded, "list.min()", "Least element of a list. An empty list is an error.", "[3, 1, 2].min()", "1"},
	{"max", groupAdded, "list.max()", "Greatest element of a list. An empty list is an error.", "[3, 1, 2].max()", "3"},
	{"groupBy", groupAdded, "list.groupBy(x, key)", "Groups of the elements with the same key, in the order in which they first come: a list of {key, items}.", "[1, 2, 3].groupBy(x, x % 2 == 0)", `[{"key":false,"items":[1,3]},{"key":true,"items":[2]}]`},
	{"mask", groupAdded, "mask(text), mask(text, n)", "Four asterisks, whatever the length, and the last n characters of the text, at most half of it.", `mask("4111111111111111", 4)`, `"****1111"`},
	{"hash", groupAdded, "hash(text), hash(text, algorithm)", "Hexadecimal digest of text or bytes: sha256 (the default) or sha512.", `hash("a").size()`, "64"},
	{"uuid", groupAdded, "uuid()", "A new random identity (RFC 9562, version 4).", "uuid().size()", "36"},
	{"decimal", groupAdded, "decimal(number or text)", "An exact decimal number.", `decimal("0.1") + decimal("0.2")`, "0.3"},
	{"raw", groupAdded, "raw(value)", "The value as it is, where an interpolation would be encoded for its place. `check` says where it stands.", `raw("a/b")`, `"a/b"`},

	{"int", groupBasic, "int(value)", "A whole number of a number (cut off), text, or a timestamp (seconds).", `int("42")`, "42"},
	{"uint", groupBasic, "uint(value)", "A whole number without sign.", `uint("42")`, "42"},
	{"double", groupBasic, "double(value)", "A floating-point number.", `double("1.5")`, "1.5"},
	{"string", groupBasic, "string(value)", "Text of a number, bool, bytes (UTF-8), timestamp or duration.", "string(1.5)", `"1.5"`},
	{"bytes", groupBasic, "bytes(text)", "The UTF-8 bytes of a text.", `bytes("é").size()`, "2"},
	{"bool", groupBasic, "bool(text)", "true or false of its text.", `bool("true")`, "true"},
	{"type", groupBasic, "type(value)", "The type of a value.", "type(1) == int", "true"},
	{"dyn", groupBasic, "dyn(value)", "The value, with its type forgotten for the check.", "dyn(1)", "1"},
	{"size", groupBasic, "size(value), value.size()", "Characters of a text, bytes, elements of a list, entries of a map.", `size("é☃")`, "2"},
	{"has", groupBasic, "has(value.field)", "Whether the field is there. A null that is written is there.", `has({"a": null}.a)`, "true"},

	{"contains", groupText, "text.contains(part)", "Whether the part stands in it.", `"penstock".contains("sto")`, "true"},
	{"startsWith", groupText, "text.startsWith(part)", "Whether it begins with the part.", `"penstock".startsWith("pen")`, "true"},
	{"endsWith", groupText, "text.endsWith(part)", "Whether it ends with the part.", `"penstock".endsWith("stock")`, "true"},
	{"charAt", groupText, "text.charAt(i)", "The character at a place, from 0.", `"penstock".charAt(3)`, `"s"`},
	{"indexOf", groupText, "text.indexOf(part), text.indexOf(part, from)", "Place of the first such part; -1 if there is none.", `"banana".indexOf("an")`, "1"},
	{"lastIndexOf", groupText, "text.lastIndexOf(part)", "Place of the last such part; -1 if there is none.", `"banana".lastIndexOf("an")`, "3"},
	{"substring", groupText, "text.substring(from), text.substring(from, to)", "The characters from a place to before another.", `"penstock".substring(3, 6)`, `"sto"`},
	{"split", groupText, "text.split(separator), text.split(separator, n)", "The parts between separators, at most n.", `"a,b,c".split(",")`, `["a","b","c"]`},
	{"join", groupText, "list.join(separator)", "The texts of a list, with the separator between them.", `["a", "b"].join("-")`, `"a-b"`},
	{"replace", groupText, "text.replace(old, new), text.replace(old, new, n)", "With each old part (or the first n) made new.", `"banana".replace("an", "o")`, `"booa"`},
	{"trim", groupText, "text.trim()", "Without white space at both ends.", `"  a ".trim()`, `"a"`},
	{"lowerAscii", groupText, "text.lowerAscii()", "With A to Z made small.", `"ABC".lowerAscii()`, `"abc"`},
	{"upperAscii", groupText, "text.upperAscii()", "With a to z made large.", `"abc".upperAscii()`, `"ABC"`},
	{"reverse", groupText, "text.reverse(), list.reverse()", "From the end to the beginning.", `"abc".reverse()`, `"cba"`},
	{"format", groupText, "text.format(list)", "The text with %s, %d, %f, %e, %x, %b and %o replaced by the values.", `"%s has %d".format(["a", 3])`, `"a has 3"`},

	{"math.abs", groupMath, "math.abs(n)", "Without its sign.", "math.abs(-3)", "3"},
	{"math.sign", groupMath, "math.sign(n)", "-1, 0 or 1.", "math.sign(-3)", "-1"},
	{"math.ceil", groupMath, "math.ceil(n)", "The next whole number upwards.", "math.ceil(1.2)", "2"},
	{"math.floor", groupMath, "math.floor(n)", "The next whole number downwards.", "math.floor(1.8)", "1"},
	{"math.round", groupMath, "math.round(n)", "The nearest whole number; halves go away from 0.", "math.round(1.5)", "2"},
	{"math.trunc", groupMath, "math.trunc(n)", "Without its fraction.", "math.trunc(-1.8)", "-1"},
	{"round", groupMath, "round(decimal, places)", "A decimal with so many places; halves go to the even digit.", `round(decimal("1.005"), 2)`, "1.00"},
	{"math.greatest", groupMath, "math.greatest(a, b, …)", "The greatest of the numbers.", "math.greatest(1, 3, 2)", "3"},
	{"math.least", groupMath, "math.least(a, b, …)", "The least of the numbers.", "math.least(1, 3, 2)", "1"},
	{"math.sqrt", groupMath, "math.sqrt(n)", "The square root.", "math.sqrt(9.0)", "3"},
	{"math.isNaN", groupMath, "math.isNaN(double)", "Whether it is no number.", "math.isNaN(0.0 / 0.0)", "true"},
	{"math.isFinite", groupMath, "math.isFinite(double)", "Whether it is neither infinite nor no number.", "math.isFinite(1.0)", "true"},

	{"in", groupLists, "value in list, key in map", "Whether it is an element, or a key.", `"b" in ["a", "b"]`, "true"},
	{"distinct", groupLists, "list.distinct()", "Each value once, where it first comes.", "[1, 2, 1].distinct()", "[1,2]"},
	{"flatten", groupLists, "list.flatten(), list.flatten(depth)", "The elements of the lists in it.", "[[1], [2, 3]].flatten()", "[1,2,3]"},
	{"slice", groupLists, "list.slice(from, to)", "The elements from a place to before another.", "[1, 2, 3].slice(1, 3)", "[2,3]"},
	{"sort", groupLists, "list.sort()", "From the least to the greatest.", "[3, 1, 2].sort()", "[1,2,3]"},
	{"sortBy", groupLists, "list.sortBy(x, key)", "By a key of each element, stably.", `["bb", "a"].sortBy(x, x.size())`, `["a","bb"]`},
	{"first", groupLists, "list.first()", "The first element, an optional.", "[1, 2].first().orValue(0)", "1"},
	{"last", groupLists, "list.last()", "The last element, an optional.", "[1, 2].last().orValue(0)", "2"},
	{"lists.range", groupLists, "lists.range(n)", "The numbers from 0 to before n.", "lists.range(3)", "[0,1,2]"},
	{"sets.contains", groupLists, "sets.contains(list, part)", "Whether every element of the part is in the list.", "sets.contains([1, 2, 3], [3, 1])", "true"},
	{"sets.equivalent", groupLists, "sets.equivalent(a, b)", "Whether both have the same elements.", "sets.equivalent([1, 2], [2, 1, 1])", "true"},
	{"sets.intersects", groupLists, "sets.intersects(a, b)", "Whether they share an element.", "sets.intersects([1, 2], [2, 3])", "true"},

	{"all", groupMacros, "list.all(x, condition), map.all(k, v, condition)", "Whether the condition is true for every element.", "[1, 2].all(x, x > 0)", "true"},
	{"exists", groupMacros, "list.exists(x, condition), map.exists(k, v, condition)", "Whether it is true for one at least.", "[1, 2].exists(x, x > 1)", "true"},
	{"exists_one", groupMacros, "list.exists_one(x, condition)", "Whether it is true for exactly one.", "[1, 2].exists_one(x, x > 1)", "true"},
	{"filter", groupMacros, "list.filter(x, condition)", "The elements for which it is true.", "[1, 2].filter(x, x > 1)", "[2]"},
	{"map", groupMacros, "list.map(x, value), list.map(x, condition, value)", "A value for each element (for which the condition is true).", "[1, 2].map(x, x * 2)", "[2,4]"},
	{"transformList", groupMacros, "list.transformList(i, v, value), map.transformList(k, v, value)", "A list of a value for each entry.", `["a", "b"].transformList(i, v, v + string(i))`, `["a0","b1"]`},
	{"transformMap", groupMacros, "map.transformMap(k, v, value)", "A map with the same keys and new values.", `{"a": 1}.transformMap(k, v, v + 1)`, `{"a":2}`},
	{"transformMapEntry", groupMacros, "map.transformMapEntry(k, v, {key: value})", "A map of new entries.", `{"a": 1}.transformMapEntry(k, v, {k + "x": v})`, `{"ax":1}`},
	{"cel.bind", groupMacros, "cel.bind(name, value, expression)", "The expression, with a name for a value that it needs several times.", "cel.bind(x, 2 + 3, x * x)", "25"},

	{"timestamp", groupTime, "timestamp(text)", "A point in time of its RFC 3339 text.", `timestamp("2010-12-01T08:26:00Z").getFullYear()`, "2010"},
	{"duration", groupTime, "duration(text)", "A length of time: 90s, 1h30m.", `duration("90s") > duration("1m")`, "true"},
	{"getFullYear", groupTime, "time.getFullYear(), time.getFullYear(zone)", "The year.", `timestamp("2010-12-31T23:30:00Z").getFullYear("Europe/Berlin")`, "2011"},
	{"getMonth", groupTime, "time.getMonth()", "The month, from 0.", `timestamp("2010-12-01T08:26:00Z").getMonth()`, "11"},
	{"getDate", groupTime, "time.getDate()", "The day of the month, from 1.", `timestamp("2010-12-01T08:26:00Z").getDate()`, "1"},
	{"getDayOfWeek", groupTime, "time.getDayOfWeek()", "The day of the week, from 0 for Sunday.", `timestamp("2010-12-01T08:26:00Z").getDayOfWeek()`, "3"},
	{"getDayOfYear", groupTime, "time.getDayOfYear()", "The day of the year, from 0.", `timestamp("2010-12-01T08:26:00Z").getDayOfYear()`, "334"},
	{"getHours", groupTime, "time.getHours()", "The hour; of a duration, all of its hours.", `timestamp("2010-12-01T08:26:00Z").getHours()`, "8"},
	{"getMinutes", groupTime, "time.getMinutes()", "The minute; of a duration, all of its minutes.", `timestamp("2010-12-01T08:26:00Z").getMinutes()`, "26"},
	{"getSeconds", groupTime, "time.getSeconds()", "The second; of a duration, all of its seconds.", `duration("1m30s").getSeconds()`, "90"},

	{"orValue", groupOptional, "optional.orValue(value)", "What is there, or the value.", `{"a": 1}.?b.orValue(0)`, "0"},
	{"or", groupOptional, "optional.or(optional)", "What is there, or the other optional.", `{"a": 1}.?b.or({"b": 2}.?b).orValue(0)`, "2"},
	{"hasValue", groupOptional, "optional.hasValue()", "Whether something is there.", `{"a": 1}.?a.hasValue()`, "true"},
	{"value", groupOptional, "optional.value()", "What is there; an error if nothing is.", `{"a": 1}.?a.value()`, "1"},
	{"optMap", groupOptional, "optional.optMap(x, value)", "A value made of what is there.", `{"a": 1}.?a.optMap(x, x + 1).orValue(0)`, "2"},
	{"optFlatMap", groupOptional, "optional.optFlatMap(x, optional)", "An optional made of what is there.", `{"a": {"b": 1}}.?a.optFlatMap(x, x.?b).orValue(0)`, "1"},
	{"optional.of", groupOptional, "optional.of(value)", "An optional with the value.", "optional.of(1).orValue(0)", "1"},
	{"optional.none", groupOptional, "optional.none()", "An optional with nothing.", "optional.none().orValue(0)", "0"},
	{"optional.ofNonZeroValue", groupOptional, "optional.ofNonZeroValue(value)", "An optional with the value, or nothing if it is 0, empty or null.", `optional.ofNonZeroValue("").orValue("x")`, `"x"`},

	{"base64.encode", groupCoding, "base64.encode(bytes)", "Text of bytes (RFC 4648).", `base64.encode(b"abc")`, `"YWJj"`},
	{"base64.decode", groupCoding, "base64.decode(text)", "Bytes of such a text.", `string(base64.decode("YWJj"))`, `"abc"`},
	{"json.encode", groupCoding, "json.encode(value)", "JSON text of a value.", `json.encode({"a": [1]})`, `"{\"a\":[1]}"`},
	{"json.parse", groupCoding, "json.parse(text)", "The value of a JSON text, an optional: nothing if it is none.", `json.parse("[1]").orValue([])[0]`, "1"},
	{"matches", groupCoding, "text.matches(pattern)", "Whether a part of it has the pattern (RE2).", `"C536365".matches("^C[0-9]+$")`, "true"},
	{"regex.replace", groupCoding, `regex.replace(text, pattern, new)`, "With each part that has the pattern made new.", `regex.replace("a1b22", "[0-9]+", "#")`, `"a#b#"`},
	{"regex.extract", groupCoding, "regex.extract(text, pattern)", "The first part that has the pattern (or its group), an optional.", `regex.extract("item 42", "([0-9]+)").orValue("")`, `"42"`},
	{"regex.extractAll", groupCoding, "regex.extractAll(text, pattern)", "All such parts.", `regex.extractAll("a1b22", "[0-9]+")`, `["1","22"]`},
}

func functionsPage() string {
	var b strings.Builder
	b.WriteString(generatedMark + "# Expressions: functions\n\nExpressions are [CEL](https://cel.dev) with the profile of this version. Beside these stand the operators " +
		"`+ - * / %`, `== != < <= > >=`, `&& || !`, `a ? b : c`, `in`, `.field`, `.?field`, `[key]` and `[?key]`.\n")
	group := ""
	for _, f := range functions {
		if f.Group != group {
			group = f.Group
			b.WriteString("\n## " + group + "\n\n| | | example | gives |\n|---|---|---|---|\n")
		}
		result := ""
		if f.Result != "" {
			result = "`" + cell(f.Result) + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", cell(f.Use), cell(f.Doc), cell(f.Example), result)
	}
	return b.String()
}
