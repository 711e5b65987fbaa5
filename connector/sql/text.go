package sql

import "strings"

// words gives the words of a statement outside of quotes, comments and interpolations, in capitals, with each ; that has
// something behind it. It is for telling what a statement does, not whether it is right: the database says that.
func words(text string) (out []string) {
	end := false
	add := func(w string) {
		if end {
			out, end = append(out, ";"), false
		}
		out = append(out, w)
	}
	for i := 0; i < len(text); {
		rest := text[i:]
		n := 1
		switch c := text[i]; {
		case c == ';':
			end = true
		case strings.HasPrefix(rest, "--"):
			n = upTo(rest, "\n", 2)
		case strings.HasPrefix(rest, "/*"):
			n = upTo(rest, "*/", 2)
		case strings.HasPrefix(rest, "${"):
			n = interpolation(rest)
			add("?")
		case c == '\'' || c == '"' || c == '`':
			n = upTo(rest, string(c), 1)
			add("'")
		case c == '$':
			if tag := upTo(rest, "$", 1); tag < len(rest) && wordy(rest[1:tag-1]) {
				n = upTo(rest, rest[:tag], tag)
			}
			add("'")
		case wordy(rest[:1]):
			for n < len(rest) && wordy(rest[n:n+1]) {
				n++
			}
			add(strings.ToUpper(rest[:n]))
		case c > ' ':
			add(string(c))
		}
		i += n
	}
	return out
}

// upTo is where text is over after the first end behind byte from; all of it if there is none.
func upTo(text, end string, from int) int {
	if n := strings.Index(text[from:], end); n >= 0 {
		return from + n + len(end)
	}
	return len(text)
}

func wordy(s string) bool {
	for _, c := range s {
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c < 0x80 {
			return false
		}
	}
	return true
}

// interpolation is how long the ${…} is that text begins with.
func interpolation(text string) int {
	depth := 0
	for i := 2; i < len(text); i++ {
		switch text[i] {
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i + 1
			}
			depth--
		case '"', '\'':
			quote := text[i]
			for i++; i < len(text) && text[i] != quote; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		}
	}
	return len(text)
}

// changing are the words of statements that change something.
var changing = map[string]bool{"INSERT": true, "UPDATE": true, "DELETE": true, "MERGE": true, "REPLACE": true}

// shape says what a statement does.
type shape struct {
	several bool // it is more than one
	reads   bool // it only asks, functions that change something aside
	changes bool // it counts the rows that it changes
}

// shapeOf tells a statement's shape by its words.
func shapeOf(text string) (s shape) {
	w := words(text)
	for i, word := range w {
		switch {
		case word == ";":
			s.several = true
		// REPLACE is a function, too; FOR UPDATE and DO UPDATE belong to another word.
		case changing[word] && (word != "REPLACE" || i+1 == len(w) || w[i+1] != "(") && (word != "UPDATE" || i == 0 || w[i-1] != "FOR" && w[i-1] != "KEY"):
			s.changes = true
		}
	}
	if len(w) > 0 {
		switch w[0] {
		case "SELECT", "WITH", "VALUES", "TABLE", "(":
			s.reads = !s.changes
		case "PRAGMA", "SHOW", "EXPLAIN":
			s.reads, s.changes = true, false
		}
	}
	return s
}
