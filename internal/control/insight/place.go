// Package insight answers what editors ask of a configuration that is being written: what stands at a place of a file,
// what may be written there, and where it is declared. It reads half-written YAML by its layout, so that it has answers also
// where the document can't be parsed.
package insight

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// Spot is a place of a YAML text, in terms of the document that it is in.
type Spot struct {
	Kind  string   // of the resource: the value of the document's key `kind`; "" where there is none
	Path  []string // the keys above the place, from the document's top; those of lists are left out
	Key   string   // where the place is in a value, its key
	Word  string   // what is written already, up to the place
	Value bool     // the place is in a value, behind "key:"
	Whole string   // the word that stands there, to its end
}

var kindLine = regexp.MustCompile(`(?m)^kind:[ \t]*([A-Za-z]+)`)

// level is one key on the way down.
type level struct {
	indent int    // column of the key; -1 in a flow map or list
	key    string // "" for a flow list, or a flow map in a list
	open   byte   // '{' or '[' of a flow; 0 in a block
}

// scanner follows the layout of one document.
type scanner struct {
	levels  []level
	pending string // the key whose value comes
	has     bool   // a key is pending
	word    strings.Builder
	quote   byte
	block   int // column of the key whose block text (| or >) is being read; -1 none
}

// At finds out where in its document the character before column col (from 1) of a line (from 1) is.
func At(text string, line, col int) Spot {
	lines := strings.Split(text, "\n")
	if line < 1 || line > len(lines) {
		return Spot{}
	}
	from, to := 0, len(lines)
	for i, l := range lines {
		if l == "---" || strings.HasPrefix(l, "--- ") {
			if i < line-1 {
				from = i + 1
			} else if i > line-1 {
				to = i
				break
			}
		}
	}
	s := &scanner{block: -1}
	for i := from; i < line-1; i++ {
		s.line(strings.TrimSuffix(lines[i], "\r"))
	}
	current := strings.TrimSuffix(lines[line-1], "\r")
	cut := byteAt(current, col-1)
	s.last(current[:cut])
	out := s.spot()
	out.Whole = out.Word + current[cut:cut+wordEnd(current[cut:])]
	if m := kindLine.FindStringSubmatch(strings.Join(lines[from:to], "\n")); m != nil {
		out.Kind = m[1]
	}
	return out
}

func byteAt(s string, chars int) int {
	at := 0
	for range chars {
		if at >= len(s) {
			break
		}
		_, n := utf8.DecodeRuneInString(s[at:])
		at += n
	}
	return at
}

func wordEnd(s string) int {
	end := strings.IndexFunc(s, func(r rune) bool {
		return r != '_' && r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r < 128
	})
	if end < 0 {
		return len(s)
	}
	return end
}

// line reads a whole line.
func (s *scanner) line(l string) {
	s.begin(l)
	s.end()
}

// last reads the line of the place, up to it.
func (s *scanner) last(l string) {
	if strings.TrimSpace(l) == "" && !s.inFlow() {
		s.drop(len(l))
		return
	}
	s.begin(l)
}

func (s *scanner) inFlow() bool { return len(s.levels) > 0 && s.levels[len(s.levels)-1].open != 0 }

// drop leaves the keys that a line of this indentation is not below of.
func (s *scanner) drop(indent int) {
	for len(s.levels) > 0 && s.levels[len(s.levels)-1].open == 0 && s.levels[len(s.levels)-1].indent >= indent {
		s.levels = s.levels[:len(s.levels)-1]
	}
}

func (s *scanner) begin(l string) {
	rest := strings.TrimLeft(l, " ")
	indent := len(l) - len(rest)
	if s.inFlow() || s.quote != 0 {
		s.chars(l, 0)
		return
	}
	if s.block >= 0 {
		if rest == "" || indent > s.block {
			return
		}
		s.block = -1
	}
	if rest == "" || rest[0] == '#' {
		return
	}
	dashed := false
	for rest == "-" || strings.HasPrefix(rest, "- ") {
		// An item of a list may stand in the column of its key.
		if !dashed {
			s.drop(indent + 1)
		}
		dashed = true
		next := strings.TrimLeft(rest[1:], " ")
		indent += len(rest) - len(next)
		rest = next
		s.drop(indent)
	}
	if !dashed {
		s.drop(indent)
	}
	s.chars(rest, indent)
}

// chars reads what stands behind the indentation.
func (s *scanner) chars(text string, indent int) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case s.quote != 0:
			if c == '\\' && s.quote == '"' && i+1 < len(text) {
				s.word.WriteByte(c)
				i++
				s.word.WriteByte(text[i])
			} else if c == s.quote {
				s.quote = 0
			} else {
				s.word.WriteByte(c)
			}
		case (c == '"' || c == '\'') && strings.TrimSpace(s.word.String()) == "":
			s.quote = c
			s.word.Reset()
		case c == '#' && (i == 0 || text[i-1] == ' '):
			return
		case c == ':' && (i+1 == len(text) || text[i+1] == ' ') && !s.has:
			s.pending, s.has = strings.TrimSpace(s.word.String()), true
			s.word.Reset()
			if !s.inFlow() {
				s.levels = append(s.levels, level{indent: indent, key: s.pending})
			}
		case (c == '{' || c == '[') && strings.TrimSpace(s.word.String()) == "" && (s.has || s.inFlow() || indent >= 0):
			key := ""
			if s.inFlow() {
				key = s.pending
			}
			s.levels = append(s.levels, level{indent: -1, key: key, open: c})
			s.pending, s.has = "", false
			s.word.Reset()
		case (c == '}' || c == ']') && s.inFlow():
			s.levels = s.levels[:len(s.levels)-1]
			s.pending, s.has = "", false
			s.word.Reset()
			if !s.inFlow() {
				s.has = true // the value of the block's key is over
			}
		case c == ',' && s.inFlow():
			s.pending, s.has = "", false
			s.word.Reset()
		default:
			s.word.WriteByte(c)
		}
	}
}

// end ends a line.
func (s *scanner) end() {
	if s.quote != 0 {
		s.word.WriteByte('\n')
		return
	}
	if s.inFlow() {
		return
	}
	if v := strings.TrimSpace(s.word.String()); s.has && len(s.levels) > 0 && v != "" && (v[0] == '|' || v[0] == '>') {
		s.block = s.levels[len(s.levels)-1].indent
	}
	s.pending, s.has = "", false
	s.word.Reset()
}

// spot is where the scanner stands.
func (s *scanner) spot() Spot {
	out := Spot{Word: strings.TrimLeft(s.word.String(), " \t")}
	n := len(s.levels)
	if s.has && s.block < 0 {
		out.Value, out.Key = true, s.pending
		if !s.inFlow() && n > 0 {
			n--
			out.Key = s.levels[n].key
		}
	}
	if s.block >= 0 && n > 0 {
		n--
		out.Value, out.Key = true, s.levels[n].key
	}
	for _, l := range s.levels[:n] {
		if l.key != "" {
			out.Path = append(out.Path, l.key)
		}
	}
	return out
}
