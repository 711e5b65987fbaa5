// Package protofile compiles the sources of Protobuf schemas, with what they import, for all who need their descriptors.
package protofile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/reflect/protoreflect"

	"penstock.dev/penstock"
)

// mainName is what the source itself is called where it has no name of its own; no import can be called that.
const mainName = "\x00schema.proto"

// Error is a fault of a source, at its place.
type Error struct {
	File         string // what the import says; "" for the source itself
	Line, Column int    // from 1; 0 where the place isn't known
	Text         string
}

// Error implements error.
func (e *Error) Error() string {
	switch {
	case e.Line == 0:
		return e.Text
	case e.File == "":
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Text)
	}
	return fmt.Sprintf("%s: line %d, column %d: %s", e.File, e.Line, e.Column, e.Text)
}

// Compile gives the message that a schema names, or, where it names none, the only one that stands at the top of its source. The error
// is an *Error.
func Compile(s penstock.SchemaText) (protoreflect.MessageDescriptor, error) {
	return Load(&s, func(path string) ([]byte, error) {
		text, ok := s.Files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return text, nil
	})
}

// File compiles the source of a schema, whatever its messages.
func File(s penstock.SchemaText) (protoreflect.FileDescriptor, error) {
	return load(&s, func(path string) ([]byte, error) {
		text, ok := s.Files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return text, nil
	})
}

// Load is Compile for a source whose imports are still to be found: read gives them by the path that the import says, or an error that is
// fs.ErrNotExist. They are put into s.Files, and the full name of the message into s.Message. What is imported of google/protobuf is there by itself.
func Load(s *penstock.SchemaText, read func(path string) ([]byte, error)) (protoreflect.MessageDescriptor, error) {
	f, err := load(s, read)
	if err != nil {
		return nil, err
	}
	m, err := pick(f, s.Message)
	if err != nil {
		return nil, err
	}
	s.Message = string(m.FullName())
	return m, nil
}

func load(s *penstock.SchemaText, read func(path string) ([]byte, error)) (f protoreflect.FileDescriptor, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, &Error{Text: fmt.Sprintf("the schema contradicts itself: %v", p)}
		}
	}()
	if len(s.Text) == 0 {
		return nil, &Error{Text: "there is no schema"}
	}
	if len(s.Text) > maxSource {
		return nil, &Error{Text: fmt.Sprintf("the schema has more than %d bytes", maxSource)}
	}
	found := map[string][]byte{}
	// One goroutine: the resolver needs no lock, and a panic is caught here.
	resolver := protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
		if path == mainName {
			return protocompile.SearchResult{Source: bytes.NewReader(s.Text)}, nil
		}
		if std, err := standard.FindFileByPath(path); err == nil {
			return std, nil
		}
		text, err := read(path)
		if err != nil {
			return protocompile.SearchResult{}, err
		}
		found[path] = text
		if len(found) > maxFiles {
			return protocompile.SearchResult{}, fmt.Errorf("more than %d files are imported", maxFiles)
		}
		return protocompile.SearchResult{Source: bytes.NewReader(text)}, nil
	})
	c := protocompile.Compiler{Resolver: resolver, MaxParallelism: 1, SourceInfoMode: protocompile.SourceInfoStandard}
	files, err := c.Compile(context.Background(), mainName)
	if err != nil {
		return nil, failure(err)
	}
	if s.Files == nil {
		s.Files = found
	}
	return files[0], nil
}

const (
	maxSource = 4 << 20
	maxFiles  = 1000
)

// standard resolves the files of google/protobuf.
var standard = protocompile.WithStandardImports(protocompile.ResolverFunc(func(string) (protocompile.SearchResult, error) {
	return protocompile.SearchResult{}, fs.ErrNotExist
}))

// failure is what the compiler says, at its place.
func failure(err error) error {
	e := &Error{Text: strings.ReplaceAll(err.Error(), mainName, "the schema")}
	var at reporter.ErrorWithPos
	if errors.As(err, &at) {
		p := at.GetPosition()
		e.Line, e.Column, e.File = p.Line, p.Col, p.Filename
		if e.File == mainName {
			e.File = ""
		}
		e.Text = strings.ReplaceAll(at.Unwrap().Error(), mainName, "the schema")
	}
	return e
}

// pick finds a message by its full name, or one within the package of the file; without a name the file's only one.
func pick(f protoreflect.FileDescriptor, name string) (protoreflect.MessageDescriptor, error) {
	top := f.Messages()
	if name == "" {
		switch top.Len() {
		case 0:
			return nil, &Error{Text: "the schema declares no message"}
		case 1:
			return top.Get(0), nil
		}
		return nil, &Error{Text: fmt.Sprintf("the schema declares %d messages (%s), and it does not say which one is meant: name it with `message`", top.Len(), strings.Join(names(f), ", "))}
	}
	declared := linker.Files{f.(linker.File)}.AsResolver()
	for _, full := range []string{name, string(f.Package()) + "." + name} {
		if m, err := declared.FindMessageByName(protoreflect.FullName(full)); err == nil && m.Descriptor().ParentFile().Path() == f.Path() {
			return m.Descriptor(), nil
		}
	}
	return nil, &Error{Text: fmt.Sprintf("the schema declares no message %s; it has %s", name, strings.Join(names(f), ", "))}
}

func names(f protoreflect.FileDescriptor) []string {
	var out []string
	for i := range f.Messages().Len() {
		out = append(out, string(f.Messages().Get(i).FullName()))
	}
	return out
}

// All gives every message that can be reached from a file, by its full name: what an Any may hold.
func All(f protoreflect.FileDescriptor) map[protoreflect.FullName]protoreflect.MessageDescriptor {
	out := map[protoreflect.FullName]protoreflect.MessageDescriptor{}
	seen := map[string]bool{}
	var messages func(ms protoreflect.MessageDescriptors)
	messages = func(ms protoreflect.MessageDescriptors) {
		for i := range ms.Len() {
			out[ms.Get(i).FullName()] = ms.Get(i)
			messages(ms.Get(i).Messages())
		}
	}
	var file func(f protoreflect.FileDescriptor)
	file = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		messages(f.Messages())
		for i := range f.Imports().Len() {
			file(f.Imports().Get(i).FileDescriptor)
		}
	}
	file(f)
	return out
}

// IndexPath is where a message stands in its file: its index among the messages at the top, and then within each (the wire format of schema
// registries). The entries of maps, which no source declares, are not counted, as Confluent's own serializer has it.
func IndexPath(m protoreflect.MessageDescriptor) []int {
	var out []int
	for d := protoreflect.Descriptor(m); d != nil; d = d.Parent() {
		var among protoreflect.MessageDescriptors
		switch in := d.Parent().(type) {
		case protoreflect.MessageDescriptor:
			among = in.Messages()
		case protoreflect.FileDescriptor:
			among = in.Messages()
		default:
			slices.Reverse(out)
			return out
		}
		at := 0
		for i := range d.Index() {
			if !among.Get(i).IsMapEntry() {
				at++
			}
		}
		out = append(out, at)
	}
	return out
}

// AtIndex is the message at an IndexPath; nil where there is none.
func AtIndex(f protoreflect.FileDescriptor, path []int) (m protoreflect.MessageDescriptor) {
	in := f.Messages()
	for _, want := range path {
		m = nil
		for i := range in.Len() {
			if in.Get(i).IsMapEntry() {
				continue
			}
			if want == 0 {
				m = in.Get(i)
				break
			}
			want--
		}
		if m == nil {
			return nil
		}
		in = m.Messages()
	}
	return m
}
