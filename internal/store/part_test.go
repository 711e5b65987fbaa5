package store_test

import (
	"fmt"
	"testing"

	"penstock.dev/penstock/internal/store"
)

// TestPartOf holds parts to what is in the stores of those who ran an older version.
func TestPartOf(t *testing.T) {
	for key, want := range map[string]int{"": 38, "a": 27, "account-1": 7, "account-2": 53, "#journal": 50} {
		if got := store.PartOf(key, 64); got != want {
			t.Errorf("%q is in part %d, and was in %d", key, got, want)
		}
		if got := store.PartOf(key, 1); got != 0 {
			t.Errorf("%q is in part %d of one", key, got)
		}
	}
	const keys, parts = 64_000, 64
	var count [parts]int
	for i := range keys {
		count[store.PartOf(fmt.Sprint("stream-", i), parts)]++
	}
	for p, n := range count {
		if n < keys/parts*8/10 || n > keys/parts*12/10 {
			t.Errorf("part %d has %d of %d keys", p, n, keys)
		}
	}
}

func TestHome(t *testing.T) {
	for p := range 64 {
		for _, name := range []string{"entity/account", "job/labels/ready", "a#b", "#", "x#07"} {
			if got := store.Home(store.InPart(name, p), 64); got != p {
				t.Errorf("%s is at home in %d, and has to be in %d", store.InPart(name, p), got, p)
			}
		}
		if got := store.Home(store.InPart("e", p), 1); got != 0 {
			t.Errorf("a store of one part has part %d", got)
		}
	}
	if got := store.Home(store.InPart("e", 255), 256); got != 255 {
		t.Errorf("part 255 is %d", got)
	}
	for _, name := range []string{"orders", "#journal", "#", "", "a#", "a#7", "a#007", "a#64", "a#-1", "a#+1", "a#0x"} {
		if got, want := store.Home(name, 64), store.PartOf(name, 64); got != want {
			t.Errorf("%q is at home in %d, and has to be in %d", name, got, want)
		}
	}
}
