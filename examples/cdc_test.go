package examples_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/test/service"
)

// TestCDC runs examples/cdc against a real server: a row that is there and one that is changed become lines.
func TestCDC(t *testing.T) {
	server := service.LogicalPostgres(t)
	t.Cleanup(func() { server.Stop(t) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, server.URI("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	exec := func(text string) {
		t.Helper()
		if _, err := c.Exec(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric(12,2), status text)")
	exec("INSERT INTO orders VALUES (1, 'Ann', 12.50, 'paid'), (2, 'Bob', 3, 'open')")
	paid := filepath.Join(t.TempDir(), "paid.jsonl")
	s := &control.Service{Registry: edition.Standard()}
	project := control.Project{Paths: []string{"cdc"}, Params: map[string]string{"url": "postgres://postgres@" + server.Address() + "/postgres", "paid": paid}}
	store := filepath.Join(t.TempDir(), "store.db")
	for round := range 2 {
		checked := s.Check(project, false)
		if !checked.OK {
			t.Fatalf("%+v", checked.Findings)
		}
		if _, err := s.Run(ctx, checked, control.RunOptions{Project: project, Once: true, Stdout: io.Discard, Store: store}); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			exec("UPDATE orders SET status = 'paid' WHERE id = 2")
			exec("DELETE FROM orders WHERE id = 1")
		}
	}
	have, err := os.ReadFile(paid)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"order":1,"customer":"Ann","total":12.50}` + "\n" + `{"order":2,"customer":"Bob","total":3.00}` + "\n"
	if !bytes.Equal(have, []byte(want)) {
		t.Errorf("%s, want %s", have, want)
	}
}
