package resource

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// The core schema of YAML 1.2 (section 10.3.2).
var (
	core12Int   = regexp.MustCompile(`^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$`)
	core12Float = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	core12Inf   = regexp.MustCompile(`^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// The type repository of YAML 1.1 (yaml.org/type/int.html, float.html), as far as a text can
// be read differently from what the core schema makes of it.
var (
	yaml11Int = regexp.MustCompile(`^([-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$`)
	// At least one digit stands before or after the point, and an exponent needs its sign.
	yaml11Float = regexp.MustCompile(`^[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+][0-9]+)?$`)
	yaml11Sexa  = regexp.MustCompile(`^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`)
)

// readScalar12 reads a plain scalar with the core schema of YAML 1.2.
func readScalar12(text string) NodeKind {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return NodeNull
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return NodeBool
	}
	switch {
	case !beginsNumber(text):
		return NodeText
	case core12Int.MatchString(text):
		return NodeInt
	case core12Float.MatchString(text), core12Inf.MatchString(text):
		return NodeFloat
	}
	return NodeText
}

// beginsNumber reports whether text could be a number of either version by its first character.
func beginsNumber(text string) bool {
	return text != "" && (text[0] >= '0' && text[0] <= '9' || text[0] == '+' || text[0] == '-' || text[0] == '.')
}

// word11 are the words that YAML 1.1 reads as booleans and 1.2 does not.
var word11 = map[string]string{
	"y": "true", "Y": "true", "yes": "true", "Yes": "true", "YES": "true", "on": "true", "On": "true", "ON": "true",
	"n": "false", "N": "false", "no": "false", "No": "false", "NO": "false", "off": "false", "Off": "false", "OFF": "false",
}

// scalarConflict says what is ambiguous about a plain scalar that a reader of YAML 1.1 reads
// differently from one of YAML 1.2: what each makes of it, and how to write it. An empty
// problem is none. kubectl's own reader is compared besides (see sameReading); this one
// holds to the letter of both versions, because other tools do.
func scalarConflict(text string) (problem, fix string) {
	kind := readScalar12(text)
	if b, ok := word11[text]; ok {
		return "YAML 1.1 (kubectl) reads " + b + ", YAML 1.2 the text", "write " + strconv.Quote(text) + " for the text, or " + b
	}
	switch {
	case text == "=":
		return "YAML 1.1 gives it a meaning of its own", `write "="`
	case !beginsNumber(text):
		return "", ""
	}
	quoted := strconv.Quote(text)
	is11Int, is11Float := yaml11Int.MatchString(text), yaml11Float.MatchString(text)
	_, digits := cutSign(text)
	switch {
	case yaml11Sexa.MatchString(text):
		return "YAML 1.1 reads a number to the base 60, YAML 1.2 the text", "write " + quoted
	case core12Inf.MatchString(text):
		return "no JSON number stands for it", "write " + quoted + " if the text is meant"
	case strings.HasPrefix(digits, "0b") && is11Int, strings.Contains(digits, "_") && (is11Int || is11Float):
		return "YAML 1.1 (kubectl) reads a number, YAML 1.2 the text", "write " + quoted + " for the text, or the number in plain digits"
	case strings.HasPrefix(digits, "0o") && kind == NodeInt:
		return "YAML 1.1 reads the text, YAML 1.2 an octal number", "write " + quoted + " for the text, or the number in plain digits"
	case kind == NodeInt && len(digits) > 1 && digits[0] == '0' && digits[1] != 'x':
		return "YAML 1.1 reads it as octal, YAML 1.2 as decimal", "write " + quoted + " for the text, or the number without leading zeros"
	case kind == NodeInt && digits != text && strings.HasPrefix(digits, "0x"):
		return "only YAML 1.1 reads a number", "write " + quoted + " for the text, or the number in plain digits"
	case kind == NodeFloat && strings.ContainsAny(text, "eE") && !is11Float:
		return "YAML 1.1 reads the text, YAML 1.2 a number", "write " + quoted + " for the text" + plainForm(text)
	case kind == NodeFloat && !is11Float:
		return "YAML 1.1 reads the text, YAML 1.2 a number", "write " + quoted + " for the text" + plainForm(text)
	case (kind == NodeInt || kind == NodeFloat) && !survivesFloat(text, kind):
		return "kubectl would round the number", "write " + quoted
	}
	return "", ""
}

// plainForm proposes digits for a number with an exponent, where they are few.
func plainForm(text string) string {
	r, ok := new(big.Rat).SetString(text)
	if !ok || len(text) > 12 {
		return ""
	}
	s := r.FloatString(20)
	s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	if back, ok := new(big.Rat).SetString(s); !ok || back.Cmp(r) != 0 || len(s) > 20 {
		return ""
	}
	return ", or " + s
}

// survivesFloat reports whether kubectl, which holds numbers as int64, uint64 or float64, keeps
// the value of a number.
func survivesFloat(text string, kind NodeKind) bool {
	sign, digits := cutSign(text)
	if kind == NodeInt {
		if hex, ok := strings.CutPrefix(digits, "0x"); ok {
			_, err := strconv.ParseUint(hex, 16, 64)
			return err == nil
		}
		if sign == "-" {
			_, err := strconv.ParseInt(text, 10, 64)
			return err == nil
		}
		_, err := strconv.ParseUint(digits, 10, 64)
		return err == nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || len(text) > 64 {
		return false
	}
	want, ok := new(big.Rat).SetString(text)
	if !ok {
		return false
	}
	have, ok := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	return ok && have.Cmp(want) == 0
}
