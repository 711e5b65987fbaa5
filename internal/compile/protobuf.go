package compile

import (
	"errors"
	"io/fs"
	"path"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/protobuf/protofile"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/schema"
)

// readProtobuf reads a message of Protocol Buffers, with what its source imports.
func (c *compiler) readProtobuf(name string, p *resource.Protobuf) *lower.Schema {
	text := penstock.SchemaText{Language: penstock.Protobuf, Text: []byte(p.Inline), Message: p.Message}
	folders := []string{path.Dir(p.Path("x"))}
	var at penstock.Pos
	shown := ""
	switch {
	case p.File != "":
		at, shown = p.At("file"), p.Path(p.File)
		folders = []string{path.Dir(shown)}
		var err error
		if text.Text, err = c.set.ReadFile(shown); err != nil {
			c.diags.Errorf(at, "unreadable-file", p.File, "the path is relative to the file that it stands in", "the schema of %s can't be read: %v", name, err)
			return nil
		}
	case p.Descriptors != "" && p.Message == "":
		return nil // said when it was loaded
	case p.Descriptors != "":
		at = p.At("descriptors")
		set, err := c.set.ReadFile(p.Path(p.Descriptors))
		if err != nil {
			c.diags.Errorf(at, "unreadable-file", p.Descriptors, "the path is relative to the file that it stands in", "the schema of %s can't be read: %v", name, err)
			return nil
		}
		if text, err = protofile.FromDescriptors(set, p.Message); err != nil {
			c.diags.Errorf(at, "bad-schema", p.Descriptors, "", "protobuf: %v", err)
			return nil
		}
	case p.Inline == "":
		return nil // said when it was loaded
	default:
		at = p.At("inline")
	}
	if len(p.Imports) > 0 {
		folders = nil
		for _, f := range p.Imports {
			folders = append(folders, p.Path(f))
		}
	}
	places := map[string]string{"": shown} // where files of the schema are, by what imports say
	asJSON, err := schema.FromProtobuf(&text, func(name string) ([]byte, error) {
		if given, ok := text.Files[name]; ok {
			return given, nil
		}
		for _, f := range folders {
			found, err := c.set.ReadFile(path.Join(f, name))
			if err == nil {
				places[name] = path.Join(f, name)
				return found, nil
			}
		}
		return nil, fs.ErrNotExist
	})
	if err != nil {
		c.badProtobuf(at, p, places, err)
		return nil
	}
	c.schemaSums[name] = protobufSum(text)
	s, err := schema.Parse(name, asJSON)
	if err != nil {
		c.diags.Errorf(at, "bad-schema", p.File, "", "%v", err)
		return nil
	}
	for _, note := range s.Notes {
		c.diags.Warnf(at, "schema-note", note.Pointer, note.Hint, "schema %s, %s: %s", name, note.Pointer, note.Message)
	}
	return &lower.Schema{Name: name, Type: s.Type, Check: validator{s.Validator()}, Text: text, Form: asJSON}
}

// badProtobuf says what is wrong, in the file that it is in where that is one of its own.
func (c *compiler) badProtobuf(at penstock.Pos, p *resource.Protobuf, places map[string]string, err error) {
	var fault *protofile.Error
	if errors.As(err, &fault) && fault.Line > 0 {
		if file := places[fault.File]; file != "" {
			c.diags.Errorf(penstock.Pos{File: file, Line: fault.Line, Col: fault.Column}, "bad-schema", p.File, "", "protobuf: %s", fault.Text)
			return
		}
	}
	c.diags.Errorf(at, "bad-schema", p.File, "", "protobuf: %v", err)
}

// protobufSum tells whether anything of a schema has changed.
func protobufSum(s penstock.SchemaText) string {
	all := append([]byte(s.Message+"\x00"), s.Text...)
	var names []string
	for n := range s.Files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		all = append(append(append(all, 0), n...), s.Files[n]...)
	}
	return plan.Digest(all)
}
