package entity

import (
	"strings"
	"testing"
)

// TestKnownCommandsAreWhereTheJanitorLooks: a run deletes what is over from the spaces of this name, and from no other of an entity's.
func TestKnownCommandsAreWhereTheJanitorLooks(t *testing.T) {
	n := namesOf("account", 7)
	for _, name := range []string{n.events, n.head, n.at, n.snap, n.cause, n.chain, n.keys, n.under} {
		if is := strings.HasPrefix(name, "entity/") && strings.Contains(name, "/cause#"); is != (name == n.cause) {
			t.Errorf("%s: %v", name, is)
		}
	}
}
