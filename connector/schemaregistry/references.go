package schemaregistry

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/sr"

	"penstock.dev/penstock"
)

// imports are the files that the source of a Protobuf schema imports, in its order (Protocol Buffers Language Specification, "Import Statement").
func imports(source []byte) []string {
	var out []string
	after := 0 // words since `import`, which is 1
	for i := 0; i < len(source); {
		switch c := source[i]; {
		case c == '/' && i+1 < len(source) && source[i+1] == '/':
			for i < len(source) && source[i] != '\n' {
				i++
			}
		case c == '/' && i+1 < len(source) && source[i+1] == '*':
			for i += 2; i < len(source) && (source[i-1] != '*' || source[i] != '/' || i < 3); i++ {
			}
			i++
		case c == '"' || c == '\'':
			end := i + 1
			for end < len(source) && source[end] != c && source[end] != '\n' {
				if source[end] == '\\' {
					end++
				}
				end++
			}
			if after > 0 {
				out = append(out, string(source[i+1:min(end, len(source))]))
			}
			after, i = 0, end+1
		case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			end := i
			for end < len(source) && (source[end] == '_' || source[end] == '.' || source[end] >= 'a' && source[end] <= 'z' || source[end] >= 'A' && source[end] <= 'Z' || source[end] >= '0' && source[end] <= '9') {
				end++
			}
			switch string(source[i:end]) {
			case "import":
				after = 1
			case "public", "weak", "option":
			default:
				after = 0
			}
			i = end
		default:
			if c == ';' || c == '{' || c == '=' {
				after = 0
			}
			i++
		}
	}
	return out
}

// whole is a schema as the registry has it: with references to what it imports, each of which is a schema under the subject of its own path, as
// Confluent's serializers have it by default. With register, those that are not there are registered first.
func (s *state) whole(ctx context.Context, text penstock.SchemaText, register bool) (sr.Schema, error) {
	out := schemaOf(text)
	if text.Language != penstock.Protobuf || len(text.Files) == 0 {
		return out, nil
	}
	var err error
	out.References, err = s.refer(ctx, text.Text, text.Files, register, nil)
	return out, err
}

// refer gives the references for a source's imports. path are the files that lead to it.
func (s *state) refer(ctx context.Context, source []byte, files map[string][]byte, register bool, path []string) ([]sr.SchemaReference, error) {
	var out []sr.SchemaReference
	for _, name := range imports(source) {
		text, ok := files[name]
		if !ok || slices.ContainsFunc(out, func(r sr.SchemaReference) bool { return r.Name == name }) {
			continue // of google/protobuf, which registries have
		}
		if slices.Contains(path, name) {
			return nil, &penstock.Error{Code: penstock.Invalid, Op: "schema registry", Path: name, Err: fmt.Errorf("it imports itself, by %v", path)}
		}
		below, err := s.refer(ctx, text, files, register, append(slices.Clip(path), name))
		if err != nil {
			return nil, err
		}
		schema := sr.Schema{Schema: string(text), Type: sr.TypeProtobuf, References: below}
		if register {
			if _, err := s.client.RegisterSchema(ctx, name, schema, -1, -1); err != nil {
				return nil, fmt.Errorf("%s, which it imports: %w", name, err)
			}
		}
		found, err := s.client.LookupSchema(ctx, name, schema)
		if err != nil {
			return nil, fmt.Errorf("%s, which it imports: %w", name, err)
		}
		out = append(out, sr.SchemaReference{Name: name, Subject: name, Version: found.Version})
	}
	return out, nil
}
