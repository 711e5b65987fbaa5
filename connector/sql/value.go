package sql

import (
	"encoding/base64"
	"encoding/hex"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// appendJSONValue appends a value as JSON.
func appendJSONValue(dst []byte, v penstock.Value) ([]byte, error) {
	if v.Kind() == penstock.KindNode {
		d, n := v.Node()
		return d.AppendJSON(dst, n), nil
	}
	return v.AppendJSON(dst)
}

var errBase64 = errors.New("the value is bytes, and the text is no base64")

// appendByteText appends the bytes that a base64 text holds, as PostgreSQL writes them.
func appendByteText(dst []byte, text string) ([]byte, error) {
	b, err := base64.StdEncoding.AppendDecode(nil, []byte(text))
	if err != nil {
		return dst, errBase64
	}
	return hex.AppendEncode(append(dst, `\x`...), b), nil
}

// each visits the elements of a list.
func each(v penstock.Value, visit func(penstock.Value) error) error {
	if v.Kind() == penstock.KindList {
		for _, e := range v.List().Elems {
			if err := visit(e); err != nil {
				return err
			}
		}
		return nil
	}
	d, n := v.Node()
	for e := d.First(n); e != jsonview.None; e = d.Next(e) {
		if err := visit(penstock.NodeValue(d, e)); err != nil {
			return err
		}
	}
	return nil
}

// isList says that v is a list, materialised or not.
func isList(v penstock.Value) bool {
	if v.Kind() == penstock.KindNode {
		d, n := v.Node()
		return d.Kind(n) == jsonview.Array
	}
	return v.Kind() == penstock.KindList
}
