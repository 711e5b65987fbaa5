package control

import (
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/jsonview"
)

func TestWhere(t *testing.T) {
	str := penstock.StringValue
	dead := penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{{Key: str("step"), Value: str("check")}, {Key: str("attempts"), Value: penstock.IntValue(5)}}})
	rec := record.Draft{Key: "k1", Format: jsonview.JSON, Body: []byte(`{"a":3,"l":[1,2]}`), Meta: []penstock.MetaEntry{{Name: "file", Value: str("x.csv")}, {Name: "dead", Value: dead}}}.Append(nil)
	v, err := record.Parse(rec)
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{}
	for expression, want := range map[string]bool{
		"true": true, "body.a == 3": true, "body.a > 3": false, "key == 'k1'": true, "meta.file == 'x.csv'": true, "error.step == 'check' && error.attempts > 4": true,
		"meta.dead.step == 'check'": true, "size(body.l) == 2": true, "body.b == 1": false, "body.a + 'x' == 'y'": false, "has(body.b)": false, "!has(body.b)": true,
	} {
		f, err := s.where(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		for range 2 { // what is used again gives the same
			if got, err := f(v); err != nil || got != want {
				t.Errorf("%s is %v, %v", expression, got, err)
			}
		}
	}
	for _, wrong := range []string{"body.a >", "nothing", "1 + 1", "'x'"} {
		if _, err := s.where(wrong); penstock.CodeOf(err) != penstock.Invalid || !strings.Contains(err.Error(), "--where") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
