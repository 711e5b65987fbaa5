package resource

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	yaml11 "go.yaml.in/yaml/v2"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// Limits of configuration files. They are far above what people write, and keep a file that
// is no configuration from taking the machine.
const (
	MaxFile     = 8 << 20   // bytes of a file
	MaxDocument = 512 << 10 // bytes of a document
	maxDepth    = 100       // of nesting
	maxNodes    = 200_000   // of a document, aliases written out
)

// ParseYAML reads the documents of a file, as YAML 1.2, and reports whatever is wrong with the
// text or would be read differently by kubectl. Documents that can't be read are left out; a
// document that holds nothing is too. JSON is YAML: a .json file is read the same way.
func ParseYAML(file string, src []byte, l *diag.List) []*Node {
	text, ok := cleanSource(file, src, l)
	if !ok {
		return nil
	}
	var out []*Node
	for _, d := range splitDocuments(file, text, l) {
		if n := parseDocument(file, d, l); n != nil {
			out = append(out, n)
		}
	}
	return out
}

// cleanSource checks the encoding and brings line ends to \n.
func cleanSource(file string, src []byte, l *diag.List) (string, bool) {
	start := penstock.Pos{File: file, Line: 1, Col: 1}
	if len(src) > MaxFile {
		l.Errorf(start, "file-too-large", "", "divide it into several files", "the file has %d bytes, more than %d", len(src), MaxFile)
		return "", false
	}
	text := strings.TrimPrefix(string(src), "\uFEFF")
	if !utf8.ValidString(text) {
		at := 0
		for at < len(text) {
			r, n := utf8.DecodeRuneInString(text[at:])
			if r == utf8.RuneError && n <= 1 {
				break
			}
			at += n
		}
		l.Errorf(posAt(file, text, at), "yaml-syntax", "", "save the file as UTF-8", "the file is not UTF-8 here (byte %d)", at)
		return "", false
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	for i, r := range text {
		switch {
		case r == '\n' || r == '\t':
		case r == '\r':
			l.Errorf(posAt(file, text, i), "yaml-syntax", "", "end lines with a line feed", "a carriage return stands alone")
			return "", false
		case r < ' ', r == 0x7f, r >= 0x80 && r <= 0x9f, r == 0x2028, r == 0x2029, r == 0xFEFF, r == 0xFFFE, r == 0xFFFF:
			l.Errorf(posAt(file, text, i), "yaml-syntax", "", fmt.Sprintf("write it in double quotes as \\u%04X", r),
				"the character U+%04X does not belong in YAML, or is read differently by its versions", r)
			return "", false
		}
	}
	return text, true
}

// posAt is the place of byte offset at of text.
func posAt(file, text string, at int) penstock.Pos {
	line := strings.Count(text[:at], "\n") + 1
	col := utf8.RuneCountInString(text[strings.LastIndexByte(text[:at], '\n')+1:at]) + 1
	return penstock.Pos{File: file, Line: line, Col: col}
}

// rawDocument is the text of one document, and the lines that stand before it in the file.
type rawDocument struct {
	text string
	line int
}

// splitDocuments cuts a file at its --- lines, as kubectl does (YAML 1.2 section 9.2: a line
// that begins with --- and white space is a marker wherever it stands).
func splitDocuments(file, text string, l *diag.List) []rawDocument {
	var out []rawDocument
	begin, line := 0, 0
	add := func(end int) {
		if d := text[begin:end]; strings.TrimSpace(d) != "" {
			out = append(out, rawDocument{d, line})
		}
	}
	for at, n := 0, 0; at < len(text); n++ {
		next := strings.IndexByte(text[at:], '\n') + at + 1
		if next == at {
			next = len(text)
		}
		s := strings.TrimSuffix(text[at:next], "\n")
		pos := penstock.Pos{File: file, Line: n + 1, Col: 1}
		switch {
		case isMarker(s, "---"):
			add(at)
			begin, line = next, n+1
			if rest := strings.TrimSpace(s[3:]); rest != "" && rest[0] != '#' {
				l.Errorf(penstock.Pos{File: file, Line: n + 1, Col: utf8.RuneCountInString(s[:strings.Index(s, rest)]) + 1}, "yaml-syntax", rest,
					"begin the document on the line after ---", "text after ---")
			}
		case isMarker(s, "..."):
			l.Errorf(pos, "yaml-syntax", s, "end a document with ---", "kubectl does not read what stands after ...")
		case strings.HasPrefix(s, "%") && strings.TrimSpace(text[begin:at]) == "":
			l.Errorf(pos, "yaml-syntax", s, "leave it out", "YAML directives are not part of the language")
			begin, line = next, n+1
		}
		at = next
	}
	add(len(text))
	return out
}

func isMarker(line, marker string) bool {
	rest, ok := strings.CutPrefix(line, marker)
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == '\t')
}

