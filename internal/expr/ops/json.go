package ops

import "penstock.dev/penstock"

// AppendJSON appends v as JSON text, see [penstock.Value.AppendJSON]. On an error the result
// is dst.
func AppendJSON(dst []byte, v penstock.Value) ([]byte, error) { return v.AppendJSON(dst) }
