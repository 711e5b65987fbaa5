package resource

import (
	"io/fs"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// Options say what [Load] reads.
type Options struct {
	// Paths of files and folders. A folder is read with everything below it, sorted by name;
	// hidden folders and files, and folders called testdata, are skipped.
	Paths []string
	// FS is where Paths are looked up; nil is the machine's file system, with absolute and
	// relative paths as usual.
	FS fs.FS
	// Registry, where it is there, checks the names of connectors and codecs and decodes the
	// configuration of codecs (see [Decoder]).
	Registry *penstock.Registry
	// Integration chooses one where the files hold several.
	Integration string
	// Params are values of parameters by name, as text: --param name=value.
	Params map[string]string
	// ParamFiles are YAML files that map names of parameters to values; later files win, and
	// Params win over all.
	ParamFiles []string
}

// Set is everything that was loaded. It is immutable and safe for concurrent use.
type Set struct {
	// Resources in the order in which they were read.
	Resources []*Resource
	// Params are the parameters of the integration in their order, with their values.
	Params []ParamValue

	integration *Resource
	fsys        fs.FS
	byName      map[key]*Resource
}

type key struct {
	kind Kind
	name string
}

// ParamValue is a parameter with its value.
type ParamValue struct {
	Name  string
	Type  string // string, int, double, decimal, bool, duration
	Value penstock.Value
	Pos   penstock.Pos // of the declaration
	Given bool         // by Options; else it is the default
}

// Find returns the resource of a kind and name.
func (s *Set) Find(kind Kind, name string) (*Resource, bool) {
	r, ok := s.byName[key{kind, name}]
	return r, ok
}

// Of lists the resources of a kind in the order in which they were read. Flows and Tests are only
// those that the integration selects.
func (s *Set) Of(kind Kind) []*Resource {
	var out []*Resource
	for _, r := range s.Resources {
		if r.Kind == kind && s.selects(r) {
			out = append(out, r)
		}
	}
	return out
}

// Integration is the integration in force, or nil if the files hold none.
func (s *Set) Integration() *Integration {
	if s.integration == nil {
		return nil
	}
	return s.integration.Spec.(*Integration)
}

// Load reads files into a set. The set holds whatever could be read, even where the list
// has errors, so that the compiler can add its own findings; it is never nil. A Resource in
// it always has its Spec, whose required parts may be missing where an error says so.
func Load(o Options) (*Set, *diag.List) {
	return load(o)
}
