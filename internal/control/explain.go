package control

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/reference"
)

// Topic is what there is to say about a word of the language. Its Text method renders it for a
// terminal.
type Topic = reference.Topic

// Explain says what a word means: a kind and the fields below it (flow.onError.retry), a verb, a
// connector, a codec, a function or an error code. A word with several meanings gives several topics.
func (s *Service) Explain(word string) ([]Topic, error) {
	r, err := s.reference()
	if err != nil {
		return nil, err
	}
	return r.Explain(word)
}

// Topics lists the words that Explain knows, sorted.
func (s *Service) Topics() ([]string, error) {
	r, err := s.reference()
	if err != nil {
		return nil, err
	}
	return r.Topics(), nil
}

// Schema is the JSON Schema of all kinds, with everything the binary contains: editors complete and
// check with it.
func (s *Service) Schema() ([]byte, error) {
	r, err := s.reference()
	if err != nil {
		return nil, err
	}
	return r.JSONSchema()
}

func (s *Service) reference() (*reference.Reference, error) {
	c, err := reference.EmbeddedComments()
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Internal, Op: "reference", Err: err}
	}
	return reference.New(c, s.Registry), nil
}
