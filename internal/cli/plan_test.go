package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/cli"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/test/bus"
)

const onTheBus = `apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: prod }
spec: { log: { address: "$address" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: orders }
spec: { retention: { time: 48h }, broker: { log: { connection: prod, topic: shop.orders, partitions: 3 } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: invoices }
spec: { broker: { log: { connection: prod } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: bill }
spec: { from: { channel: orders }, to: { channel: invoices } }
`

// TestPlan shows what is to be made on a broker that has nothing, something, and something else.
func TestPlan(t *testing.T) {
	reg := edition.Standard()
	bus.Register(reg)
	b := bus.At(t.Name())
	file := filepath.Join(t.TempDir(), "flows.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(onTheBus, "$address", t.Name())), 0o600); err != nil {
		t.Fatal(err)
	}
	plan := func(args ...string) (string, int) {
		var out, errs bytes.Buffer
		p := &cli.Program{Service: &control.Service{Registry: reg}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}
		code := p.Run(append([]string{"plan", file}, args...))
		return out.String() + errs.String(), code
	}
	for _, step := range []struct {
		name string
		do   func()
		args []string
		want string
		code int
	}{
		{name: "nothing is there", args: []string{"--fail-on-change"}, code: cli.ExitChanges, want: `channel orders on log by connection prod
  + topic shop.orders: partitions 3, retention 48h0m0s
  + group bill
channel invoices on log by connection prod
  + topic invoices: partitions 1
3 to create, 0 to change
`},
		{name: "something is there", do: func() { b.Make("shop.orders", 2, "bill"); b.Make("invoices", 1) }, want: `channel orders on log by connection prod
  ~ topic shop.orders: partitions 2 → 3
0 to create, 1 to change
`},
		{name: "all", args: []string{"--all"}, want: `channel orders on log by connection prod
  ~ topic shop.orders: partitions 2 → 3
  = group bill
channel invoices on log by connection prod
  = topic invoices
0 to create, 1 to change
`},
		{name: "something else is there", do: func() { b.Remove("invoices"); b.Make("invoices", 7) }, code: cli.ExitConfig, want: `channel orders on log by connection prod
  ~ topic shop.orders: partitions 2 → 3
channel invoices on log by connection prod
  ! topic invoices can't be used: partitions is 7 there, and 1 here
      hint: say ` + "`partitions: 7`" + `
0 to create, 1 to change, 1 conflict
`},
		{name: "nobody answers", do: func() { b.Down(true) }, code: cli.ExitFailed, want: `channel orders on log by connection prod
  ! bus: the broker is down
channel invoices on log by connection prod
  ! bus: the broker is down
0 to create, 0 to change, 2 failures
`},
		{name: "as it should be", do: func() {
			b.Down(false)
			b.Remove("invoices")
			b.Remove("shop.orders")
			b.Make("invoices", 1)
			b.Make("shop.orders", 3, "bill")
		}, args: []string{"--fail-on-change"}, want: "everything is as it should be\n"},
	} {
		if step.do != nil {
			step.do()
		}
		if got, code := plan(step.args...); got != step.want || code != step.code {
			t.Errorf("%s: exit code %d, want %d, and\n%s\nwant\n%s", step.name, code, step.code, got, step.want)
		}
	}
	got, _ := plan("-o", "json")
	var js struct {
		OK    bool
		Needs []struct {
			Channel string
			Objects []struct{ Kind, Name, Action string }
		}
	}
	if err := json.Unmarshal([]byte(got), &js); err != nil || !js.OK || len(js.Needs) != 2 || js.Needs[0].Channel != "orders" || js.Needs[0].Objects[0].Action != "keep" {
		t.Errorf("%v: %s", err, got)
	}
	if err := os.WriteFile(file, []byte("apiVersion: penstock.dev/v1alpha1\nkind: Channel\nmetadata: { name: a }\nspec: { broker: { log: {} } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, code := plan(); code != cli.ExitConfig || !strings.Contains(got, "connection") {
		t.Errorf("exit code %d: %s", code, got)
	}
}
