package expr

import "slices"

// Function describes one function, macro or operator of the profile for the reference.
type Function struct {
	Name      string // as it is called, without a namespace's receiver
	Signature string // list.sum() -> the list's number type
	Doc       string // one line
	Added     bool   // by Penstock; the others are CEL's own and its extensions'
}

// Functions lists what expressions can call, by name.
func Functions() []Function {
	out := slices.Clone(reference)
	slices.SortFunc(out, func(a, b Function) int {
		if a.Name != b.Name {
			if a.Name < b.Name {
				return -1
			}
			return 1
		}
		return 0
	})
	return out
}

var reference = []Function{
	{"sum", "list.sum(), sum(list)", "adds up numbers or durations; 0 for an empty list", true},
	{"avg", "list.avg(), avg(list)", "the mean: a double, of decimals a decimal (34 digits); an error for an empty list", true},
	{"min", "list.min(), min(list)", "the least element; an error for an empty list", true},
	{"max", "list.max(), max(list)", "the greatest element; an error for an empty list", true},
	{"groupBy", "list.groupBy(x, key), groupBy(list, x, key)", "a list of {key, items}, in the order in which the keys first appear", true},
	{"mask", "mask(text), mask(text, keep)", "**** and the last keep characters, never more than half of the text; takes the class label away", true},
	{"hash", "hash(text | bytes), hash(text | bytes, \"sha256\" | \"sha512\")", "the digest in lower-case hex, SHA-256 by default; takes the class label away", true},
	{"uuid", "uuid()", "a new random identifier; recorded where a replay needs it", true},
	{"decimal", "decimal(number | text)", "an exact decimal; of a number that was read, all its digits", true},
	{"round", "round(decimal, places)", "rounds to so many places, half to even", true},
	{"raw", "raw(value)", "in a template: leaves the value as it is, not encoded for its place", true},
	{"size", "size(x), x.size()", "code points of a text, bytes, elements or entries", false},
	{"has", "has(a.b)", "whether the field is there; null counts as there", false},
	{"all", "list.all(x, test), list.all(i, x, test)", "whether the test holds for every element", false},
	{"exists", "list.exists(x, test), list.exists(i, x, test)", "whether the test holds for some element", false},
	{"exists_one", "list.exists_one(x, test)", "whether the test holds for exactly one element", false},
	{"existsOne", "list.existsOne(i, x, test)", "whether the test holds for exactly one element", false},
	{"filter", "list.filter(x, test)", "the elements for which the test holds", false},
	{"map", "list.map(x, value), list.map(x, test, value)", "a value for each element (for which the test holds)", false},
	{"transformList", "list.transformList(i, x, value), map.transformList(k, v, value)", "a list of values, from index and element or key and value", false},
	{"transformMap", "map.transformMap(k, v, value)", "a map with the same keys and new values", false},
	{"transformMapEntry", "map.transformMapEntry(k, v, {key: value})", "a map of new entries", false},
	{"cel.bind", "cel.bind(x, value, expression)", "names a value within an expression", false},
	{"optional.of", "optional.of(x)", "an optional that holds x", false},
	{"optional.none", "optional.none()", "an optional that holds nothing", false},
	{"optional.ofNonZeroValue", "optional.ofNonZeroValue(x)", "an optional that holds x unless it is null, zero or empty", false},
	{"optional.unwrap", "optional.unwrap(list)", "the values of those optionals that have one", false},
	{"unwrapOpt", "list.unwrapOpt()", "the values of those optionals that have one", false},
	{"hasValue", "opt.hasValue(), opt.hasValue(x)", "whether the optional holds something (that is x)", false},
	{"value", "opt.value()", "what the optional holds; an error for none", false},
	{"or", "opt.or(opt)", "the first of the two that holds something", false},
	{"orValue", "opt.orValue(default)", "what the optional holds, else the default", false},
	{"optMap", "opt.optMap(x, value)", "an optional of the value computed from what it holds", false},
	{"optFlatMap", "opt.optFlatMap(x, opt)", "the optional computed from what it holds", false},
	{"first", "list.first()", "an optional of the first element", false},
	{"last", "list.last()", "an optional of the last element", false},
	{"int", "int(x)", "an int of a number (cut towards zero), a text or a timestamp (Unix seconds)", false},
	{"uint", "uint(x)", "a uint of a number or text", false},
	{"double", "double(x)", "a double of a number or text", false},
	{"string", "string(x)", "the text of a scalar", false},
	{"bytes", "bytes(text)", "the UTF-8 bytes of a text", false},
	{"bool", "bool(text)", "a bool of a text", false},
	{"timestamp", "timestamp(text | int)", "an instant from RFC 3339 text or Unix seconds", false},
	{"duration", "duration(text)", "a span of time: \"90s\", \"1h30m\"", false},
	{"dyn", "dyn(x)", "x without a type: checked at run time only", false},
	{"type", "type(x)", "the type of a value", false},
	{"matches", "text.matches(pattern)", "whether an RE2 pattern is found in the text", false},
	{"contains", "text.contains(text)", "whether the text is found in it", false},
	{"startsWith", "text.startsWith(text)", "whether it begins so", false},
	{"endsWith", "text.endsWith(text)", "whether it ends so", false},
	{"charAt", "text.charAt(i)", "the character at a place, counted from 0", false},
	{"indexOf", "text.indexOf(text), text.indexOf(text, from)", "where it is first found, -1 if nowhere", false},
	{"lastIndexOf", "text.lastIndexOf(text), text.lastIndexOf(text, upTo)", "where it is last found, -1 if nowhere", false},
	{"join", "list.join(), list.join(separator)", "one text of many", false},
	{"lowerAscii", "text.lowerAscii()", "A to Z lowered", false},
	{"upperAscii", "text.upperAscii()", "a to z raised", false},
	{"replace", "text.replace(old, new), text.replace(old, new, n)", "replaces all, or the first n", false},
	{"split", "text.split(separator), text.split(separator, n)", "the parts of a text, at most n", false},
	{"substring", "text.substring(from), text.substring(from, to)", "a part of a text, by code points", false},
	{"trim", "text.trim()", "without white space at both ends", false},
	{"format", "text.format(list)", "fills in %s, %d, %f, %.2f, %e, %x, %o, %b", false},
	{"strings.quote", "strings.quote(text)", "the text with quotes and escapes", false},
	{"reverse", "list.reverse(), text.reverse()", "in the opposite order", false},
	{"regex.extract", "regex.extract(text, pattern)", "an optional of the first match, or of its one group", false},
	{"regex.extractAll", "regex.extractAll(text, pattern)", "all matches, or their one groups", false},
	{"regex.replace", "regex.replace(text, pattern, new), regex.replace(text, pattern, new, n)", "replaces matches, \\1 stands for a group", false},
	{"sort", "list.sort()", "in ascending order; equals keep theirs", false},
	{"sortBy", "list.sortBy(x, key)", "in ascending order of the key; equals keep theirs", false},
	{"distinct", "list.distinct()", "each value once, where it first stands", false},
	{"flatten", "list.flatten(), list.flatten(depth)", "the elements of the lists in it", false},
	{"slice", "list.slice(from, to)", "a part of a list", false},
	{"lists.range", "lists.range(n)", "[0, 1, … n-1]", false},
	{"hasAny", "list.hasAny(list)", "whether some element of the other is in it", false},
	{"hasAll", "list.hasAll(list)", "whether all elements of the other are in it", false},
	{"hasOnly", "list.hasOnly(list)", "whether all its elements are in the other", false},
	{"hasExactly", "list.hasExactly(list)", "whether each is in the other, both ways", false},
	{"sets.contains", "sets.contains(list, list)", "whether the first has all of the second", false},
	{"sets.equivalent", "sets.equivalent(list, list)", "whether each has all of the other", false},
	{"sets.intersects", "sets.intersects(list, list)", "whether they have an element in common", false},
	{"math.greatest", "math.greatest(a, b, …), math.greatest(list)", "the greatest number", false},
	{"math.least", "math.least(a, b, …), math.least(list)", "the least number", false},
	{"math.abs", "math.abs(x)", "without its sign", false},
	{"math.sign", "math.sign(x)", "-1, 0 or 1", false},
	{"math.ceil", "math.ceil(x)", "the next whole number up", false},
	{"math.floor", "math.floor(x)", "the next whole number down", false},
	{"math.round", "math.round(x)", "the nearest whole number, half away from zero", false},
	{"math.trunc", "math.trunc(x)", "the whole part", false},
	{"math.sqrt", "math.sqrt(x)", "the square root", false},
	{"math.isNaN", "math.isNaN(double)", "whether it is not a number", false},
	{"math.isInf", "math.isInf(double)", "whether it is infinite", false},
	{"math.isFinite", "math.isFinite(double)", "whether it is neither", false},
	{"math.bitAnd", "math.bitAnd(a, b)", "bitwise and", false},
	{"math.bitOr", "math.bitOr(a, b)", "bitwise or", false},
	{"math.bitXor", "math.bitXor(a, b)", "bitwise exclusive or", false},
	{"math.bitNot", "math.bitNot(a)", "bitwise complement", false},
	{"math.bitShiftLeft", "math.bitShiftLeft(a, n)", "shifted left by n bits", false},
	{"math.bitShiftRight", "math.bitShiftRight(a, n)", "shifted right by n bits", false},
	{"base64.encode", "base64.encode(bytes)", "RFC 4648 base64", false},
	{"base64.decode", "base64.decode(text)", "the bytes of RFC 4648 base64", false},
	{"base64.encodeUrl", "base64.encodeUrl(bytes)", "RFC 4648 base64url", false},
	{"base64.decodeUrl", "base64.decodeUrl(text)", "the bytes of RFC 4648 base64url", false},
	{"json.encode", "json.encode(x)", "the JSON text of a value", false},
	{"json.parse", "json.parse(text)", "an optional of the value of a JSON text", false},
	{"getFullYear", "time.getFullYear(), time.getFullYear(zone)", "the year", false},
	{"getMonth", "time.getMonth(), time.getMonth(zone)", "the month, January is 0", false},
	{"getDate", "time.getDate(), time.getDate(zone)", "the day of the month, from 1", false},
	{"getDayOfMonth", "time.getDayOfMonth(), time.getDayOfMonth(zone)", "the day of the month, from 0", false},
	{"getDayOfWeek", "time.getDayOfWeek(), time.getDayOfWeek(zone)", "the day of the week, Sunday is 0", false},
	{"getDayOfYear", "time.getDayOfYear(), time.getDayOfYear(zone)", "the day of the year, from 0", false},
	{"getHours", "time.getHours(), time.getHours(zone), duration.getHours()", "the hour, or a duration's hours", false},
	{"getMinutes", "time.getMinutes(), time.getMinutes(zone), duration.getMinutes()", "the minute, or a duration's minutes", false},
	{"getSeconds", "time.getSeconds(), time.getSeconds(zone), duration.getSeconds()", "the second, or a duration's seconds", false},
	{"getMilliseconds", "time.getMilliseconds(), time.getMilliseconds(zone), duration.getMilliseconds()", "the milliseconds within the second", false},
}
