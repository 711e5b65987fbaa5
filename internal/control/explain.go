package control

import (
	"errors"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr"
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
	topics, err := r.Explain(word)
	topics = append(topics, explainFunction(word)...)
	if len(topics) > 0 {
		return topics, nil
	}
	var e *penstock.Error
	if errors.As(err, &e) && !strings.Contains(word, ".") {
		if near := Nearest(word, knownWords(r)); near != "" {
			e.Hint = "did you mean " + near + "?"
		}
	}
	return nil, err
}

// explainFunction explains what is called word in expressions.
func explainFunction(word string) []Topic {
	var out []Topic
	for _, f := range expr.Functions() {
		if f.Name != strings.TrimSuffix(word, "()") {
			continue
		}
		origin := "CEL's own, or of its extensions"
		if f.Added {
			origin = "added by Penstock to CEL"
		}
		out = append(out, Topic{Name: f.Name, Kind: "function", Type: f.Signature, Doc: f.Doc, Facts: []reference.Fact{{Name: "Origin", Text: origin}}})
	}
	return out
}

// Topics lists the words that Explain knows, sorted, each once.
func (s *Service) Topics() ([]string, error) {
	r, err := s.reference()
	if err != nil {
		return nil, err
	}
	return knownWords(r), nil
}

func knownWords(r *reference.Reference) []string {
	words := r.Topics()
	for _, f := range expr.Functions() {
		words = append(words, f.Name)
	}
	slices.Sort(words)
	return slices.Compact(words)
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
