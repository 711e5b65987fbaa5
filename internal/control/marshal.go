package control

import (
	"bytes"
	"encoding/json"

	"penstock.dev/penstock"
)

// marshal writes v as indented JSON, with <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, &penstock.Error{Code: penstock.Internal, Op: "json", Err: err}
	}
	return b.Bytes(), nil
}
