package control

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"penstock.dev/penstock"
)

//go:embed scaffold
var scaffold embed.FS

// Initialized is what [Service.Initialize] wrote.
type Initialized struct {
	Dir   string   `json:"dir"`
	Name  string   `json:"name"`
	Files []string `json:"files"` // below Dir, with slashes
}

// Initialize writes a first configuration into dir, which is made if it is not there: a flow, its
// schema, its tests and sample data. An empty name is that of the folder. It refuses to write anything if
// one of the files is there already.
func (s *Service) Initialize(dir, name string) (*Initialized, error) {
	out := &Initialized{Dir: dir, Name: name}
	if name == "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, &penstock.Error{Code: penstock.Internal, Op: "init", Path: dir, Err: err}
		}
		out.Name = dnsLabel(filepath.Base(abs))
	} else if dnsLabel(name) != name {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "init", Err: fmt.Errorf("%q can't be the name of an integration", name),
			Hint: "use at most 63 of a-z, 0-9 and -, beginning with a letter, as in " + dnsLabel(name)}
	}
	content := map[string][]byte{}
	err := fs.WalkDir(scaffold, "scaffold", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := scaffold.ReadFile(path)
		file := strings.TrimPrefix(path, "scaffold/")
		if file == "gitignore.txt" { // under its real name it would be in force where it is kept
			file = ".gitignore"
		}
		content[file] = []byte(strings.ReplaceAll(string(text), "name: NAME", "name: "+out.Name))
		out.Files = append(out.Files, file)
		return err
	})
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Internal, Op: "init", Err: err}
	}
	if err := writeAllNew(dir, out.Files, content, "init", "name a new folder: penstock init hello"); err != nil {
		return nil, err
	}
	return out, nil
}

// cause is what the system said, without the path, which is shown beside it.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func writeNew(path string, text []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// dnsLabel makes a DNS label of a name (RFC 1123, beginning with a letter).
func dnsLabel(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9' && b.Len() > 0:
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() == 63 {
			break
		}
	}
	if s := strings.TrimRight(b.String(), "-"); s != "" {
		return s
	}
	return "hello"
}
