// Package overlay builds kustomizations with the library of kustomize, which it hides: read only, without plugins, without a network.
package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Names are what a file of a kustomization may be called.
var Names = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// Files is what Build reads. Paths are slash-separated and relative to the folder that the program works in, or absolute.
type Files interface {
	ReadFile(path string) ([]byte, error)
	Stat(path string) (fs.FileInfo, error)
	ReadDir(path string) ([]fs.DirEntry, error)
}

// Built is one resource as the kustomization makes it.
type Built struct {
	Kind, Name string // as they are now
	WasKind    string // as they stand in the file that it comes from
	WasName    string
	Origin     string // the path of that file; "" where it was generated
	YAML       string
}

// kustomize keeps what it knows of schemas in variables of its own.
var one sync.Mutex

// Build builds the kustomization in a folder. What is wrong comes in kustomize's words.
func Build(files Files, dir string) ([]Built, error) {
	one.Lock()
	defer one.Unlock()
	root, err := rootOf(files, dir)
	if err != nil {
		return nil, err
	}
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(root, root.abs(dir))
	if err != nil {
		return nil, err
	}
	var out []Built
	for _, r := range m.Resources() {
		origin, err := r.GetOrigin()
		if err != nil {
			return nil, err
		}
		b := Built{Kind: r.GetKind(), Name: r.GetName(), WasKind: r.OrgId().Kind, WasName: r.OrgId().Name}
		if origin != nil && origin.Path != "" && origin.Repo == "" {
			b.Origin = path.Join(filepath.ToSlash(dir), origin.Path)
		}
		if err := errors.Join(r.SetOrigin(nil), r.ClearTransformations()); err != nil {
			return nil, err
		}
		if b.YAML, err = r.RNode.String(); err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// readOnly is the file system that kustomize sees. Absolute paths of its own lead to those of Files.
type readOnly struct {
	files Files
	top   string // the absolute path of what Files calls "."
	dir   string // absolute, of the kustomization that is built
}

func rootOf(files Files, dir string) (*readOnly, error) {
	top, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("the current folder is not known: %w", err)
	}
	r := &readOnly{files: files, top: top}
	r.dir = r.abs(dir)
	return r, nil
}

func (r *readOnly) abs(p string) string {
	p = filepath.FromSlash(p)
	if !filepath.IsAbs(p) {
		p = filepath.Join(r.top, p)
	}
	return filepath.Clean(p)
}

// name is what Files calls a path.
func (r *readOnly) name(p string) string {
	p = r.abs(p)
	if rel, err := filepath.Rel(r.top, p); err == nil && (p == r.top || !strings.HasPrefix(rel, "..")) {
		return filepath.ToSlash(rel)
	}
	return filepath.ToSlash(p)
}

// ReadFile implements filesys.FileSystem. The kustomization that is built is told to note where resources come from.
func (r *readOnly) ReadFile(p string) ([]byte, error) {
	text, err := r.files.ReadFile(r.name(p))
	if err != nil {
		return nil, err
	}
	base := filepath.Base(p)
	if filepath.Dir(r.abs(p)) == r.dir && (base == Names[0] || base == Names[1] || base == Names[2]) && !strings.Contains(string(text), "buildMetadata") {
		text = append(append([]byte{}, text...), "\nbuildMetadata: ["+types.OriginAnnotations+"]\n"...)
	}
	return text, nil
}

// IsDir implements filesys.FileSystem.
func (r *readOnly) IsDir(p string) bool {
	i, err := r.files.Stat(r.name(p))
	return err == nil && i.IsDir()
}

// Exists implements filesys.FileSystem.
func (r *readOnly) Exists(p string) bool {
	_, err := r.files.Stat(r.name(p))
	return err == nil
}

// ReadDir implements filesys.FileSystem.
func (r *readOnly) ReadDir(p string) ([]string, error) {
	all, err := r.files.ReadDir(r.name(p))
	var out []string
	for _, e := range all {
		out = append(out, e.Name())
	}
	return out, err
}

// CleanedAbs implements filesys.FileSystem.
func (r *readOnly) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	abs := r.abs(p)
	i, err := r.files.Stat(r.name(abs))
	switch {
	case err != nil:
		return "", "", err
	case i.IsDir():
		return filesys.ConfirmedDir(abs), "", nil
	}
	return filesys.ConfirmedDir(filepath.Dir(abs)), filepath.Base(abs), nil
}

// Glob implements filesys.FileSystem: no part of a kustomization that is built here needs it.
func (r *readOnly) Glob(string) ([]string, error) { return nil, errReadOnly }

// Walk implements filesys.FileSystem.
func (r *readOnly) Walk(string, filepath.WalkFunc) error { return errReadOnly }

// Open implements filesys.FileSystem.
func (r *readOnly) Open(string) (filesys.File, error) { return nil, errReadOnly }

// Create implements filesys.FileSystem.
func (r *readOnly) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir implements filesys.FileSystem.
func (r *readOnly) Mkdir(string) error { return errReadOnly }

// MkdirAll implements filesys.FileSystem.
func (r *readOnly) MkdirAll(string) error { return errReadOnly }

// RemoveAll implements filesys.FileSystem.
func (r *readOnly) RemoveAll(string) error { return errReadOnly }

// WriteFile implements filesys.FileSystem.
func (r *readOnly) WriteFile(string, []byte) error { return errReadOnly }

var errReadOnly = errors.New("a kustomization is read only here")
