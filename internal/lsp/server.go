// Package lsp is the language server (Language Server Protocol 3.17) of Penstock's YAML: diagnostics of what `penstock check`
// finds while one types, completion of words, names and the paths of expressions, hover with types, and definitions.
//
// It is a face over control. A file belongs to the project of the nearest folder above it, inside the workspace, that holds an
// Integration; without one, to that of its own folder.
package lsp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf16"

	"github.com/sourcegraph/jsonrpc2"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
)

// server is one session with one editor.
type server struct {
	service control.Service
	version string

	mu       sync.Mutex
	root     string
	files    overlay
	open     map[string]int // path of an open text to its version
	change   int            // grows with each change
	projects map[string]*project
	shown    map[string]bool // files that have diagnostics in the editor
	down     bool            // shutdown was asked for

	wake chan struct{}
}

// project is what was found out of a folder when change was the newest.
type project struct {
	change int
	found  *control.Inspection
}

// Serve speaks with one editor over stdio until it says exit, closes its side, or ctx ends. The error is for a session that ended
// without a shutdown.
func Serve(ctx context.Context, s *control.Service, version string, in io.ReadCloser, out io.WriteCloser) error {
	session := ctx
	ctx, cancel := context.WithCancel(session)
	defer cancel()
	sv := &server{service: *s, version: version, open: map[string]int{}, projects: map[string]*project{}, shown: map[string]bool{}, wake: make(chan struct{}, 1)}
	conn := jsonrpc2.NewConn(ctx, jsonrpc2.NewBufferedStream(stdio{in, out}, jsonrpc2.VSCodeObjectCodec{}), jsonrpc2.HandlerWithError(sv.handle).SuppressErrClosed())
	var publisher sync.WaitGroup
	publisher.Go(func() { sv.publish(ctx, conn) })
	select {
	case <-conn.DisconnectNotify():
	case <-ctx.Done():
	}
	cancel()
	err := conn.Close()
	publisher.Wait()
	if errors.Is(err, jsonrpc2.ErrClosed) {
		err = nil
	}
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if !sv.down && err == nil && session.Err() == nil {
		err = penstock.E(penstock.Cancelled, "lsp", "", "the editor went away without a shutdown")
	}
	return err
}

type stdio struct {
	io.ReadCloser
	out io.WriteCloser
}

// Write implements io.Writer.
func (s stdio) Write(p []byte) (int, error) { return s.out.Write(p) }

// Close implements io.Closer.
func (s stdio) Close() error { return errors.Join(s.ReadCloser.Close(), s.out.Close()) }

// handle answers one request or takes one notification; they come one after the other.
func (s *server) handle(_ context.Context, conn *jsonrpc2.Conn, r *jsonrpc2.Request) (any, error) {
	switch r.Method {
	case "initialize":
		return s.initialize(r)
	case "shutdown":
		s.mu.Lock()
		s.down = true
		s.mu.Unlock()
		return nil, nil
	case "exit":
		return nil, conn.Close()
	case "textDocument/didOpen", "textDocument/didChange", "textDocument/didClose":
		return nil, s.edit(r)
	case "textDocument/didSave", "workspace/didChangeWatchedFiles":
		s.changed()
		return nil, nil
	case "textDocument/completion":
		return s.completion(r)
	case "textDocument/hover":
		return s.hover(r)
	case "textDocument/definition":
		return s.definition(r)
	}
	if r.Notif {
		return nil, nil // those that one does not know are left alone
	}
	return nil, &jsonrpc2.Error{Code: jsonrpc2.CodeMethodNotFound, Message: "penstock does not know " + r.Method}
}

func decode(r *jsonrpc2.Request, into any) error {
	if r.Params == nil {
		return &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidParams, Message: r.Method + " has no params"}
	}
	if err := json.Unmarshal(*r.Params, into); err != nil {
		return &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidParams, Message: err.Error()}
	}
	return nil
}

func (s *server) initialize(r *jsonrpc2.Request) (any, error) {
	var p initializeParams
	if err := decode(r, &p); err != nil {
		return nil, err
	}
	root := p.RootURI
	if len(p.WorkspaceFolders) > 0 {
		root = p.WorkspaceFolders[0].URI
	}
	if path, ok := pathOf(root); ok {
		s.mu.Lock()
		s.root = path
		s.mu.Unlock()
	}
	return map[string]any{
		"capabilities": map[string]any{
			"textDocumentSync":   map[string]any{"openClose": true, "change": 1, "save": true},
			"completionProvider": map[string]any{"triggerCharacters": []string{".", "{", " ", "\""}},
			"hoverProvider":      true,
			"definitionProvider": true,
		},
		"serverInfo": map[string]any{"name": "penstock", "version": s.version},
	}, nil
}

