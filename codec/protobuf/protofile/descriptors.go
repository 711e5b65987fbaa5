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

// FromDescriptors gives the sources of a message of a descriptor set (a FileDescriptorSet with all that it imports, as `protoc
// --include_imports --descriptor_set_out` and `buf build` write it), so that it is what a source is.
func FromDescriptors(set []byte, message string) (s penstock.SchemaText, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Text: fmt.Sprintf("the descriptors contradict themselves: %v", p)}
		}
	}()
	var d descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &d); err != nil {
		return s, &Error{Text: "it is no descriptor set (protoc --include_imports --descriptor_set_out): " + strings.ReplaceAll(err.Error(), "\u00a0", " ")} // in some builds the library writes other spaces
	}
	files, err := protodesc.NewFiles(&d)
	if err != nil {
		return s, &Error{Text: "the descriptor set is not whole (protoc --include_imports): " + err.Error()}
	}
	if message == "" {
		return s, &Error{Text: "a descriptor set holds many messages: name the one that is meant with `message`"}
	}
	found, err := files.FindDescriptorByName(protoreflect.FullName(message))
	m, ok := found.(protoreflect.MessageDescriptor)
	if err != nil || !ok {
		return s, &Error{Text: fmt.Sprintf("the descriptor set has no message %s", message)}
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
