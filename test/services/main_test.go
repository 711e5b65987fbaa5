package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

// TestServicesAreUp starts some services as a developer does: what is printed are Connections that a project takes, and where nothing is left when they are told to stop.
func TestServicesAreUp(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	from, to := io.Pipe()
	over := make(chan error, 1)
	go func() {
		err := run(ctx, to, []string{"registry", "redis", "nats", "mosquitto"})
		_ = to.Close()
		over <- err
	}()
	var said strings.Builder
	part := make([]byte, 4096)
	for !strings.Contains(said.String(), "Ctrl-C") {
		n, err := from.Read(part)
		said.Write(part[:n])
		if err != nil {
			t.Fatal(said.String(), err)
		}
	}
	stop()
	if _, err := io.Copy(&said, from); err != nil {
		t.Error(err)
	}
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "connections.yaml")
	if err := os.WriteFile(file, []byte(said.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &control.Service{Registry: edition.Standard()}
	for _, f := range s.Check(control.Project{Paths: []string{file}}, false).Findings {
		t.Error(f, "\n", said.String())
	}
	if n := strings.Count(said.String(), "kind: Connection"); n == 0 || n+strings.Count(said.String(), "is not up") != 4 {
		t.Error(said.String())
	}
}

func TestServicesAreKnown(t *testing.T) {
	if err := run(t.Context(), io.Discard, []string{"oracle"}); err == nil || !strings.Contains(err.Error(), "there are pulsar, kafka") {
		t.Error(err)
	}
	script, err := os.ReadFile("../service/install.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(script), "for name in ${*:-")
	list, _, _ = strings.Cut(list, "}")
	listed := strings.Fields(list)
	for _, k := range kinds {
		if k.name != "registry" && !slices.Contains(listed, k.name) {
			t.Errorf("install.sh installs no %s", k.name)
		}
	}
}
