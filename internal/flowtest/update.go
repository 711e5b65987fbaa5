package flowtest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/resource"
)

// edit is a change of a file that --update makes: of a part of it, or of the whole.
type edit struct {
	path       string
	whole      bool
	start, end int // bytes
	text       string
}

// apply makes the edits, and returns the files that they changed.
func apply(edits []edit) ([]string, error) {
	byPath := map[string][]edit{}
	var paths []string
	for _, e := range edits {
		if byPath[e.path] == nil {
			paths = append(paths, e.path)
		}
		byPath[e.path] = append(byPath[e.path], e)
	}
	slices.Sort(paths)
	var errs []error
	var done []string
	for _, p := range paths {
		if err := applyTo(p, byPath[p]); err != nil {
			errs = append(errs, err)
		} else {
			done = append(done, p)
		}
	}
	return done, errors.Join(errs...)
}

func applyTo(path string, edits []edit) error {
	if edits[0].whole {
		for _, e := range edits[1:] {
			if e.text != edits[0].text {
				return fmt.Errorf("%s: two expectations that differ write this file; give each its own", path)
			}
		}
		return write(path, []byte(edits[0].text))
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	slices.SortFunc(edits, func(a, b edit) int { return cmp.Compare(b.start, a.start) }) // from the end, so that places stay
	for _, e := range edits {
		src = slices.Concat(src[:e.start], []byte(e.text), src[e.end:])
	}
	return write(path, src)
}

// write replaces a file in one step, so that a crash leaves the old one or the new one.
func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	_, err = f.Write(data)
	if info, e := os.Stat(path); e == nil {
		err = errors.Join(err, f.Chmod(info.Mode().Perm()))
	} else {
		err = errors.Join(err, f.Chmod(0o644))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// rewrite makes an `exactly` list of what was found. What stays the same keeps its text, and its
// comments.
func (t *test) rewrite(e *resource.Expect, pairs []pair, got []*penstock.Tree) error {
	node := e.Node.Get("exactly")
	path := node.Pos.File
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) || bytes.ContainsRune(data, '\r') {
		return errors.New("the file has a byte order mark or CR line ends")
	}
	src := source(data)
	var ed edit
	if start := src.offset(node.Pos); start < len(data) && data[start] == '[' {
		ed, err = rewriteFlow(src, node, start, got)
	} else {
		ed, err = rewriteBlock(src, node, pairs, got)
	}
	if err != nil {
		return err
	}
	ed.path = path
	t.edits = append(t.edits, ed)
	return nil
}

// source is a file in which places are looked up.
type source []byte

// offset is the byte offset of a place.
func (s source) offset(p penstock.Pos) int {
	at := s.line(p.Line)
	for col := 1; col < p.Col && at < len(s) && s[at] != '\n'; col++ {
		_, n := utf8.DecodeRune(s[at:])
		at += n
	}
	return at
}

// line is the offset of a line, counted from 1; the end of the file beyond its last.
func (s source) line(n int) int {
	at := 0
	for ; n > 1; n-- {
		i := bytes.IndexByte(s[at:], '\n')
		if i < 0 {
			return len(s)
		}
		at += i + 1
	}
	return at
}

// rewriteFlow replaces a list in brackets.
func rewriteFlow(src source, node *resource.Node, start int, got []*penstock.Tree) (edit, error) {
	end, comment, ok := closing(src, start)
	if !ok {
		return edit{}, errors.New("its end was not found")
	}
	if comment {
		return edit{}, errors.New("there are comments inside the brackets; write it as a list of lines that begin with -")
	}
	items := make([]string, len(got))
	for i, t := range got {
		items[i] = yamlFlow(t)
	}
	if len(items) == 0 {
		return edit{start: start, end: end, text: "[]"}, nil
	}
	ed := edit{start: start, end: end, text: "[ " + strings.Join(items, ", ") + " ]"}
	if len(node.Elems) > 0 && node.Elems[0].Pos.Line > node.Pos.Line { // one a line, as deep as they were
		last := src[:end-1]
		last = last[bytes.LastIndexByte(last, '\n')+1:]
		shut := strings.Repeat(" ", len(last)-len(bytes.TrimLeft(last, " ")))
		deep := strings.Repeat(" ", node.Elems[0].Pos.Col-1)
		ed.text = "[\n" + deep + strings.Join(items, ",\n"+deep) + "\n" + shut + "]"
	}
	return ed, nil
}

// closing finds the end of the brackets that begin at start.
func closing(src []byte, start int) (end int, comment, ok bool) {
	depth := 0
	for i := start; i < len(src); i++ {
		switch c := src[i]; c {
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				return i + 1, comment, true
			}
		case '#':
			comment = comment || strings.IndexByte(" \t\n", src[i-1]) >= 0
		case '"', '\'':
			if i = quoted(src, i); i < 0 {
				return 0, comment, false
			}
		}
	}
	return 0, comment, false
}

