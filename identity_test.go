package penstock

import (
	"strings"
	"testing"
)

func TestDescent(t *testing.T) {
	var root Descent
	deep := root.Part(1).Part(2).Part(3).Part(4)
	for _, tt := range []struct {
		d    Descent
		want string
	}{
		{root, ""}, {root.Part(0), ".0"}, {root.Part(3).Part(0), ".3.0"}, {root.Part(0).Part(0).Part(0), ".0.0.0"},
		{root.Part(1<<21 - 2), ".2097150"},
	} {
		if got := string(tt.d.Append(nil)); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	for _, d := range []Descent{deep, root.Part(1 << 21), root.Part(1<<21 - 1)} {
		if got := string(d.Append(nil)); !strings.HasPrefix(got, ".~") {
			t.Errorf("%q is not hashed", got)
		}
	}
	seen := map[Descent]bool{root: true}
	note := func(d Descent) {
		if seen[d] {
			t.Fatalf("%s twice", d.Append(nil))
		}
		seen[d] = true
	}
	for i := range 40 {
		note(root.Part(i))
		for j := range 40 {
			note(root.Part(i).Part(j))
			for k := range 10 {
				note(root.Part(i).Part(j).Part(k))
				note(root.Part(i).Part(j).Part(k).Part(0))
				note(root.Part(i).Part(j).Part(k).Part(1).Part(i))
			}
		}
	}
}

type origin string

func (o origin) Origin() string { return string(o) }
func (o origin) AppendIdentity(dst []byte, d Descent) []byte {
	return append(d.Append(append(dst, "from"...)), o...)
}

func TestAppendIdentity(t *testing.T) {
	env := &Env{Name: "orders/to"}
	for _, tt := range []struct {
		m    Message
		want string
	}{
		{Message{Lineage: origin("@orders/0:17")}, "orders/to:from@orders/0:17"},
		{Message{Lineage: origin("#a"), Descent: Descent(0).Part(2)}, "orders/to:from.2#a"},
		{Message{Pos: Position{Stream: "s", Offset: 4}}, "orders/to:@s:4"},
		{Message{Lineage: origin("@my file:17")}, "~"},
		{Message{Lineage: origin("#" + strings.Repeat("x", 300))}, "~"},
		{Message{Lineage: origin("#é")}, "~"},
	} {
		got := string(env.AppendIdentity([]byte("kept "), &tt.m))
		id, kept := strings.CutPrefix(got, "kept ")
		if hashed := strings.HasPrefix(tt.want, "~"); !kept || hashed != strings.HasPrefix(id, "~") || !hashed && id != tt.want || len(id) > MaxIdentity {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	m := &Message{Lineage: origin("@orders/0:17"), Descent: Descent(0).Part(2)}
	buf := make([]byte, 0, MaxIdentity)
	if n := testing.AllocsPerRun(100, func() { buf = env.AppendIdentity(buf[:0], m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
