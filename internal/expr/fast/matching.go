package fast

import (
	"regexp"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// textTest compiles contains, startsWith, endsWith and matches.
func (c *compiler) textTest(name string, xs []code) (code, bool, error) {
	test := strings.Contains
	switch name {
	case "startsWith":
		test = strings.HasPrefix
	case "endsWith":
		test = strings.HasSuffix
	case "matches":
		return c.matches(xs)
	}
	if xs[1].con && xs[1].val.Kind() == penstock.KindString {
		k := xs[1].val.Str()
		return str1(name, xs[:1], types.BoolType, func(_ *penstock.Frame, s string) penstock.Value {
			return penstock.BoolValue(test(s, k))
		}), true, nil
	}
	return str2(name, xs, types.BoolType, func(_ *penstock.Frame, s, u string) penstock.Value {
		return penstock.BoolValue(test(s, u))
	}), true, nil
}

// matches searches a regular expression (RE2 syntax); a constant one is compiled once.
func (c *compiler) matches(xs []code) (code, bool, error) {
	c.counts()
	if re, bad, ok := constantPattern(xs[1]); ok {
		if re == nil {
			return code{typ: types.BoolType, eval: func(*penstock.Frame) penstock.Value { return bad }}, true, nil
		}
		return str1("matches", xs[:1], types.BoolType, func(f *penstock.Frame, s string) penstock.Value {
			if !spend(f, len(s)/searched) {
				return errCost
			}
			return penstock.BoolValue(re.MatchString(s))
		}), true, nil
	}
	return str2("matches", xs, types.BoolType, func(f *penstock.Frame, s, pattern string) penstock.Value {
		if !spend(f, len(s)/searched) {
			return errCost
		}
		re, bad := compilePattern(pattern)
		if re == nil {
			return bad
		}
		return penstock.BoolValue(re.MatchString(s))
	}), true, nil
}

// constantPattern compiles a constant pattern now; re is nil where it is wrong.
func constantPattern(x code) (re *regexp.Regexp, bad penstock.Value, ok bool) {
	if !x.con || x.val.Kind() != penstock.KindString {
		return nil, penstock.Absent, false
	}
	re, bad = compilePattern(x.val.Str())
	return re, bad, true
}

func compilePattern(s string) (*regexp.Regexp, penstock.Value) {
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, ops.Errorf("the regular expression %q is wrong: %w", s, err)
	}
	return re, penstock.Absent
}

// regex compiles cel-go's extension "regex".
func (c *compiler) regex(name string, xs []code) (code, bool, error) {
	switch {
	case name == "regex.extract" && len(xs) == 2:
		x := c.patternFunction(name, xs, types.DynType, extract)
		return newOptional(x.eval, types.StringType), true, nil
	case name == "regex.extractAll" && len(xs) == 2:
		return c.patternFunction(name, xs, types.ListOf(types.StringType), extractAll), true, nil
	case name == "regex.replace" && (len(xs) == 3 || len(xs) == 4):
		return c.replacePattern(xs), true, nil
	}
	return code{}, false, nil
}

// patternFunction makes the code of a function of a text and a pattern.
func (c *compiler) patternFunction(name string, xs []code, t *types.Type, op func(re *regexp.Regexp, s string) penstock.Value) code {
	if re, bad, ok := constantPattern(xs[1]); ok {
		return str1(name, xs[:1], t, func(_ *penstock.Frame, s string) penstock.Value {
			if re == nil {
				return bad
			}
			return op(re, s)
		})
	}
	return str2(name, xs, t, func(_ *penstock.Frame, s, pattern string) penstock.Value {
		re, bad := compilePattern(pattern)
		if re == nil {
			return bad
		}
		return op(re, s)
	})
}

// extract gives the first match, or its only group; Absent if there is none.
func extract(re *regexp.Regexp, s string) penstock.Value {
	if re.NumSubexp() > 1 {
		return ops.Errorf("regular expression has more than one capturing group: %q", re.String())
	}
	m := re.FindStringSubmatchIndex(s)
	if m == nil {
		return penstock.Absent
	}
	if re.NumSubexp() == 1 {
		if m[2] == m[3] { // cel-go: an empty group is none
			return penstock.Absent
		}
		return penstock.StringValue(s[m[2]:m[3]])
	}
	return penstock.StringValue(s[m[0]:m[1]])
}

// extractAll gives all matches, or their only groups.
func extractAll(re *regexp.Regexp, s string) penstock.Value {
	if re.NumSubexp() > 1 {
		return ops.Errorf("regular expression has more than one capturing group: %q", re.String())
	}
	out := []string{}
	for _, m := range re.FindAllStringSubmatchIndex(s, -1) {
		if re.NumSubexp() == 0 {
			out = append(out, s[m[0]:m[1]])
		} else if m[2] >= 0 && m[2] < m[3] {
			out = append(out, s[m[2]:m[3]])
		}
	}
	return textList(out)
}

// replacePattern replaces matches; \1 in the replacement stands for a group, \0 for the match.
func (c *compiler) replacePattern(xs []code) code {
	fixed, bad, constant := constantPattern(xs[1])
	return nary(xs, types.StringType, func(f *penstock.Frame, vs []penstock.Value) penstock.Value {
		for i := range vs {
			vs[i] = ops.Resolve(vs[i], f.Arena)
			if want := penstock.KindString; i < 3 && vs[i].Kind() != want || i == 3 && vs[i].Kind() != penstock.KindInt {
				return ops.NoOverload("regex.replace", vs...)
			}
		}
		most := -1
		if len(vs) == 4 {
			most = int(max(vs[3].Int(), -1))
		}
		if most == 0 {
			return vs[0]
		}
		re, err := fixed, bad
		if !constant {
			re, err = compilePattern(vs[1].Str())
		}
		if re == nil {
			return err
		}
		s := vs[0].Str()
		var out []byte
		last := 0
		for _, m := range re.FindAllStringSubmatchIndex(s, most) {
			out = append(out, s[last:m[0]]...)
			if out, err = expand(out, re, s, m, vs[2].Str()); err.IsError() {
				return err
			}
			if last = m[1]; len(out) > ops.MaxText {
				return ops.TooLarge
			}
		}
		return ops.TextValue(append(out, s[last:]...))
	})
}

// expand appends a replacement with its groups filled in.
func expand(out []byte, re *regexp.Regexp, s string, m []int, replacement string) ([]byte, penstock.Value) {
	for i := 0; i < len(replacement); i++ {
		ch := replacement[i]
		if ch != '\\' {
			out = append(out, ch)
			continue
		}
		if i++; i == len(replacement) {
			return out, ops.Errorf("the replacement %q ends in a backslash", replacement)
		}
		switch g := int(replacement[i]) - '0'; {
		case replacement[i] == '\\':
			out = append(out, '\\')
		case g < 0 || g > 9:
			return out, ops.Errorf("in the replacement %q a backslash is followed by neither a digit nor a backslash", replacement)
		case g > re.NumSubexp():
			return out, ops.Errorf("the replacement %q speaks of group %d; the pattern has %d", replacement, g, re.NumSubexp())
		case m[2*g] >= 0:
			out = append(out, s[m[2*g]:m[2*g+1]]...)
		}
	}
	return out, penstock.Absent
}