// quoted is the place of the quote that ends the one at i, which may be one only where a scalar begins.
func quoted(src []byte, i int) int {
	if strings.IndexByte(" \t\n[{,:", src[i-1]) < 0 {
		return i // inside of plain text: it's, 5"
	}
	for j := i + 1; j < len(src); j++ {
		switch {
		case src[i] == '"' && src[j] == '\\':
			j++
		case src[j] == src[i] && src[i] == '\'' && j+1 < len(src) && src[j+1] == '\'':
			j++
		case src[j] == src[i]:
			return j
		}
	}
	return -1
}

// rewriteBlock replaces the items of a list of lines that begin with -.
func rewriteBlock(src source, node *resource.Node, pairs []pair, got []*penstock.Tree) (edit, error) {
	if len(node.Elems) == 0 {
		return edit{}, errors.New("write it as `exactly: []` first")
	}
	// The items and where they begin: each reaches to the next, with the comments behind it.
	starts := make([]int, 0, len(node.Elems)+1)
	indent := ""
	for i, el := range node.Elems {
		at := src.line(el.Pos.Line)
		line := string(src[at:src.offset(el.Pos)])
		dash := strings.IndexByte(line, '-')
		if dash < 0 || strings.TrimSpace(line[:dash]) != "" {
			return edit{}, errors.New("its items don't stand on lines of their own")
		}
		if i == 0 {
			indent = line[:dash]
		}
		starts = append(starts, at)
	}
	starts = append(starts, blockEnd(src, starts[len(starts)-1], len(indent)))
	var b strings.Builder
	for _, p := range inOrder(pairs, len(got)) {
		if p.want >= 0 && canonNode(node.Elems[p.want]) == canon(got[p.got]) {
			b.Write(src[starts[p.want]:starts[p.want+1]])
			continue
		}
		b.WriteString(indent + "- " + yamlFlow(got[p.got]) + "\n")
	}
	text := b.String()
	if text == "" {
		text = indent + "[]\n"
	}
	return edit{start: starts[0], end: starts[len(starts)-1], text: text}, nil
}

func canonNode(n *resource.Node) string {
	t := n.Tree()
	return canon(&t)
}

// inOrder puts pairs into the order of what was found; what is missing has no place in it.
func inOrder(pairs []pair, n int) []pair {
	out := make([]pair, 0, n)
	for _, p := range pairs {
		if p.got >= 0 {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b pair) int { return cmp.Compare(a.got, b.got) })
	return out
}

// blockEnd is where the list ends whose last item begins at the line at: at the first line that is less
// deep. Blank lines and comments before that line don't belong to the list.
func blockEnd(src source, at, deep int) int {
	end := at
	for first := true; at < len(src); first = false {
		next := len(src)
		if i := bytes.IndexByte(src[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		line := strings.TrimRight(string(src[at:next]), " \t\n")
		body := strings.TrimLeft(line, " ")
		switch {
		case body == "" || body[0] == '#' && len(line)-len(body) <= deep:
		case !first && len(line)-len(body) <= deep:
			return end
		default:
			end = next
		}
		at = next
	}
	return end
}
