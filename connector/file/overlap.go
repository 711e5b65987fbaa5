package file

import (
	"fmt"
	"path/filepath"
	"strings"

	"penstock.dev/penstock"
)

var _ penstock.Overlapper = SourceConfig{}

// Overlaps implements penstock.Overlapper: a file that is appended to is not read, and what a sink makes is not what a pattern finds.
// A file that is named, read, and replaced is neither: it takes its new content when all of the old was read.
//
// The paths are compared as they are written, cleaned: that a link leads from one to the other, the run finds out.
func (c SourceConfig) Overlaps(sink any, env penstock.Env) error {
	to, ok := sink.(*SinkConfig)
	if !ok || !c.Path.Constant || !to.Path.Constant {
		return nil
	}
	from, err := fixed(c.Path, env)
	if err != nil {
		return nil //nolint:nilerr // it is said when the source is made
	}
	name, err := fixed(to.Path, env)
	if err != nil {
		return nil //nolint:nilerr // likewise the sink
	}
	if !to.Rotate.isZero() {
		name = numbered(name, 1)
	}
	appends := to.Mode == "append" || to.Mode == "" && env.Resumes
	e := &penstock.Error{Code: penstock.Config, Op: "file", Path: name}
	switch {
	case from == name && appends:
		e.Err, e.Hint = fmt.Errorf("what is appended to %s is read from it again", name), "write to another file"
	case from == name, !newPattern(from).matches(name), c.After != nil && c.After.Mark != "" && strings.HasSuffix(name, c.After.Mark):
		return nil
	case appends:
		e.Err, e.Hint = fmt.Errorf("what is appended to %s is read again, since %s finds it", name, from), "write to a folder or a name that the pattern does not find"
	default:
		e.Err, e.Hint = fmt.Errorf("the next run would read %s, since %s finds it", name, from), "write to a folder or a name that the pattern does not find"
	}
	return e
}

// matches reports whether the pattern finds a file of this name. It looks at names only.
func (p pattern) matches(name string) bool {
	rel, err := filepath.Rel(p.root, name)
	if err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return false
	}
	parts := p.parts
	if parts[len(parts)-1] == "**" {
		parts = append(parts[:len(parts)-1:len(parts)-1], "**", "*")
	}
	return !strings.HasSuffix(name, partialSuffix) && matchAll(parts, strings.Split(rel, string(filepath.Separator)))
}
