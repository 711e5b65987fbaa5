package penstock

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxPathSteps is how deep a [Path] may reach.
const MaxPathSteps = 64

// ParsePath reads a path: a root (body, vars, meta or key, or none, which discards) followed
// by .name, ["any name"] or [0]. The path vars needs a name after it, key and none stand
// alone, and meta takes one name (or ce and a CloudEvents attribute). Errors say what is wrong and at which character.
func ParsePath(s string) (Path, error) {
	p := Path{Source: s}
	i := nameEnd(s, 0)
	p.Root = s[:i]
	switch p.Root {
	case "body", "vars", "meta", "key", "none":
	case "":
		return Path{}, fmt.Errorf("%q is no path: it must begin with body, vars, meta or key", s)
	default:
		return Path{}, fmt.Errorf("%q begins with %q: a path begins with body, vars, meta or key", s, p.Root)
	}
	for i < len(s) {
		step, end, err := pathStep(s, i)
		if err != nil {
			return Path{}, err
		}
		if p.Steps = append(p.Steps, step); len(p.Steps) > MaxPathSteps {
			return Path{}, fmt.Errorf("a path of more than %d steps", MaxPathSteps)
		}
		i = end
	}
	switch {
	case (p.Root == "key" || p.Root == "none") && len(p.Steps) > 0:
		return Path{}, fmt.Errorf("%q: nothing can follow %s", s, p.Root)
	case p.Root == "vars" && (len(p.Steps) == 0 || p.Steps[0].Name == ""):
		return Path{}, fmt.Errorf("%q needs the name of a variable, as in vars.country", s)
	case p.Root == "meta" && !headerSteps(p.Steps):
		return Path{}, fmt.Errorf("%q needs the name of one header, as in meta.priority", s)
	}
	return p, nil
}

// headerSteps reports whether steps name a header: one name, or ce and the name of a
// CloudEvents attribute.
func headerSteps(steps []PathStep) bool {
	switch len(steps) {
	case 1:
		return steps[0].Name != ""
	case 2:
		return steps[0].Name == "ce" && steps[1].Name != ""
	}
	return false
}

func pathStep(s string, i int) (PathStep, int, error) {
	if s[i] == '.' {
		end := nameEnd(s, i+1)
		if end == i+1 {
			return PathStep{}, 0, fmt.Errorf("%q: a name must follow the point at character %d; other names go in brackets: [\"x-y\"]", s, charOf(s, i))
		}
		return PathStep{Name: s[i+1 : end]}, end, nil
	}
	if s[i] != '[' {
		return PathStep{}, 0, fmt.Errorf("%q: %q at character %d does not belong in a path; names with such characters go in brackets: [\"x-y\"]",
			s, firstRune(s[i:]), charOf(s, i))
	}
	end := i + 1
	if end < len(s) && s[end] == '"' {
		for end++; end < len(s) && s[end] != '"'; end++ {
			if s[end] == '\\' {
				end++
			}
		}
		if end+1 >= len(s) || s[end+1] != ']' {
			return PathStep{}, 0, fmt.Errorf("%q: the bracket at character %d is not closed by \"]", s, charOf(s, i))
		}
		name, err := strconv.Unquote(s[i+1 : end+1])
		if err != nil || name == "" {
			return PathStep{}, 0, fmt.Errorf("%q: %s is no name", s, s[i+1:end+1])
		}
		return PathStep{Name: name}, end + 2, nil
	}
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(s[i+1 : end])
	if err != nil || end == len(s) || s[end] != ']' {
		return PathStep{}, 0, fmt.Errorf("%q: brackets hold a quoted name or a number: [\"x-y\"], [0]", s)
	}
	return PathStep{Index: n}, end + 1, nil
}

// nameEnd is where the identifier that starts at i ends; i if there is none.
func nameEnd(s string, i int) int {
	start := i
	for i < len(s) {
		c := s[i]
		if c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > start && c >= '0' && c <= '9' {
			i++
			continue
		}
		break
	}
	return i
}

func charOf(s string, i int) int { return len([]rune(s[:i])) + 1 }

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}

// String gives the path in its shortest form.
func (p Path) String() string {
	var b strings.Builder
	b.WriteString(p.Root)
	for _, s := range p.Steps {
		switch {
		case s.Name == "":
			fmt.Fprintf(&b, "[%d]", s.Index)
		case nameEnd(s.Name, 0) == len(s.Name):
			b.WriteString("." + s.Name)
		default:
			b.WriteString("[" + strconv.Quote(s.Name) + "]")
		}
	}
	return b.String()
}
