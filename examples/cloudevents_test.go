package examples_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

// TestCloudEvents runs examples/cloudevents as a service, and looks at what is on the wire: an event that comes in structured mode, and one that
// goes out in binary mode.
func TestCloudEvents(t *testing.T) {
	text, err := os.ReadFile("cloudevents/events.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *http.Request, 1)
	warehouse := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r = r.Clone(context.Background())
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		got <- r
	}))
	defer warehouse.Close()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "events.yaml"), []byte(strings.ReplaceAll(string(text), "http://127.0.0.1:9090", warehouse.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &control.Service{Registry: edition.Standard()}
	checked := s.Check(control.Project{Paths: []string{dir}}, false)
	if !checked.OK {
		t.Fatalf("%+v", checked.Findings)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := s.Run(ctx, checked, control.RunOptions{Project: control.Project{Paths: []string{dir}}, Address: address, Stdout: io.Discard, DeadLetters: t.TempDir()})
		over <- err
	}()
	for { // it may not listen yet
		if c, err := new(net.Dialer).DialContext(ctx, "tcp", address); err == nil {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/events",
		strings.NewReader(`{"specversion":"1.0","id":"Ä 1","source":"/shop","type":"com.example.order.placed","data":{"id":"7","lines":[{"sku":"cup","quantity":2}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusAccepted {
		t.Fatalf("%s, %v", res.Status, err)
	}
	r := <-got
	body, _ := io.ReadAll(r.Body)
	if string(body) != `{"order":"7","items":2}` {
		t.Errorf("body: %s", body)
	}
	for name, want := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Type": "com.example.pick-list.made", "Ce-Source": "/penstock/pick-lists", "Ce-Subject": "7", "Ce-Causationid": "%C3%84%201",
		"Content-Type": "application/json",
	} {
		if r.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, r.Header.Get(name), want)
		}
	}
	if r.Header.Get("Ce-Id") == "" || r.Header.Get("Ce-Id") == "%C3%84%201" {
		t.Errorf("the new event's id is %q", r.Header.Get("Ce-Id"))
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
