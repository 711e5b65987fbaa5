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
// folders. Folders never match. The error is NotFound where there is no such file.
func expand(path string) ([]string, error) {
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
	w := walker{seen: map[string]bool{}}
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
}

// walk looks for parts below dir. A folder that can't be read is an error: its files would be missing silently.
func (w *walker) walk(dir string, parts []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
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
		if ok, _ := filepath.Match(parts[0], e.Name()); !ok || strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(parts[0], ".") {
			continue
		}
		name := filepath.Join(dir, e.Name())
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return err
		case len(parts) > 1 && info.IsDir():
			err = w.walk(name, parts[1:])
		case len(parts) == 1 && !info.IsDir() && !w.seen[name] && !strings.HasSuffix(name, partialSuffix):
			w.seen[name] = true
			w.found = append(w.found, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
