package view

import (
	"errors"
	"testing"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// TestWhoIsBehindWritesNothing has rows written by who does not know that somebody else has brought them further, or that others are read.
func TestWhoIsBehindWritesNothing(t *testing.T) {
	st := memory.New()
	err := st.Submit(store.Small, func(tx store.Tx) error {
		return registered{Generation: 1, Last: 1}.put(tx, "v")
	}).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows := &stored{st: st, view: "v", generation: 1, channel: "c"}
	write := func(from, to int64, text string) error {
		a := at{}
		if from > 0 {
			a.Pos = []int64{from}
		}
		return rows.Write(a, at{Pos: []int64{to}}, []change{{"k", []byte(text)}}).Wait(t.Context())
	}
	if err := write(0, 5, "first"); err != nil {
		t.Fatal(err)
	}
	if err := write(3, 4, "late"); !errors.Is(err, errBehind) {
		t.Errorf("who is behind has written: %v", err)
	}
	rows.generation = 2
	if err := write(0, 5, "retired"); !errors.Is(err, errRetired) {
		t.Errorf("rows that nobody reads were written: %v", err)
	}
	rows.generation = 1
	texts, err := rows.Read(t.Context(), []string{"k"})
	if err != nil || string(texts[0]) != "first" {
		t.Errorf("the row is %q, %v", texts, err)
	}
}
