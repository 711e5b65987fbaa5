package expr

import (
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock/internal/diag"
)

// Parameter stands in an SQL statement where an interpolation was: no statement holds this byte otherwise.
const Parameter = "\x00"

// sqlText follows the text of a statement from interpolation to interpolation, as far as it must to know where a value may
// stand: in the quotes and comments that PostgreSQL, SQLite and the standard have in common.
type sqlText struct {
	state sqlState
	tag   string // of a dollar quote: $tag$
	depth int    // of nested block comments
	words []string
	calls []string // the word before each parenthesis that is open
	last  byte     // the last byte of text, 0 behind an interpolation
}

type sqlState uint8

const (
	sqlPlain sqlState = iota
	sqlString
	sqlEscapes // a string with backslash escapes: E'…'
	sqlName    // "…" and `…`
	sqlTicks
	sqlLine
	sqlBlock
	sqlDollar
)

// inside names what an interpolation stands in, and what is to be done.
var inside = map[sqlState][2]string{
	sqlString:  {"a quoted text", "leave the quotes out; join texts by ||: '%' || ${…} || '%'"},
	sqlEscapes: {"a quoted text", "leave the quotes out; join texts by ||: '%' || ${…} || '%'"},
	sqlName:    {"a quoted name", "write the name itself: tables and columns can't depend on a message"},
	sqlTicks:   {"a quoted name", "write the name itself: tables and columns can't depend on a message"},
	sqlLine:    {"a comment", "take it out of the comment"},
	sqlBlock:   {"a comment", "take it out of the comment"},
	sqlDollar:  {"a dollar-quoted text", "leave the quotes out"},
}

// statementPlaces reports interpolations of a statement that stand where no value can stand.
func (r *reporter) statementPlaces(segments []segment, parts []*Compiled) {
	var s sqlText
	for i, seg := range segments {
		if !seg.cel {
			if at, msg, hint := s.read(seg.text); msg != "" {
				r.add(diag.Error, len([]rune(r.src.text[:seg.start]))+len([]rune(seg.text[:at])), "sql", "", hint, msg)
				return
			}
			continue
		}
		at := len([]rune(r.src.text[:seg.start]))
		if c := parts[i]; c != nil && c.raw {
			r.rawStatement(at, c)
			s.words, s.last = append(s.words, "?"), 0
			continue
		}
		next := ""
		if i+1 < len(segments) && !segments[i+1].cel {
			next = segments[i+1].text
		}
		if msg, hint := s.value(next); msg != "" {
			r.add(diag.Error, at, "sql-place", "${"+seg.text+"}", hint, msg)
		}
		s.words, s.last = append(s.words, "?"), 0
	}
	if what, open := inside[s.state]; open && s.state != sqlLine {
		r.add(diag.Error, 0, "sql", "", "", "the statement ends within "+what[0])
	}
}

// rawStatement refuses raw() of what a message decides.
func (r *reporter) rawStatement(at int, c *Compiled) {
	if path := decidedBy(c); path != nil {
		r.add(diag.Error, at, "sql-injection", c.Source, "leave raw() out, so that the value is bound; where the statement itself differs, write each out and choose by `choice`",
			"raw() would let whoever writes `"+strings.Join(path, ".")+"` write SQL")
	}
}

// decidedBy is what of a message an expression reads; nil if nothing.
func decidedBy(c *Compiled) []string {
	for _, path := range c.Reads {
		if len(path) > 0 && path[0] != "params" {
			return path
		}
	}
	return nil
}

// value says what is wrong with a value here, and what to do. Next is the text behind it.
func (s *sqlText) value(next string) (msg, hint string) {
	if what, ok := inside[s.state]; ok {
		return "an interpolation is bound as a value, and this one stands in " + what[0], what[1]
	}
	if sqlWord(s.last) || next != "" && sqlWord(next[0]) {
		return "an interpolation is bound as a value, and this one stands against a word", "put a space between them; names of tables and columns can't be made of values"
	}
	if s.last == '.' || strings.HasPrefix(next, ".") {
		return "an interpolation is bound as a value, and this one stands for a part of a name", "write the name itself: tables and columns can't depend on a message"
	}
	last := s.word(0)
	switch {
	case last == "FROM" && s.word(1) != "DISTINCT" && !s.in("EXTRACT", "SUBSTRING", "TRIM", "OVERLAY"),
		slices.Contains([]string{"JOIN", "INTO", "TABLE", "UPDATE", "COLUMN", "AS", "CONSTRAINT", "SCHEMA"}, last):
		return fmt.Sprintf("an interpolation is bound as a value, and behind %s there is a name", last),
			"write the name itself: tables and columns can't depend on a message; choose between statements by `choice`"
	case last == "BY" && (s.word(1) == "ORDER" || s.word(1) == "GROUP") && alone(next):
		return fmt.Sprintf("an interpolation is bound as a value, and %s BY a value does nothing", s.word(1)),
			"write the column's name; choose between statements by `choice`"
	}
	return "", ""
}

