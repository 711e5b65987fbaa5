package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"penstock.dev/penstock"
)

// expand lists the files that a path means, sorted: the file itself, or all files that a pattern matches. In a pattern
// * stands for any characters but the separator, ? for one, [a-z] for one of a set, and ** for any number of
// folders. Folders never match, nor do names that end with skip. The error is NotFound where there is no such file.
//
// tell is called for folders that can't be read, which are then stepped over; where it is nil they are errors, since
// their files would be missing silently.
func expand(path, skip string, tell func(name string, err error)) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil, &penstock.Error{Code: penstock.Config, Op: "file.open", Path: path, Err: errors.New("this is a folder"), Hint: "say which files in it: " + filepath.Join(path, "*")}
	case err == nil:
		return []string{path}, nil
	case !strings.ContainsAny(path, `*?[`):
		return nil, failure("file.open", path, err)
	}
	if _, err := filepath.Match(path, ""); err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "file.open", Path: path, Err: errors.New("the pattern has a [ without ]")}
	}
	root, parts := split(path)
	w := walker{seen: map[string]bool{}, skip: skip, tell: tell}
	if err := w.walk(root, parts); err != nil {
		return nil, failure("file.open", path, err)
	}
	if len(w.found) == 0 {
		return nil, &penstock.Error{Code: penstock.NotFound, Op: "file.open", Path: path, Err: errors.New("no file matches the pattern"),
			Hint: "check the path; if no file is fine, set allowEmpty: true"}
	}
	sort.Strings(w.found)
	return w.found, nil
}

// split parts a pattern into the folder where it begins and one pattern for each name below.
func split(path string) (root string, parts []string) {
	root = "."
	volume := filepath.VolumeName(path)
	rest := path[len(volume):]
	if strings.HasPrefix(rest, string(filepath.Separator)) {
		root = volume + string(filepath.Separator)
		rest = rest[1:]
	}
	parts = strings.Split(rest, string(filepath.Separator))
	for len(parts) > 1 && !strings.ContainsAny(parts[0], `*?[`) {
		root = filepath.Join(root, parts[0])
		parts = parts[1:]
	}
	return root, parts
}

type walker struct {
	found []string
	seen  map[string]bool
	skip  string
	tell  func(name string, err error)
}

// skipped reports whether a name is not meant, whatever the pattern says.
func (w *walker) skipped(name string) bool {
	return strings.HasSuffix(name, partialSuffix) || w.skip != "" && strings.HasSuffix(name, w.skip)
}

// walk looks for parts below dir.
func (w *walker) walk(dir string, parts []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if w.tell != nil {
			w.tell(dir, err)
			return nil
		}
		return err
	}
	if parts[0] == "**" {
		if len(parts) == 1 {
			parts = []string{"**", "*"}
		}
		if err := w.walk(dir, parts[1:]); err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() { // links to folders are not followed: they might lead back here
				if err := w.walk(filepath.Join(dir, e.Name()), parts); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, e := range entries {
		if !matchName(parts[0], e.Name()) {
			continue
		}
		name := filepath.Join(dir, e.Name())
		info, err := os.Stat(name)
		switch {
		case err != nil && w.tell != nil:
			if !errors.Is(err, fs.ErrNotExist) { // else it went away just now
				w.tell(name, err)
			}
			err = nil
		case err != nil:
			return err
		case len(parts) > 1 && info.IsDir():
			err = w.walk(name, parts[1:])
		case len(parts) == 1 && !info.IsDir() && !w.seen[name] && !w.skipped(name):
			w.seen[name] = true
			w.found = append(w.found, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pattern is a path as split takes it apart.
type pattern struct {
	root  string
	parts []string
}

func newPattern(path string) pattern {
	root, parts := split(path)
	return pattern{root, parts}
}

// below is the part of a file's name below the folder where the pattern begins.
func (p pattern) below(name string) string {
	rel, err := filepath.Rel(p.root, name)
	if err != nil || strings.HasPrefix(rel, "..") {
		return filepath.Base(name)
	}
	return rel
}

// finds reports whether the pattern would find files in dir, under the names that they were found by first.
func (p pattern) finds(dir string) bool {
	root, err := filepath.Abs(p.root)
	if err != nil {
		return false
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return false
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return false
	}
	if rel == "." {
		return true
	}
	names := strings.Split(rel, string(filepath.Separator))
	for i, part := range p.parts {
		if part == "**" && matchAll(p.parts[:i+1], names) {
			return true
		}
	}
	return false
}

// matchAll reports whether parts, as walk understands them, match names.
func matchAll(parts, names []string) bool {
	switch {
	case len(parts) == 0:
		return len(names) == 0
	case parts[0] == "**":
		for i := range len(names) + 1 {
			if matchAll(parts[1:], names[i:]) {
				return true
			}
		}
		return false
	case len(names) == 0:
		return false
	}
	return matchName(parts[0], names[0]) && matchAll(parts[1:], names[1:])
}

// matchName reports whether one part of a pattern matches a name.
func matchName(part, name string) bool {
	ok, err := filepath.Match(part, name)
	return err == nil && ok && (!strings.HasPrefix(name, ".") || strings.HasPrefix(part, "."))
}
