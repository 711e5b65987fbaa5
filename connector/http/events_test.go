package http

import "testing"

func TestAttributesAreEscaped(t *testing.T) {
	for plain, wire := range map[string]string{
		"order.placed": "order.placed", "": "", "Euro € 😀": "Euro%20%E2%82%AC%20%F0%9F%98%80", `100%"`: "100%25%22", "a\nb": "a%0Ab",
	} {
		if got := encodeAttribute(plain); got != wire {
			t.Errorf("%q is sent as %q, want %q", plain, got, wire)
		}
		if got := decodeAttribute(wire); got != plain {
			t.Errorf("%q is read as %q, want %q", wire, got, plain)
		}
	}
	for wire, want := range map[string]string{"50%": "50%", "%zz": "%zz", "%4": "%4", "%41%": "A%"} { // what is no escape stays
		if got := decodeAttribute(wire); got != want {
			t.Errorf("%q is read as %q, want %q", wire, got, want)
		}
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add("a b%€")
	f.Fuzz(func(t *testing.T, s string) {
		wire := encodeAttribute(s)
		for i := range len(wire) {
			if escaped(wire[i]) && wire[i] != '%' {
				t.Errorf("%q has a byte that no header holds", wire)
			}
		}
		if got := decodeAttribute(wire); got != s {
			t.Errorf("%q came back as %q", s, got)
		}
	})
}
