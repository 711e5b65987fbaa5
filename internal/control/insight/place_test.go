package insight

import (
	"reflect"
	"strings"
	"testing"
)

// at finds the spot of the mark ‸ in a text.
func at(t *testing.T, text string) Spot {
	t.Helper()
	before, after, ok := strings.Cut(text, "‸")
	if !ok {
		t.Fatal("no mark")
	}
	line := strings.Count(before, "\n") + 1
	col := len([]rune(before[strings.LastIndexByte(before, '\n')+1:])) + 1
	return At(before+after, line, col)
}

func TestAt(t *testing.T) {
	const head = "apiVersion: x\nkind: Flow\nspec:\n"
	for name, c := range map[string]struct {
		text string
		want Spot
	}{
		"a key at the top":           {"kind: Flow\nme‸", Spot{Kind: "Flow", Word: "me", Whole: "me"}},
		"the kind":                   {"kind: Fl‸ow\n", Spot{Kind: "Flow", Key: "kind", Word: "Fl", Whole: "Flow", Value: true}},
		"an empty line":              {head + "  ‸", Spot{Kind: "Flow", Path: []string{"spec"}}},
		"an empty line below":        {head + "  onError:\n    ‸\n  to: {}", Spot{Kind: "Flow", Path: []string{"spec", "onError"}}},
		"left of what came before":   {head + "  onError:\n    retry: {}\n  ‸", Spot{Kind: "Flow", Path: []string{"spec"}}},
		"a step":                     {head + "  steps:\n    - fil‸", Spot{Kind: "Flow", Path: []string{"spec", "steps"}, Word: "fil", Whole: "fil"}},
		"a step in the key's column": {head + "  steps:\n  - filter: a\n  - ma‸", Spot{Kind: "Flow", Path: []string{"spec", "steps"}, Word: "ma", Whole: "ma"}},
		"a value":                    {head + "  order: per‸-key", Spot{Kind: "Flow", Path: []string{"spec"}, Key: "order", Word: "per", Whole: "per-key", Value: true}},
		"below a step":               {head + "  steps:\n    - aggregate:\n        by: body.x\n        co‸", Spot{Kind: "Flow", Path: []string{"spec", "steps", "aggregate"}, Word: "co", Whole: "co"}},
		"beside a step's verb":       {head + "  steps:\n    - aggregate:\n        by: x\n      na‸", Spot{Kind: "Flow", Path: []string{"spec", "steps"}, Word: "na", Whole: "na"}},
		"a flow map":                 {head + "  from: { file: { pa‸ } }", Spot{Kind: "Flow", Path: []string{"spec", "from", "file"}, Word: "pa", Whole: "pa"}},
		"behind one":                 {head + "  from: { file: { path: x }, sch‸", Spot{Kind: "Flow", Path: []string{"spec", "from"}, Word: "sch", Whole: "sch"}},
		"a list in a flow map":       {head + "  steps: [ { map: {} }, { filter: body.x‸ } ]", Spot{Kind: "Flow", Path: []string{"spec", "steps"}, Key: "filter", Word: "body.x", Whole: "body.x", Value: true}},
		"a quoted value":             {head + "  steps:\n    - map: { a: \"x ${body.‸}\" }", Spot{Kind: "Flow", Path: []string{"spec", "steps", "map"}, Key: "a", Word: "x ${body.", Whole: "x ${body.", Value: true}},
		"a flow of several lines":    {head + "  from: {\n    file: {\n      pa‸", Spot{Kind: "Flow", Path: []string{"spec", "from", "file"}, Word: "pa", Whole: "pa"}},
		"a block text":               {head + "  steps:\n    - filter: |\n        body.‸", Spot{Kind: "Flow", Path: []string{"spec", "steps"}, Key: "filter", Word: "", Value: true}},
		"another document":           {"kind: Schema\nspec:\n  x: 1\n---\nkind: Flow\n‸", Spot{Kind: "Flow"}},
		"a comment":                  {head + "  # a: {\n  or‸", Spot{Kind: "Flow", Path: []string{"spec"}, Word: "or", Whole: "or"}},
		"out of the text":            {"‸", Spot{}},
	} {
		if got := at(t, c.text); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
	}
	if got := At("a: b", 7, 1); !reflect.DeepEqual(got, Spot{}) {
		t.Errorf("a line that is not there: %+v", got)
	}
}

func FuzzAt(f *testing.F) {
	f.Add("kind: Flow\nspec:\n  from: { file: [ \"a\\\"\" ] }\n", 3, 5)
	f.Add("- - a: |\n  x\n }", 2, 1)
	f.Fuzz(func(_ *testing.T, text string, line, col int) { At(text, line%100, col%1000) })
}
