package control

import (
	"embed"
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"penstock.dev/penstock"
)

//go:embed connectorscaffold
var connectorScaffold embed.FS

// ConnectorOptions say what [Service.NewConnector] writes.
type ConnectorOptions struct {
	Name    string // the key in the configuration: a lower-case letter, then letters and digits
	Module  string // path of the Go module; empty: example.com/<name>
	Dir     string // where it is written; empty: a folder called like the connector
	Version string // of Penstock that it requires, vX.Y.Z; empty: that of no release
	Source  string // folder with the source of Penstock, which go.mod then points to; empty: the released module
}

// NewConnector scaffolds a connector in a Go module of its own: source, sink, the suites they must pass, a page and an example that run as
// they are. It refuses to write anything if one of the files is there already.
func (s *Service) NewConnector(o ConnectorOptions) (*Initialized, error) {
	if !connectorName.MatchString(o.Name) || token.IsKeyword(o.Name) {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "connector new", Err: fmt.Errorf("%q can't be the name of a connector", o.Name),
			Hint: "use a lower-case letter, then lower-case letters and digits, as in acme"}
	}
	for _, kind := range []string{penstock.KindOfSource, penstock.KindOfSink, penstock.KindOfServer, penstock.KindOfCaller} {
		if _, taken := s.Registry.Lookup(kind, o.Name); taken || o.Name == "channel" {
			return nil, &penstock.Error{Code: penstock.Conflict, Op: "connector new", Err: fmt.Errorf("this program has a connector called %s already", o.Name),
				Hint: "choose another name: one binary can't contain both"}
		}
	}
	if o.Module == "" {
		o.Module = "example.com/" + o.Name
	}
	if !modulePath.MatchString(o.Module) {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "connector new", Err: fmt.Errorf("%q can't be the path of a Go module", o.Module),
			Hint: "write it as in github.com/acme/penstock-" + o.Name}
	}
	if o.Dir == "" {
		o.Dir = o.Name
	}
	required := o.Version
	if required == "" || o.Source != "" {
		required = "v0.0.0"
	}
	replacer := strings.NewReplacer("MODULE", o.Module, "PACKAGE", o.Name, "NAME", o.Name, "VERSION", required)
	out := &Initialized{Dir: o.Dir, Name: o.Name}
	content := map[string][]byte{}
	err := fs.WalkDir(connectorScaffold, "connectorscaffold", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := connectorScaffold.ReadFile(name)
		file := strings.TrimSuffix(strings.TrimPrefix(name, "connectorscaffold/"), ".txt")
		content[file] = []byte(replacer.Replace(string(text)))
		out.Files = append(out.Files, file)
		return err
	})
	if err == nil && o.Source != "" {
		var source string
		if source, err = sourceFolder(o.Source); err == nil {
			content["go.mod"] = fmt.Appendf(content["go.mod"], "\nreplace %s => %s\n", penstockModule, source)
		}
	}
	if err != nil {
		return nil, refused("connector new", "", err, "")
	}
	if err := writeAllNew(o.Dir, out.Files, content, "connector new", "name another folder with --dir"); err != nil {
		return nil, err
	}
	return out, nil
}

const penstockModule = "penstock.dev/penstock"

var (
	connectorName = regexp.MustCompile(`^[a-z][a-z0-9]{0,30}$`)
	modulePath    = regexp.MustCompile(`^[A-Za-z0-9][-._~A-Za-z0-9]*(/[-._~A-Za-z0-9]+)*$`)
)

// sourceFolder makes the path of Penstock's own source absolute, and looks whether it is that.
func sourceFolder(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(abs, "go.mod"))
	if err != nil || !strings.HasPrefix(string(text), "module "+penstockModule+"\n") {
		return "", &penstock.Error{Code: penstock.Invalid, Path: dir, Err: errors.New("this is not the source of Penstock"),
			Hint: "name the folder that has its go.mod: a clone of the repository"}
	}
	return abs, nil
}

// writeAllNew writes files, or none of them where one is there already.
func writeAllNew(dir string, files []string, content map[string][]byte, op, hint string) error {
	for _, file := range files {
		if _, err := os.Lstat(filepath.Join(dir, file)); err == nil {
			return &penstock.Error{Code: penstock.Conflict, Op: op, Path: filepath.Join(dir, file),
				Err: errors.New("this file is there already, and nothing is overwritten"), Hint: hint}
		}
	}
	for _, file := range files {
		if err := writeNew(filepath.Join(dir, filepath.FromSlash(path.Clean(file))), content[file]); err != nil {
			return refused(op, filepath.Join(dir, file), cause(err), "choose a folder that can be written to")
		}
	}
	return nil
}

// refused gives an error its operation; one that knows more keeps what it knows.
func refused(op, place string, err error, hint string) error {
	var known *penstock.Error
	if errors.As(err, &known) {
		e := *known
		e.Op = op
		return &e
	}
	return &penstock.Error{Code: penstock.Unavailable, Op: op, Path: place, Err: err, Hint: hint}
}
