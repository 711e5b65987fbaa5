//go:build penstock_debug

package jsonview

import "testing"

func TestPoison(t *testing.T) {
	b := []byte(`{"a":1}`)
	Poison(b)
	if Valid(b) || b[0] == '{' || b[len(b)-1] == '}' {
		t.Errorf("Poison left %q", b)
	}
}