// edit takes a text that was opened, changed or closed.
func (s *server) edit(r *jsonrpc2.Request) error {
	var p documentParams
	if err := decode(r, &p); err != nil {
		return err
	}
	path, ok := pathOf(p.TextDocument.URI)
	if !ok {
		return nil
	}
	s.mu.Lock()
	switch r.Method {
	case "textDocument/didClose":
		s.files = s.files.with(path, nil)
		delete(s.open, path)
	case "textDocument/didOpen":
		s.files = s.files.with(path, []byte(p.TextDocument.Text))
		s.open[path] = p.TextDocument.Version
	default:
		if n := len(p.ContentChanges); n > 0 {
			s.files = s.files.with(path, []byte(p.ContentChanges[n-1].Text))
			s.open[path] = p.TextDocument.Version
		}
	}
	s.mu.Unlock()
	s.changed()
	return nil
}

// changed says that what was found out may be out of date.
func (s *server) changed() {
	s.mu.Lock()
	s.change++
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// inspect finds out what there is to know of the project of a file, once for each change.
func (s *server) inspect(path string) (*control.Inspection, error) {
	s.mu.Lock()
	folder := s.folder(path)
	p, change, files := s.projects[folder], s.change, s.files
	s.mu.Unlock()
	if p != nil && p.change == change {
		return p.found, nil
	}
	service := s.service
	service.FS = files
	found, err := service.Inspect(control.Project{Paths: []string{folder}})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.projects[folder] = &project{change, found}
	return found, nil
}

// folder is the project that a file belongs to.
func (s *server) folder(path string) string {
	own := filepath.Dir(path)
	for dir := own; ; dir = filepath.Dir(dir) {
		if s.integrates(dir) {
			return dir
		}
		if dir == s.root || dir == filepath.Dir(dir) || s.root == "" {
			return own
		}
	}
}

// integrates says that a folder itself holds an Integration.
func (s *server) integrates(dir string) bool {
	names, _ := filepath.Glob(filepath.Join(dir, "*.y*ml")) // the pattern is well-formed but for odd folders, which then hold none
	for _, n := range names {
		text, ok := s.files.texts[n]
		if !ok {
			text, _ = os.ReadFile(n) // one that can't be read says nothing
		}
		if bytes.Contains(text, []byte("\nkind: Integration")) || bytes.HasPrefix(text, []byte("kind: Integration")) {
			return true
		}
	}
	return false
}

// publish shows what is wrong with the projects of the open files, after each change.
func (s *server) publish(ctx context.Context, conn *jsonrpc2.Conn) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		s.mu.Lock()
		paths := slices.Sorted(maps.Keys(s.open))
		s.mu.Unlock()
		all := map[string][]diagnostic{}
		for _, p := range paths {
			in, err := s.inspect(p)
			if err != nil {
				continue
			}
			for _, f := range in.Files {
				if _, ok := all[f]; !ok {
					all[f] = []diagnostic{}
				}
			}
			for file, ds := range s.diagnose(in) {
				all[file] = ds
			}
		}
		if !s.send(ctx, conn, all) {
			return
		}
	}
}

// send publishes the diagnostics of each file that has some, or had some.
func (s *server) send(ctx context.Context, conn *jsonrpc2.Conn, all map[string][]diagnostic) bool {
	s.mu.Lock()
	for f := range s.shown {
		if _, ok := all[f]; !ok {
			all[f] = []diagnostic{}
		}
	}
	var params []publishDiagnosticsParams
	for _, f := range slices.Sorted(maps.Keys(all)) {
		version, open := s.open[f]
		if len(all[f]) == 0 && !s.shown[f] && !open {
			continue
		}
		s.shown[f] = len(all[f]) > 0
		p := publishDiagnosticsParams{URI: uriOf(f), Diagnostics: all[f]}
		if open {
			p.Version = &version
		}
		params = append(params, p)
	}
	s.mu.Unlock()
	for _, p := range params {
		if conn.Notify(ctx, "textDocument/publishDiagnostics", p) != nil {
			return false // the editor is gone
		}
	}
	return true
}

