package orders_test

import (
	"bytes"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/examples/orders/orderdata"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/test/service"
)

// overlays are where else the channels of the example can be, and how the broker is reached.
var overlays = []struct {
	name  string
	start func(t *testing.T) map[string]string // params
}{
	{"kafka", func(t *testing.T) map[string]string { return map[string]string{"broker": service.Kafka(t).Brokers()} }},
	{"nats", func(t *testing.T) map[string]string { return map[string]string{"broker": service.NATS(t).URL()} }},
	{"pulsar", func(t *testing.T) map[string]string {
		s := service.Pulsar(t)
		return map[string]string{"broker": s.URL(), "admin": s.AdminURL()}
	}},
	{"rabbitmq", func(t *testing.T) map[string]string {
		t.Setenv("PENSTOCK_SECRET_RABBITMQ", "guest")
		return map[string]string{"broker": service.RabbitMQ(t).URL()}
	}},
}

// written are the files that the example writes.
var written = []string{"orders.jsonl", "cancellations.jsonl", "reconciliation.jsonl"}

// TestOverlays runs the example with its channels on brokers: the flows are the same, and so is what comes of them. Each flow runs by itself, as it might on a machine of
// its own.
func TestOverlays(t *testing.T) {
	drop := t.TempDir()
	_, err := orderdata.Generate(orderdata.Config{Seed: 5, Days: 6, LinesPerDay: 200}, func(name string) (io.WriteCloser, error) { return os.Create(filepath.Join(drop, name)) })
	if err != nil {
		t.Fatal(err)
	}
	want, _ := run(t, drop)
	for _, o := range overlays {
		t.Run(o.name, func(t *testing.T) {
			out := t.TempDir()
			s := &control.Service{Registry: edition.Standard()}
			pr := control.Project{Overlay: "overlays/" + o.name, Params: map[string]string{"drop": drop, "out": out, "reference": "reference"}}
			maps.Copy(pr.Params, o.start(t))
			checked := s.Check(pr, true)
			for _, f := range checked.Findings {
				t.Error(f)
			}
			if !checked.OK {
				t.Fatal("the example does not check")
			}
			plan(t, s, checked, penstock.ObjectCreate)
			for _, flow := range []string{"intake", "lines", "orders", "reconcile"} {
				if _, err := s.Run(t.Context(), checked, control.RunOptions{Flows: []string{flow}, Store: filepath.Join(out, "store.db"), Once: true}); err != nil {
					t.Fatalf("flow %s: %v", flow, err)
				}
			}
			plan(t, s, checked, penstock.ObjectKeep)
			for _, name := range written {
				if got, want := read(t, out, name), read(t, want, name); !bytes.Equal(got, want) {
					t.Errorf("%s differs from what comes of channels in the store:\n%s\nwant\n%s", name, got, want)
				}
			}
			if got, want := len(deadLetters(t, filepath.Join(out, "store.db"), "lines.dead")), len(deadLetters(t, filepath.Join(want, "store.db"), "lines.dead")); got != want {
				t.Errorf("%d dead letters, want %d", got, want)
			}
			// What the flows are to do is the same, and needs no broker.
			report, err := s.Test(t.Context(), pr, control.TestOptions{})
			if err != nil || report.Failed() > 0 {
				t.Errorf("the tests: %v, %+v", err, report)
			}
		})
	}
}

// TestPostgres runs the example with its store on PostgreSQL: what comes of it is the same.
func TestPostgres(t *testing.T) {
	drop, out := t.TempDir(), t.TempDir()
	_, err := orderdata.Generate(orderdata.Config{Seed: 5, Days: 6, LinesPerDay: 200}, func(name string) (io.WriteCloser, error) { return os.Create(filepath.Join(drop, name)) })
	if err != nil {
		t.Fatal(err)
	}
	want, _ := run(t, drop)
	server := service.NewPostgres(t)
	server.Exec(t, "CREATE DATABASE penstock")
	host, port, err := net.SplitHostPort(server.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGHOST", host)
	t.Setenv("PGPORT", port)
	t.Setenv("PGUSER", "postgres")
	s := &control.Service{Registry: edition.Standard()}
	pr := control.Project{Overlay: "overlays/postgres", Params: map[string]string{"drop": drop, "out": out, "reference": "reference"}}
	checked := s.Check(pr, true)
	for _, f := range checked.Findings {
		t.Error(f)
	}
	if _, err := s.Run(t.Context(), checked, control.RunOptions{Once: true}); err != nil {
		t.Fatal(err)
	}
	for _, name := range written {
		if got, want := read(t, out, name), read(t, want, name); !bytes.Equal(got, want) {
			t.Errorf("%s differs from what comes of a store in a file:\n%.2000s\nwant\n%.2000s", name, got, want)
		}
	}
	ops, err := s.Operate(t.Context(), control.Place{Project: pr})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ops.Close(); err != nil {
			t.Error(err)
		}
	}()
	info, err := ops.Store.Info(t.Context())
	if err != nil || !strings.Contains(info.Path, "schema orders") {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := ops.Store.Check(t.Context(), nil); penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "pg_dump") {
		t.Errorf("checking a store without a file: %v", err)
	}
}

// plan holds everything on the broker to stand as action says, but what stands already.
func plan(t *testing.T, s *control.Service, c *control.Checked, action penstock.ObjectAction) {
	t.Helper()
	p, err := s.Plan(t.Context(), c, nil)
	if err != nil || !p.OK || len(p.Needs) != 2 {
		t.Fatalf("the plan is %+v: %v", p, err)
	}
	for _, n := range p.Needs {
		if len(n.Objects) == 0 {
			t.Errorf("channel %s needs nothing", n.Channel)
		}
		for _, o := range n.Objects {
			if o.Action != action {
				t.Errorf("channel %s: %s %s: %s, want %s", n.Channel, o.Kind, o.Name, o.Action, action)
			}
		}
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return text
}
