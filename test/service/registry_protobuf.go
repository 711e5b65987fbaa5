package service

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/protobuf/protofile"
)

// protobuf compiles a schema with what it refers to.
func (r *Registry) protobuf(s registered) (protoreflect.FileDescriptor, error) {
	files := map[string][]byte{}
	var add func(refs []reference) error
	add = func(refs []reference) error {
		for _, ref := range refs {
			ids := r.subjects[ref.Subject]
			if ref.Version < 1 || ref.Version > len(ids) {
				return fmt.Errorf("no schema reference found for subject %q and version %d", ref.Subject, ref.Version)
			}
			is := r.schemas[ids[ref.Version-1]-1]
			files[ref.Name] = []byte(is.Schema)
			if err := add(is.References); err != nil {
				return err
			}
		}
		return nil
	}
	if err := add(s.References); err != nil {
		return nil, err
	}
	return protofile.File(penstock.SchemaText{Language: penstock.Protobuf, Text: []byte(s.Schema), Files: files})
}

// incompatibleProtobuf says why who reads with the new schema can't read what was written with the last: a field whose type is another. It looks at the
// messages at the top alone.
func (r *Registry) incompatibleProtobuf(ids []int, s registered) (why []string) {
	next, err := r.protobuf(s)
	if err != nil {
		return []string{err.Error()}
	}
	if len(ids) == 0 {
		return nil
	}
	last, err := r.protobuf(r.schemas[ids[len(ids)-1]-1])
	if err != nil {
		return nil
	}
	for i := range last.Messages().Len() {
		was := last.Messages().Get(i)
		is := next.Messages().ByName(was.Name())
		if is == nil {
			why = append(why, fmt.Sprintf("the message %s was removed", was.FullName()))
			continue
		}
		for j := range was.Fields().Len() {
			a := was.Fields().Get(j)
			if b := is.Fields().ByNumber(a.Number()); b != nil && a.Kind() != b.Kind() {
				why = append(why, fmt.Sprintf("the kind of the field %s (%d) was %s, and is %s", a.FullName(), a.Number(), a.Kind(), b.Kind()))
			}
		}
	}
	return why
}
