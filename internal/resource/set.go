package resource

import (
	"io/fs"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// Options say what [Load] reads.
type Options struct {
	// Paths of files and folders. A folder is read with everything below it, sorted by name;
	// hidden folders and files, and folders called testdata or overlays, are skipped.
	Paths []string
	// Overlay is a folder that is laid over Paths (none: the current folder), or a kustomization, which says by itself what it is laid over; ""
	// is none.
	Overlay string
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
	// AllowExec are programs that may be started beside those that the Integration allows: --allow-exec.
	AllowExec []string
	// Texts are read after Paths, as if they were files.
	Texts []Text
	// ParamsOptional lets parameters have no value, for a check that needs their types only.
	ParamsOptional bool
	// Before is a set that was loaded with the same Registry. What files hold that have not changed since is taken from there: their
	// resources are the same, also as pointers. Nil: everything is read.
	Before *Set
}

// Text is what a file holds that need not be there.
type Text struct {
	Path string // for places in it, and for the files that it names
	Text []byte
}

// Set is everything that was loaded. It is immutable, but for the list of files that it was read from, and safe for concurrent use.
type Set struct {
	// Resources in the order in which they were read.
	Resources []*Resource
	// Params are the parameters of the integration in their order, with their values.
	Params []ParamValue

	// Secrets are the secrets that the resources refer to in parts that were decoded here.
	Secrets []SecretUse

	files
	registry    *penstock.Registry
	documents   map[found]*documents
	integration *Resource
	allowExec   []string
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
	wrong bool         // an error was reported
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

// Allows reports whether what is off otherwise is allowed: a program that the exec connector starts.
func (s *Set) Allows(p penstock.Permission) bool {
	if p.Kind != "exec" {
		return false
	}
	if it := s.Integration(); it != nil && slices.Contains(it.Allow.Exec, p.What) {
		return true
	}
	return slices.Contains(s.allowExec, p.What)
}

// Allowed are the programs that may be started beside those that the Integration allows, as Options said.
func (s *Set) Allowed() []string { return slices.Clone(s.allowExec) }

// selects reports whether the integration holds r: a Flow by its labels, a Test by its flow, everything
// else by being referred to.
func (s *Set) selects(r *Resource) bool {
	it := s.Integration()
	if it == nil {
		return true
	}
	if t, ok := r.Spec.(*Test); ok {
		flow, ok := s.Find(KindFlow, t.Flow.Name)
		return !ok || s.selects(flow)
	}
	if r.Kind != KindFlow {
		return true
	}
	for k, v := range it.Select {
		if r.Metadata.Labels[k] != v {
			return false
		}
	}
	return true
}

// Names lists the names of the resources of a kind, in the order in which they were read.
func (s *Set) Names(kind Kind) []string {
	var out []string
	for _, r := range s.Resources {
		if r.Kind == kind {
			out = append(out, r.Name())
		}
	}
	return out
}

// Suggest says what to do about a name of a kind that is not there: "did you mean `orders`?", or
// what there is.
func (s *Set) Suggest(kind Kind, name string) string {
	names := s.Names(kind)
	if len(names) == 0 {
		return "there is no " + string(kind) + " at all; add a document with `kind: " + string(kind) + "`"
	}
	return hintFor(name, names)
}

// ReadFile reads a neighbour file by the path that a [Neighbour] or a Test gives, from where the
// resources were loaded.
func (s *Set) ReadFile(path string) ([]byte, error) { return s.read(path) }

// Load reads files into a set. The set holds whatever could be read, even where the list
// has errors, so that the compiler can add its own findings; it is never nil. A Resource in
// it always has its Spec, whose required parts may be missing where an error says so.
func Load(o Options) (*Set, *diag.List) {
	return load(o)
}
