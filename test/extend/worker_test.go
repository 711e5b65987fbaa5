package extend

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

// block is the block of a page that is the file of this name.
func block(t *testing.T, page, file string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "<!-- file "+file+" -->\n```")
	_, after, _ = strings.Cut(after, "\n")
	inside, _, closed := strings.Cut(after, "```")
	if !ok || !closed {
		t.Fatalf("%s has no file %s", page, file)
	}
	return inside
}

// TestWorkerOfAStranger takes the configuration and the worker that docs/jobs.md shows: the worker is a program of another module, which needs nothing of Penstock
// but its package worker, and prints the label of a parcel that is posted.
func TestWorkerOfAStranger(t *testing.T) {
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	page, dir := filepath.Join(source, "docs", "jobs.md"), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("labels.yaml", block(t, page, "labels.yaml"))
	write("printer/main.go", strings.ReplaceAll(block(t, page, "printer/main.go"), "localhost:8080", address))
	printer := filepath.Join(dir, "printer")
	run(t, printer, "go", "mod", "init", "example.com/printer")
	run(t, printer, "go", "mod", "edit", "-require", "penstock.dev/penstock@v0.0.0", "-replace", "penstock.dev/penstock="+source)
	run(t, printer, "go", "mod", "tidy")
	if text := run(t, printer, "gofmt", "-l", "."); text != "" {
		t.Errorf("gofmt would change %s", text)
	}
	run(t, printer, "go", "vet", ".")
	if deps := run(t, printer, "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "."); deps != "penstock.dev/penstock/worker\nexample.com/printer\n" {
		t.Errorf("it needs %s", deps)
	}
	run(t, printer, "go", "build", "-o", "printer", ".")

	t.Setenv("PENSTOCK_SECRET_LABELS_TOKEN", "letmein")
	service := &control.Service{Registry: edition.Standard()}
	checked := service.Check(control.Project{Paths: []string{filepath.Join(dir, "labels.yaml")}}, false)
	if !checked.OK {
		t.Fatal(checked.Findings)
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() {
		_, err := service.Run(ctx, checked, control.RunOptions{Address: address, Store: filepath.Join(dir, "store.db")})
		over <- err
	}()
	defer func() {
		stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	}()

	cmd := exec.CommandContext(t.Context(), filepath.Join(printer, "printer"))
	cmd.Env = append(os.Environ(), "LABELS_TOKEN=letmein")
	cmd.Stderr = os.Stderr
	printed, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	for { // nobody may listen yet, and the worker ends where there is no such queue
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/parcels", strings.NewReader(`{"id": "p1", "carrier": "dhl"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close() // it was read
		if res.StatusCode == http.StatusNotFound {
			continue
		}
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(text), `{"job":"u-`) {
			t.Fatal(res.StatusCode, string(text), err)
		}
		break
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if lines := bufio.NewScanner(printed); !lines.Scan() || lines.Text() != "p1 with dhl" {
		t.Errorf("it prints %q, %v", lines.Text(), lines.Err())
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the worker that is stopped: %v", err)
	}
}