// diagnose turns findings into diagnostics, by file.
func (s *server) diagnose(in *control.Inspection) map[string][]diagnostic {
	out := map[string][]diagnostic{}
	for _, f := range in.Findings {
		if f.Pos.File == "" {
			continue
		}
		d := diagnostic{Severity: 1, Code: f.Code, Source: "penstock", Message: f.Message}
		if f.Severity == control.Warning {
			d.Severity = 2
		}
		if f.Hint != "" {
			d.Message += "\n" + f.Hint
		}
		line := s.lineOf(f.Pos.File, f.Pos.Line)
		d.Range = spanOf(line, f.Pos, f.Text)
		out[f.Pos.File] = append(out[f.Pos.File], d)
	}
	return out
}

// spanOf is the range of a finding: of the offending text where it stands there, else of the word.
func spanOf(line string, at penstock.Pos, text string) textRange {
	if !at.IsValid() {
		return textRange{}
	}
	runes := []rune(line)
	from := min(max(at.Col-1, 0), len(runes))
	length := 0
	first, _, _ := strings.Cut(text, "\n")
	rest := string(runes[from:])
	switch {
	case first != "" && strings.HasPrefix(rest, first):
		length = len([]rune(first))
	case first != "" && len(rest) > 0 && strings.HasPrefix(rest[1:], first):
		length = 1 + len([]rune(first))
	default:
		for length < len(runes)-from && !strings.ContainsRune(" ,:{}[]\"'", runes[from+length]) {
			length++
		}
		length = max(length, min(1, len(runes)-from))
	}
	units := func(n int) int { return len(utf16.Encode(runes[:n])) }
	return textRange{position{at.Line - 1, units(from)}, position{at.Line - 1, units(from + length)}}
}

// text is a file as the editor has it.
func (s *server) text(path string) string {
	s.mu.Lock()
	files := s.files
	s.mu.Unlock()
	text, _ := files.ReadFile(path) // a file that is gone has no text
	return string(text)
}

func (s *server) lineOf(path string, n int) string { return lineIn(s.text(path), n) }

func lineIn(text string, n int) string {
	lines := strings.Split(text, "\n")
	if n < 1 || n > len(lines) {
		return ""
	}
	return strings.TrimSuffix(lines[n-1], "\r")
}

// asked is what a request is about: the file, its text, and the place.
func (s *server) asked(r *jsonrpc2.Request) (in *control.Inspection, at penstock.Pos, text string, err error) {
	var p documentParams
	if err = decode(r, &p); err != nil {
		return nil, at, "", err
	}
	path, ok := pathOf(p.TextDocument.URI)
	if !ok {
		return nil, at, "", &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidParams, Message: fmt.Sprintf("%s is no file", p.TextDocument.URI)}
	}
	if in, err = s.inspect(path); err != nil {
		return nil, at, "", err
	}
	text = s.text(path)
	units := utf16.Encode([]rune(lineIn(text, p.Position.Line+1)))
	chars := len(utf16.Decode(units[:min(max(p.Position.Character, 0), len(units))]))
	return in, penstock.Pos{File: path, Line: p.Position.Line + 1, Col: chars + 1}, text, nil
}

func (s *server) completion(r *jsonrpc2.Request) (any, error) {
	in, at, text, err := s.asked(r)
	if err != nil {
		return nil, err
	}
	list := completionList{Items: []completionItem{}}
	for _, c := range in.Complete(at, text) {
		item := completionItem{Label: c.Label, Kind: completionKinds[c.Kind], Detail: c.Detail, InsertText: c.Insert}
		if c.Doc != "" {
			item.Documentation = &markupContent{"markdown", c.Doc}
		}
		list.Items = append(list.Items, item)
	}
	return list, nil
}

func (s *server) hover(r *jsonrpc2.Request) (any, error) {
	in, at, text, err := s.asked(r)
	if err != nil {
		return nil, err
	}
	if md := in.Hover(at, text); md != "" {
		return hover{markupContent{"markdown", md}}, nil
	}
	return nil, nil
}

func (s *server) definition(r *jsonrpc2.Request) (any, error) {
	in, at, text, err := s.asked(r)
	if err != nil {
		return nil, err
	}
	if p, ok := in.Definition(at, text); ok {
		return location{uriOf(p.File), spanOf(s.lineOf(p.File, p.Line), p, "")}, nil
	}
	return nil, nil
}

// pathOf is the path of a file URI (RFC 8089).
func pathOf(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" || u.Path == "" {
		return "", false
	}
	return filepath.Clean(filepath.FromSlash(u.Path)), true
}

func uriOf(path string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
}
