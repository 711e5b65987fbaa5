package types

import (
	"fmt"
	"testing"
)

func TestLabelsWith(t *testing.T) {
	a := Labels{Class: []string{"pii"}, Residency: []string{"eu"}}
	b := Labels{Class: []string{"secret", "pii"}, ResidencyField: "region", ResidencyValues: map[string]string{"EU": "eu"}}
	for _, c := range []struct {
		name string
		got  Labels
		want string
	}{
		{"both", a.With(b), "{[pii secret] [eu] region map[EU:eu]}"},
		{"the other way", b.With(a), "{[secret pii] [eu] region map[EU:eu]}"},
		{"nothing", a.With(Labels{}), "{[pii] [eu]  map[]}"},
		{"to nothing", Labels{}.With(b), "{[secret pii] [] region map[EU:eu]}"},
	} {
		if got := fmt.Sprint(c.got); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if fmt.Sprint(a) != "{[pii] [eu]  map[]}" {
		t.Errorf("the operand changed: %v", a)
	}
}