// alone says that a value with this text behind it is the whole of a sorting.
func alone(next string) bool {
	next = strings.ToUpper(strings.TrimSpace(next))
	return next == "" || strings.ContainsAny(next[:1], ",);") || strings.HasPrefix(next, "ASC") || strings.HasPrefix(next, "DESC") ||
		strings.HasPrefix(next, "LIMIT") || strings.HasPrefix(next, "OFFSET")
}

// word is the n-th last word, a parameter or a sign in its place.
func (s *sqlText) word(n int) string {
	if i := len(s.words) - 1 - n; i >= 0 {
		return s.words[i]
	}
	return ""
}

// in says that the innermost parenthesis belongs to one of these functions.
func (s *sqlText) in(names ...string) bool {
	return len(s.calls) > 0 && slices.Contains(names, s.calls[len(s.calls)-1])
}

// sqlWord reports whether c may be part of a name, a keyword or a number.
func sqlWord(c byte) bool { return isWordByte(c) || c == '$' || c >= 0x80 }

// read goes on through text. It reports what no statement of ours may have, at a byte of it.
func (s *sqlText) read(text string) (at int, msg, hint string) {
	for i := 0; i < len(text); {
		rest := text[i:]
		if text[i] == 0 {
			return i, "a statement has no NUL character", ""
		}
		if s.state != sqlPlain {
			i += s.quoted(rest)
			s.last = ' '
			continue
		}
		c := text[i]
		n := 1
		switch {
		case c == '\'':
			s.state = sqlString
			if s.word(0) == "E" && (s.last == 'e' || s.last == 'E') {
				s.state = sqlEscapes
			}
			s.words = append(s.words, "'")
		case c == '"':
			s.state = sqlName
			s.words = append(s.words, "\"")
		case c == '`':
			s.state = sqlTicks
			s.words = append(s.words, "\"")
		case strings.HasPrefix(rest, "--"):
			s.state = sqlLine
		case strings.HasPrefix(rest, "/*"):
			s.state, s.depth, n = sqlBlock, 1, 2
		case c == '$' && !sqlWord(s.last):
			tag, ok := dollarTag(rest)
			if !ok {
				if len(rest) > 1 && rest[1] >= '0' && rest[1] <= '9' {
					return i, "parameters have no numbers here", "write the value as ${…} where it belongs"
				}
				break
			}
			s.state, s.tag, n = sqlDollar, tag, len(tag)
			s.words = append(s.words, "'")
		case isWordByte(c) || c >= 0x80:
			for n < len(rest) && sqlWord(rest[n]) {
				n++
			}
			s.words = append(s.words, strings.ToUpper(rest[:n]))
		case c == '(':
			s.calls = append(s.calls, s.word(0))
			s.words = append(s.words, "(")
		case c == ')':
			if len(s.calls) > 0 {
				s.calls = s.calls[:len(s.calls)-1]
			}
			s.words = append(s.words, ")")
		case c > ' ':
			s.words = append(s.words, string(c))
		}
		i += n
		s.last = text[i-1]
	}
	return 0, "", ""
}

// quoted gives how much of rest belongs to the quote or comment that is open, and closes it where it ends.
func (s *sqlText) quoted(rest string) int {
	until := func(end string) int {
		n := strings.Index(rest, end)
		if n < 0 {
			return len(rest)
		}
		s.state = sqlPlain
		return n + len(end)
	}
	switch s.state {
	case sqlString, sqlEscapes:
		for i := 0; i < len(rest); i++ {
			switch {
			case rest[i] == '\\' && s.state == sqlEscapes:
				i++
			case rest[i] == '\'' && i+1 < len(rest) && rest[i+1] == '\'':
				i++
			case rest[i] == '\'':
				s.state = sqlPlain
				return i + 1
			}
		}
		return len(rest)
	case sqlName:
		return until(`"`) // a doubled quote opens the next at once
	case sqlTicks:
		return until("`")
	case sqlLine:
		return until("\n")
	case sqlDollar:
		return until(s.tag)
	case sqlBlock:
		for i := 0; i+1 < len(rest); i++ {
			switch rest[i : i+2] {
			case "/*":
				s.depth++
				i++
			case "*/":
				if s.depth--; s.depth == 0 {
					s.state = sqlPlain
					return i + 2
				}
				i++
			}
		}
	}
	return len(rest)
}

// dollarTag gives the opening of a dollar quote: $$ or $name$.
func dollarTag(rest string) (string, bool) {
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '$':
			return rest[:i+1], true
		case c >= '0' && c <= '9' && i == 1, !isWordByte(c) && c < 0x80:
			return "", false
		}
	}
	return "", false
}