// parseDocument reads one document with both readings. Nil if there is nothing to work with.
func parseDocument(file string, d rawDocument, l *diag.List) (n *Node) {
	start := penstock.Pos{File: file, Line: d.line + 1, Col: 1}
	defer func() {
		// The parsers are other people's. A fault in one of them must not take the other
		// documents' findings away.
		if r := recover(); r != nil {
			n = nil
			l.Errorf(start, "yaml-syntax", "", "look for unusual YAML in this document and write it plainly", "the document can't be read as YAML: %v", r)
		}
	}()
	if len(d.text) > MaxDocument {
		l.Errorf(start, "file-too-large", "", "divide it", "the document has %d bytes, more than %d", len(d.text), MaxDocument)
		return nil
	}
	if line, col, ok := deeper(d.text, maxDepth); ok {
		l.Errorf(penstock.Pos{File: file, Line: d.line + line, Col: col}, "too-deep", "", "flatten it", "the document is nested deeper than %d", maxDepth)
		return nil
	}
	other, err11 := read11(d.text)
	if err11 != nil && len(d.text) > maxBroken {
		report11(file, d, err11, l)
		return nil
	}
	f, err := parser.ParseBytes([]byte(d.text), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		reportSyntax(file, d, err, l)
		return nil
	}
	b := &builder{file: file, line: d.line, lines: strings.Split(d.text, "\n"), diags: l, anchors: map[string]*Node{}}
	for _, doc := range f.Docs {
		if doc.Body == nil {
			continue
		}
		if n != nil {
			l.Errorf(n.Pos, "yaml-syntax", "", "divide documents with ---", "two documents stand here without --- between them")
			return nil
		}
		n = b.node(doc.Body, 0)
	}
	if n == nil {
		return nil
	}
	if err11 != nil && !b.broken {
		report11(file, d, err11, l)
		return n
	}
	if !b.broken {
		sameReading(n, other, l)
	}
	return n
}

// maxBroken is the size up to which a document that kubectl can't read is read at all: the reader of
// YAML 1.2 takes quadratic time over some broken texts.
const maxBroken = 32 << 10

func report11(file string, d rawDocument, err error, l *diag.List) {
	pos := penstock.Pos{File: file, Line: d.line + 1, Col: 1}
	if line, ok := lineOf(err); ok && line <= strings.Count(d.text, "\n")+1 {
		pos.Line = d.line + max(line, 1)
	}
	l.Errorf(pos, "yaml-versions", "", "write it so that both versions of YAML read it",
		"kubectl (YAML 1.1) can't read the document: %s", strings.TrimPrefix(err.Error(), "yaml: "))
}

// read11 reads a document as kubectl does.
func read11(text string) (out any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	var v holder11
	err = yaml11.Unmarshal([]byte(text), &v)
	return v.value, err
}

// holder11 takes a document of any shape with maps in the order of the file: the reader makes
// MapSlices below a MapSlice only. Lists are tried first, because a MapSlice takes them too.
type holder11 struct{ value any }

// UnmarshalYAML takes the whole document.
func (h *holder11) UnmarshalYAML(read func(any) error) error {
	var list []holder11
	if err := read(&list); err == nil {
		out := make([]any, len(list))
		for i := range list {
			out[i] = list[i].value
		}
		h.value = out
		return nil
	}
	var m yaml11.MapSlice
	if err := read(&m); err == nil {
		h.value = m
		return nil
	}
	return read(&h.value)
}

var errorLine = regexp.MustCompile(`line ([0-9]+)`)

func lineOf(err error) (int, bool) {
	m := errorLine.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, false
	}
	n, err := strconv.Atoi(m[1])
	return n, err == nil
}

func reportSyntax(file string, d rawDocument, err error, l *diag.List) {
	pos := penstock.Pos{File: file, Line: d.line + 1, Col: 1}
	message, text := err.Error(), ""
	var se interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &se) {
		message = se.GetMessage()
		if t := se.GetToken(); t != nil && t.Position != nil {
			pos.Line = d.line + max(t.Position.Line, 1)
			pos.Col = max(t.Position.Column, 1)
			text = firstLine(t.Value)
		}
	}
	l.Errorf(pos, "yaml-syntax", text, syntaxHint(d.text, pos.Line-d.line), "not YAML: %s", firstLine(message))
}

// syntaxHint guesses what commonly leads to a syntax error in the line.
func syntaxHint(text string, line int) string {
	lines := strings.Split(text, "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	s := lines[line-1]
	trimmed := strings.TrimLeft(s, " ")
	switch {
	case strings.HasPrefix(trimmed, "\t"):
		return "indent with spaces, not tabs"
	case strings.Contains(s, "${") && !strings.ContainsAny(s, `"'`):
		return "put text with ${…} in quotes"
	case strings.Count(s, ": ") > 1 && !strings.ContainsAny(s, "{\"'"):
		return "put text that holds \": \" in quotes"
	}
	return "look at the indentation, quotes and brackets of this line and the one before"
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

// deeper finds the place (from 1) at which a document may nest deeper than most levels. It counts an upper
// bound: brackets, dashes that stand in one line, and steps of indentation. It looks at the text without
// reading it, so that no reader has to recurse into a document that is made to break it.
func deeper(text string, most int) (line, col int, found bool) {
	brackets := 0
	var indents []int
	for row := range strings.Lines(text) {
		line++
		body := strings.TrimLeft(row, " ")
		indent := len(row) - len(body)
		if strings.TrimSpace(body) != "" {
			for len(indents) > 0 && indents[len(indents)-1] >= indent {
				indents = indents[:len(indents)-1]
			}
			indents = append(indents, indent)
		}
		dashes := 0
		for rest := body; len(rest) > 1 && strings.IndexByte("-?!&:", rest[0]) >= 0; {
			dashes++
			_, after, ok := strings.Cut(rest, " ")
			if !ok {
				break
			}
			rest = strings.TrimLeft(after, " ")
		}
		if brackets+dashes+len(indents) > most {
			return line, indent + 1, true
		}
		for i := 0; i < len(body); i++ {
			switch body[i] {
			case '[', '{':
				if brackets++; brackets+dashes+len(indents) > most {
					return line, indent + utf8.RuneCountInString(body[:i]) + 1, true
				}
			case ']', '}':
				brackets = max(0, brackets-1)
			}
		}
	}
	return 0, 0, false
}
