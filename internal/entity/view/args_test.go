package view_test

import (
	"testing"

	"penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// TestArgs reads JSON values as each type: as what it is, or as an error.
func TestArgs(t *testing.T) {
	for _, c := range []struct {
		of   types.Kind
		text string
		want string // "": it is none
	}{
		{types.Decimal, `100`, "100"},
		{types.Decimal, `1.10`, "1.10"},
		{types.Decimal, `"1.10"`, "1.10"},
		{types.Decimal, `12345678901234567890.5`, "12345678901234567890.5"},
		{types.Decimal, `true`, ""},
		{types.Decimal, `[1]`, ""},
		{types.Int, `7`, "7"},
		{types.Int, `7.5`, ""},
		{types.Int, `"7"`, ""},
		{types.Double, `7`, "7"},
		{types.String, `"x"`, `"x"`},
		{types.String, `7`, ""},
		{types.Bool, `true`, "true"},
		{types.Bool, `0`, ""},
		{types.Timestamp, `"2026-11-23T10:00:00Z"`, `"2026-11-23T10:00:00Z"`},
		{types.Timestamp, `1795470720`, ""},
		{types.Duration, `"90s"`, `"90s"`},
		{types.Duration, `90`, ""},
		{types.Int, `null`, ""},
	} {
		q := &plan.ViewQuery{Name: "q", Args: []plan.ViewArg{{Name: "a", Type: &types.Type{Kind: c.of}}}}
		doc := new(jsonview.Doc)
		doc.Reset(jsonview.JSON, []byte(`{"a":`+c.text+`}`))
		if err := doc.Parse(jsonview.Limits{}); err != nil {
			t.Fatal(err)
		}
		got, err := view.Args(q, doc)
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s as %v is %s, and should be none", c.text, c.of, got[0])
		case c.want != "" && (err != nil || got[0].String() != c.want):
			t.Errorf("%s as %v: %v %v, want %s", c.text, c.of, got, err, c.want)
		}
	}
}
