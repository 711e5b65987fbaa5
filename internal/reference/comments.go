// Package reference knows what every word of the language means: from the structs that the
// configuration is decoded into, and from the comments of their fields. It renders the reference pages
// (docs/reference), the JSON Schema of all kinds, and what `penstock explain` says.
package reference

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strings"
)

// TypeDoc is the comments of one struct.
type TypeDoc struct {
	Doc    string            `json:"doc,omitempty"`
	Fields map[string]string `json:"fields,omitempty"` // by the Go name of the field
}

// Comments holds the comments of structs by import path and name:
// "penstock.dev/penstock/internal/resource.Flow".
type Comments map[string]TypeDoc

//go:embed comments.json
var embedded []byte

// EmbeddedComments are the comments as `go generate` last wrote them into the binary.
func EmbeddedComments() (Comments, error) {
	var c Comments
	if err := json.Unmarshal(embedded, &c); err != nil {
		return nil, fmt.Errorf("reading the comments: %w", err)
	}
	return c, nil
}

// modulePath is the import path of the module's root.
const modulePath = "penstock.dev/penstock"

// CollectComments reads the comments of all structs in the packages whose fields are configuration:
// internal/resource, and what lies below connector, codec and secret. root is the folder of go.mod.
func CollectComments(root string) (Comments, error) {
	dirs := []string{"internal/resource"}
	for _, parent := range []string{"connector", "codec", "secret"} {
		entries, err := os.ReadDir(filepath.Join(root, parent))
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() {
				dirs = append(dirs, parent+"/"+e.Name())
			}
		}
	}
	out := Comments{}
	for _, d := range dirs {
		if err := out.collect(filepath.Join(root, filepath.FromSlash(d)), path.Join(modulePath, d)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c Comments) collect(dir, importPath string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	sort.Strings(files)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, s := range g.Specs {
				c.addType(importPath, g, s.(*ast.TypeSpec))
			}
		}
	}
	return nil
}

func (c Comments) addType(importPath string, g *ast.GenDecl, t *ast.TypeSpec) {
	st, ok := t.Type.(*ast.StructType)
	if !ok {
		return
	}
	doc := t.Doc.Text()
	if doc == "" {
		doc = g.Doc.Text()
	}
	td := TypeDoc{Doc: flat(doc), Fields: map[string]string{}}
	for _, f := range st.Fields.List {
		if f.Tag == nil { // not read from files
			continue
		}
		text := f.Doc.Text()
		if text == "" {
			text = f.Comment.Text()
		}
		for _, n := range f.Names {
			if text != "" {
				td.Fields[n.Name] = flat(text)
			}
		}
	}
	if len(td.Fields) == 0 {
		td.Fields = nil
	}
	c[importPath+"."+t.Name.Name] = td
}

// link is a reference in a Go comment: [Decode], [penstock.Expr].
var link = regexp.MustCompile(`\[([A-Za-z]+(?:\.[A-Za-z]+)*)\]`)

// flat brings a comment to one line a paragraph.
func flat(s string) string {
	var paragraphs []string
	for _, p := range strings.Split(strings.TrimSpace(s), "\n\n") {
		paragraphs = append(paragraphs, strings.Join(strings.Fields(p), " "))
	}
	return link.ReplaceAllString(strings.Join(paragraphs, "\n\n"), "$1")
}

// ofType is the comment of a struct.
func (c Comments) ofType(t reflect.Type) string { return c[typeKey(t)].Doc }

// ofField is the comment of a field of a struct.
func (c Comments) ofField(owner reflect.Type, goName string) string {
	return c[typeKey(owner)].Fields[goName]
}

func typeKey(t reflect.Type) string {
	name, _, _ := strings.Cut(t.Name(), "[") // a generic type's parameters
	return t.PkgPath() + "." + name
}
