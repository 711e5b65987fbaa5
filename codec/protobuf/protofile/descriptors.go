package protofile

import (
	"fmt"
	"strings"

	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"penstock.dev/penstock"
)

// CompileDescriptors gives a message of a descriptor set (a FileDescriptorSet with all that it imports, as `protoc --include_imports
// --descriptor_set_out` and `buf build` write it). The error is an *Error.
func CompileDescriptors(set []byte, message string) (m protoreflect.MessageDescriptor, err error) {
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, &Error{Text: fmt.Sprintf("the descriptors contradict themselves: %v", p)}
		}
	}()
	var d descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &d); err != nil {
		return nil, &Error{Text: "it is no descriptor set (protoc --include_imports --descriptor_set_out): " + strings.ReplaceAll(err.Error(), "\u00a0", " ")} // in some builds the library writes other spaces
	}
	files, err := protodesc.NewFiles(&d)
	if err != nil {
		return nil, &Error{Text: "the descriptor set is not whole (protoc --include_imports): " + err.Error()}
	}
	if message == "" {
		return nil, &Error{Text: "a descriptor set holds many messages: name the one that is meant with `message`"}
	}
	found, err := files.FindDescriptorByName(protoreflect.FullName(message))
	m, ok := found.(protoreflect.MessageDescriptor)
	if err != nil || !ok {
		return nil, &Error{Text: fmt.Sprintf("the descriptor set has no message %s", message)}
	}
	return m, nil
}

// Descriptors gives the file of a message with all that it imports as a descriptor set, which is the same for the same sources, and the path that the file has in there.
func Descriptors(m protoreflect.MessageDescriptor) (set []byte, path string, err error) {
	own := m.ParentFile()
	if path = own.Path(); path == mainName { // it has no name of its own
		path = string(m.FullName()) + ".proto"
	}
	var d descriptorpb.FileDescriptorSet
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		is := protodesc.ToFileDescriptorProto(f)
		is.SourceCodeInfo = nil
		if f == own {
			is.Name = &path
		}
		d.File = append(d.File, is)
	}
	add(own)
	set, err = proto.MarshalOptions{Deterministic: true}.Marshal(&d)
	return set, path, err
}

// FromDescriptors gives the sources of a message of a descriptor set (see [CompileDescriptors]), so that it is what a source is.
func FromDescriptors(set []byte, message string) (s penstock.SchemaText, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Text: fmt.Sprintf("the descriptors contradict themselves: %v", p)}
		}
	}()
	m, err := CompileDescriptors(set, message)
	if err != nil {
		return s, err
	}
	s = penstock.SchemaText{Language: penstock.Protobuf, Message: message, Files: map[string][]byte{}}
	printer := &protoprint.Printer{Compact: true}
	var add func(f protoreflect.FileDescriptor) error
	add = func(f protoreflect.FileDescriptor) error {
		for i := range f.Imports().Len() {
			in := f.Imports().Get(i).FileDescriptor
			if _, ok := s.Files[in.Path()]; ok {
				continue
			}
			if _, err := standard.FindFileByPath(in.Path()); err == nil {
				continue
			}
			text, err := printer.PrintProtoToString(in)
			if err != nil {
				return err
			}
			s.Files[in.Path()] = []byte(text)
			if err := add(in); err != nil {
				return err
			}
		}
		return nil
	}
	if err := add(m.ParentFile()); err != nil {
		return s, &Error{Text: err.Error()}
	}
	text, err := printer.PrintProtoToString(m.ParentFile())
	if err != nil {
		return s, &Error{Text: err.Error()}
	}
	s.Text = []byte(text)
	return s, nil
}
