// Package edition lists what a binary contains. There is no registration at init: a
// binary has the drivers that its edition names, and no others.
package edition

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/csv"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/codec/text"
	"penstock.dev/penstock/connector/drop"
	"penstock.dev/penstock/connector/file"
	"penstock.dev/penstock/connector/generate"
	"penstock.dev/penstock/connector/stdin"
	"penstock.dev/penstock/connector/stdout"
)

// Standard is the edition of the penstock command.
func Standard() *penstock.Registry {
	r := penstock.NewRegistry()
	json.Register(r)
	csv.Register(r)
	text.Register(r)
	file.Register(r)
	generate.Register(r)
	stdin.Register(r)
	stdout.Register(r)
	drop.Register(r)
	return r
}
