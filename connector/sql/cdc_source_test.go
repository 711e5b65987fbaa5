package sql

import (
	"slices"
	"strings"
	"testing"
)

func wants(t testing.TB, have []got, want ...string) {
	t.Helper()
	if !slices.Equal(bodies(have), want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(bodies(have), "\n"), strings.Join(want, "\n"))
	}
}

func TestCDCOperations(t *testing.T) {
	f := onLogical(t)
	f.exec(t, "CREATE TABLE a (id int PRIMARY KEY, name text)")
	s := opened(t, f.cdc(t, CDCConfig{Tables: []string{"a"}}))
	f.exec(t, "INSERT INTO a VALUES (1, 'one'), (2, 'two')", "UPDATE a SET name = 'zwei' WHERE id = 2", "UPDATE a SET id = 3 WHERE id = 1", "DELETE FROM a WHERE id = 3", "TRUNCATE a")
	all := take(t, s, 6)
	wants(t, all,
		`{"operation":"create","before":null,"after":{"id":1,"name":"one"}}`,
		`{"operation":"create","before":null,"after":{"id":2,"name":"two"}}`,
		`{"operation":"update","before":null,"after":{"id":2,"name":"zwei"}}`,
		`{"operation":"update","before":{"id":1},"after":{"id":3,"name":"one"}}`,
		`{"operation":"delete","before":{"id":3},"after":null}`,
		`{"operation":"truncate","before":null,"after":null}`)
	if all[3].key != "3" || all[4].key != "3" || all[5].key != "" || all[0].table != "public.a" || all[0].time.IsZero() {
		t.Errorf("keys and meta: %+v", all)
	}
}
