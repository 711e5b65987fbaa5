package control

import (
	"io/fs"
	"os"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/resource"
)

// Finding is something that is wrong or doubtful in a configuration, with its place.
type Finding = diag.Diagnostic

// The severities of a [Finding].
const (
	Error   = diag.Error
	Warning = diag.Warning
)

// Service does the use cases. Its fields are set once; it is then immutable and safe for
// concurrent use.
type Service struct {
	// Registry is what the binary contains.
	Registry *penstock.Registry
	// Clock paces progress and is the time of runs; nil is the machine's.
	Clock penstock.Clock
	// FS is where configurations are looked up; nil is the machine's file system.
	FS fs.FS
	// Secrets, where it is there, is asked for the values of secrets in place of the providers that the configuration chooses.
	Secrets func(name string) (value string, ok bool)
}

func (s *Service) clock() penstock.Clock {
	if s.Clock == nil {
		return penstock.SystemClock{}
	}
	return s.Clock
}

// Project says which configuration is meant.
type Project struct {
	// Paths of files and folders; none is the current folder.
	Paths []string
	// Overlay is a kustomization, which says by itself what it is laid over, or a folder of resources that are laid over Paths; "": none.
	Overlay string
	// Params are values of parameters by name, as text. They win over ParamFiles.
	Params map[string]string
	// ParamFiles are YAML files of values by name; later files win.
	ParamFiles []string
	// Integration chooses one where the files hold several.
	Integration string
	// AllowExec are programs, by their absolute paths, that the exec connector may start beside those that the Integration allows.
	AllowExec []string
}

// paths are what is read: a kustomization knows by itself.
func (p Project) paths() []string {
	if len(p.Paths) == 0 && p.Overlay == "" {
		return []string{"."}
	}
	return p.Paths
}

// load reads the resources of p.
func (s *Service) load(p Project) (*resource.Set, *diag.List) { return resource.Load(s.loading(p)) }

// loading says how the resources of p are read.
func (s *Service) loading(p Project) resource.Options {
	return resource.Options{
		Paths: p.paths(), Overlay: p.Overlay, FS: s.FS, Registry: s.Registry, Integration: p.Integration,
		Params: p.Params, ParamFiles: p.ParamFiles, AllowExec: p.AllowExec,
	}
}

// Names are the names of what a configuration holds, for completion.
type Names struct {
	Flows  []string
	Params []string
	Tests  []string
}

// Names reads the names in a configuration, whatever may be wrong with it.
func (s *Service) Names(p Project) Names {
	set, _ := s.load(p)
	var n Names
	for _, r := range set.Of(resource.KindFlow) {
		n.Flows = append(n.Flows, r.Name())
	}
	for _, r := range set.Of(resource.KindTest) {
		n.Tests = append(n.Tests, r.Name())
	}
	for _, v := range set.Params {
		n.Params = append(n.Params, v.Name)
	}
	return n
}

// readFile reads a file that the command line names.
func (s *Service) readFile(path string) ([]byte, error) {
	if s.FS != nil {
		return fs.ReadFile(s.FS, path)
	}
	return os.ReadFile(path)
}
