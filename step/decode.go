package step

import (
	"context"
	"errors"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Decode reads text or bytes in a format and puts the document into Into (the zero Target is the whole body).
type Decode struct {
	Codec penstock.Codec
	// From computes what is decoded: a string or bytes. Nil is the body: the text of a body that is text (or a JSON
	// string), and the bytes as they came of any other.
	From penstock.Program
	Into Target
}

// Process decodes each message.
func (s *Decode) Process(_ context.Context, b *penstock.Batch) error {
	for i, m := range b.Msgs {
		if err := s.one(b, m); err != nil {
			b.Fail(i, failed("decode", err))
		}
	}
	return nil
}

func (s *Decode) one(b *penstock.Batch, m *penstock.Message) error {
	src, err := s.source(b, m)
	if err != nil {
		return err
	}
	arena := b.Arena()
	text, err := s.Codec.Decode(arena.Tail(2*len(src)+64), src)
	if err != nil {
		if penstock.CodeOf(err) == penstock.Internal { // the codec gave none: what it was given is to blame
			return &penstock.Error{Code: penstock.Invalid, Err: err}
		}
		return err
	}
	d := document(b, arena.Keep(text))
	return Assign(b, m, s.Into, penstock.NodeValue(d, 0))
}

// source is what the codec reads.
func (s *Decode) source(b *penstock.Batch, m *penstock.Message) ([]byte, error) {
	if s.From == nil {
		d := m.Body
		switch d.Format() {
		case jsonview.Record:
			return nil, &penstock.Error{Code: penstock.Unprocessable, Path: "body", Err: errors.New("is a record, which is decoded already")}
		case jsonview.JSON:
			if d.Parse(jsonview.Limits{}) == nil && d.Kind(0) == jsonview.String {
				return string2text(d.Str(0, b.Arena().Alloc)), nil
			}
		}
		return d.Bytes(), nil
	}
	v := unwrap(s.From.Eval(b.Frame(m)))
	if v.Kind() == penstock.KindNode {
		d, _ := v.Node()
		if err := read(d); err != nil {
			return nil, err
		}
		v = v.Load(b.Arena())
	}
	switch v.Kind() {
	case penstock.KindString:
		return string2text(v.Str()), nil
	case penstock.KindBytes:
		return v.Bytes(), nil
	case penstock.KindError:
		return nil, v.Err()
	}
	return nil, &penstock.Error{Code: penstock.Unprocessable, Err: errors.New("what is to be decoded is " + kindName(v)),
		Hint: "a format is read from a string or bytes"}
}

// Encode writes the body in a format, into Into (the zero Target is the whole body). The result is text where it is valid
// UTF-8, else bytes.
type Encode struct {
	Codec penstock.Codec
	Into  Target
}

// Process encodes each message.
func (s *Encode) Process(_ context.Context, b *penstock.Batch) error {
	for i, m := range b.Msgs {
		if err := s.one(b, m); err != nil {
			b.Fail(i, failed("encode", err))
		}
	}
	return nil
}

func (s *Encode) one(b *penstock.Batch, m *penstock.Message) error {
	if err := read(m.Body); err != nil {
		return at("body", err)
	}
	arena := b.Arena()
	out, err := s.Codec.Encode(arena.Tail(len(m.Body.Bytes())+256), m.Body)
	if err != nil {
		return err
	}
	out = arena.Keep(out)
	valid := utf8.Valid(out)
	if s.Into.Root == Body && len(s.Into.Steps) == 0 {
		d := b.NewDoc()
		if valid {
			d.Reset(jsonview.Text, out)
		} else {
			d.Reset(jsonview.Binary, out)
		}
		m.Body = d
		return nil
	}
	v := penstock.BytesValue(out)
	if valid {
		v = penstock.StringValue(text2string(out))
	}
	return Assign(b, m, s.Into, v)
}
