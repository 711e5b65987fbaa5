package script

import (
	"errors"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// longest is how many bytes of a script's message are told.
const longest = 1000

// refusal is the error that a script answers with: an object of code, message and path, or any text.
func refusal(text []byte) error {
	e := &penstock.Error{Code: penstock.Unprocessable}
	var d jsonview.Doc
	d.Reset(jsonview.JSON, slices.Clone(text))
	message := string(text)
	if d.Parse(jsonview.Limits{}) == nil {
		field := func(name string) string {
			if n := d.Field(0, name, nil); d.Kind(n) == jsonview.String {
				return d.Str(n, nil)
			}
			return ""
		}
		switch d.Kind(0) {
		case jsonview.Object:
			message = field("message")
			e.Path = shown(field("path"))
			if code := penstock.Code(field("code")); slices.Contains(penstock.Codes(), code) && code != penstock.Config && code != penstock.Cancelled {
				e.Code = code
			}
		case jsonview.String:
			message = d.Str(0, nil)
		}
	}
	if message = shown(message); message == "" {
		message = "it refuses the message, and does not say why"
	}
	e.Err = errors.New(message)
	return e
}

// shown makes a text of a script fit for a log.
func shown(s string) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
