package crash_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/examples/orders/orderdata"
)

const example = "../../examples/orders"

// killsAScenario is how often the run over one set of files is killed.
const killsAScenario = 10

// TestOrdersAreKilled runs examples/orders over a folder that files come into, kills it again and again, and then lets it come to its end:
// every line is in the ledger once and in order, and everything that is made of it is right.
func TestOrdersAreKilled(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 30), number(t, "PENSTOCK_CRASH_SEED", 1)
	program(t)
	for ; kills > 0; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { kills -= newScenario(t, uint64(seed)).run(min(kills, killsAScenario)) })
		if t.Failed() {
			return
		}
	}
}

// scenario is one set of files and what has to come of it.
type scenario struct {
	victim
	want   *orderdata.Expected
	lines  []string // the lines of all files, in order, as keyOf says them
	priced []string // those with a price above 0
	dead   []string // the others

	project string // the example's files
	done    string // where files are moved to that are done; "": they stay
	out     string
	control map[string][]string // the documents of a run that was not killed
}

func newScenario(t *testing.T, seed uint64) *scenario {
	dir := t.TempDir()
	s := &scenario{victim: newVictim(t, dir, seed), project: filepath.Join(dir, "project")}
	if seed%2 == 0 {
		s.done = filepath.Join(dir, "done")
	}
	s.copyExample()
	s.generate(seed)
	s.reference(dir)
	s.out = filepath.Join(dir, "out")
	s.store = filepath.Join(s.out, "store.db")
	s.command = func(once bool) *exec.Cmd { return s.over(s.drop, s.out, once) }
	return s
}

// copyExample copies the example. Its folder takes complete files, so that it need not wait whether they still change.
func (s *scenario) copyExample() {
	if err := os.CopyFS(s.project, os.DirFS(example)); err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.project, "base", "intake.yaml")
	old, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	watch := "watch: { stable: 0s, every: 10ms }"
	if s.done != "" {
		watch += fmt.Sprintf(", after: { move: %q }", s.done)
	}
	now := bytes.Replace(old, []byte("watch: { stable: 500ms }"), []byte(watch), 1)
	if bytes.Equal(now, old) {
		s.t.Fatalf("%s does not say how long a file must not have changed, as it used to", path)
	}
	if err := os.WriteFile(path, now, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

type buffer struct{ bytes.Buffer }

func (*buffer) Close() error { return nil }

func (s *scenario) generate(seed uint64) {
	made := map[string]*buffer{}
	var err error
	s.want, err = orderdata.Generate(orderdata.Config{Seed: seed, Days: 12, LinesPerDay: 250}, func(name string) (io.WriteCloser, error) {
		made[name] = &buffer{}
		return made[name], nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if s.want.InvoicesInTwoFiles == 0 || s.want.LinesPriceNotPositive == 0 {
		s.t.Fatalf("the files lack what this test is about: %+v", s.want)
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		s.files[name] = made[name].Bytes()
		rows, err := csv.NewReader(bytes.NewReader(s.files[name])).ReadAll()
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range rows[1:] {
			key := keyOf(s.t, r[0], r[1], r[3], r[5])
			s.lines = append(s.lines, key)
			if strings.HasPrefix(r[5], "-") || strings.Trim(r[5], "0.") == "" {
				s.dead = append(s.dead, key)
			} else {
				s.priced = append(s.priced, key)
			}
		}
	}
}

// keyOf says which line of an order file something was made of.
func keyOf(t *testing.T, invoice, article, quantity, price string) string {
	p, ok := new(big.Rat).SetString(price)
	if !ok {
		t.Fatalf("price %q", price)
	}
	return invoice + " " + article + " " + quantity + " " + p.RatString()
}

// reference runs the flows over all files, without a kill.
func (s *scenario) reference(dir string) {
	drop, out := filepath.Join(dir, "all"), filepath.Join(dir, "reference")
	if err := os.Mkdir(drop, 0o755); err != nil {
		s.t.Fatal(err)
	}
	for name, data := range s.files {
		if err := os.WriteFile(filepath.Join(drop, name), data, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	cmd := s.over(drop, out, true)
	began := time.Now()
	start(s.t, cmd).wait()
	s.usual = time.Since(began)
	if s.done != "" { // what it moved there was not for us
		if err := os.RemoveAll(s.done); err != nil {
			s.t.Fatal(err)
		}
	}
	s.control = map[string][]string{}
	for _, name := range outputs {
		s.control[name] = documents(s.t, filepath.Join(out, name))
	}
	s.reconciled(s.control["reconciliation.jsonl"])
}

var outputs = []string{"orders.jsonl", "cancellations.jsonl", "amendments.jsonl", "reconciliation.jsonl"}

func (s *scenario) over(drop, out string, once bool) *exec.Cmd {
	args := []string{"run", s.project, "--param", "drop=" + drop, "--param", "out=" + out, "--param", "reference=" + filepath.Join(s.project, "reference"),
		"--store", filepath.Join(out, "store.db")}
	if once {
		args = append(args, "--once")
	}
	cmd := exec.Command(program(s.t), args...)
	cmd.Dir = s.t.TempDir()
	return cmd
}

// run kills up to so often, and says how often it did.
func (s *scenario) run(kills int) (done int) {
	done = s.killed(kills, func(r reader) { s.stored(r, false) })
	s.holds()
	before := s.snapshot()
	start(s.t, s.command(true)).wait() // there is nothing left to do
	if after := s.snapshot(); !maps.Equal(before, after) {
		s.t.Error("another run over what was done already has written something")
	}
	check := exec.Command(program(s.t), "store", "check", "--store", s.store)
	check.Dir = s.t.TempDir()
	start(s.t, check).wait()
	s.t.Logf("%d lines in %v; %v", s.want.Lines, s.usual.Round(time.Millisecond), s.hits)
	return done
}

// stored holds the store to what was read. At the end all is there, before that the beginning of it.
func (s *scenario) stored(r reader, end bool) {
	s.t.Helper()
	for _, c := range []struct {
		channel                           string
		want                              []string
		invoice, article, quantity, price string
	}{
		{"ledger", s.lines, "InvoiceNo", "StockCode", "Quantity", "UnitPrice"},
		{"lines.dead", s.dead, "InvoiceNo", "StockCode", "Quantity", "UnitPrice"},
		{"lines", s.priced, "invoice", "article", "quantity", "price"},
	} {
		bodies := r.bodies(c.channel)
		for i, b := range bodies {
			var m map[string]any
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			if err := d.Decode(&m); err != nil {
				s.t.Fatalf("%s@%d: %v", c.channel, i, err)
			}
			got := keyOf(s.t, fmt.Sprint(m[c.invoice]), fmt.Sprint(m[c.article]), fmt.Sprint(m[c.quantity]), fmt.Sprint(m[c.price]))
			if i >= len(c.want) || got != c.want[i] {
				s.t.Fatalf("%s@%d is %q, want %q", c.channel, i, got, c.want[min(i, len(c.want)-1)])
			}
		}
		if end && len(bodies) != len(c.want) {
			s.t.Errorf("channel %s holds %d messages, want %d", c.channel, len(bodies), len(c.want))
		}
	}
}

// holds holds everything to what has to be there at the end.
func (s *scenario) holds() {
	s.t.Helper()
	inspect(s.t, s.store, func(r reader) { s.stored(r, true) })
	where := s.drop
	if s.done != "" {
		where = s.done
	}
	for name, want := range s.files {
		if got, err := os.ReadFile(filepath.Join(where, name)); err != nil || !bytes.Equal(got, want) {
			s.t.Errorf("%s is not in %s as it came: %v", name, where, err)
		}
	}
	if all, err := os.ReadDir(where); err != nil || len(all) != len(s.files) {
		s.t.Errorf("%s holds %d files, want %d (%v)", where, len(all), len(s.files), err)
	}
	for _, name := range outputs {
		got := documents(s.t, filepath.Join(s.out, name))
		if name == "reconciliation.jsonl" {
			s.reconciled(got)
		}
		// Files may hold something twice, but neither less nor anything else.
		there := distinct(got)
		if want := distinct(s.control[name]); !maps.Equal(there, want) {
			s.t.Errorf("%s: %s", name, difference(there, want))
		}
	}
	if got, want := firsts(s.t, documents(s.t, filepath.Join(s.out, "amendments.jsonl"))), firsts(s.t, s.control["amendments.jsonl"]); !maps.EqualFunc(got, want, slices.Equal) {
		s.t.Errorf("amendments of an invoice are in another order: %v, want %v", got, want)
	}
}

// reconciled holds the reconciliation to the exact figures of the files.
func (s *scenario) reconciled(all []string) {
	s.t.Helper()
	if len(all) == 0 {
		s.t.Fatal("no reconciliation")
	}
	for _, text := range all {
		var got struct {
			Lines, Invoices, CancellationLines, LinesWithoutCustomer, LinesPriceNotPositive, Countries, SalesLines int

			SalesTotal json.Number
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			s.t.Fatal(err)
		}
		total, ok := new(big.Rat).SetString(got.SalesTotal.String())
		want, _ := new(big.Rat).SetString(s.want.SalesTotal)
		w := s.want
		if !ok || total.Cmp(want) != 0 || got.Lines != w.Lines || got.Invoices != w.Invoices || got.CancellationLines != w.CancellationLines ||
			got.LinesWithoutCustomer != w.LinesWithoutCustomer || got.LinesPriceNotPositive != w.LinesPriceNotPositive ||
			got.Countries != w.Countries || got.SalesLines != w.SalesLines {
			s.t.Errorf("the reconciliation is\n%s, want\n%+v", text, *w)
		}
	}
}

// snapshot is what the files hold.
func (s *scenario) snapshot() map[string]string {
	all := map[string]string{}
	for _, name := range outputs {
		all[name] = strings.Join(documents(s.t, filepath.Join(s.out, name)), "\n")
	}
	return all
}

// documents reads a file of lines, the last of which is whole; one that is not there has none.
func documents(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) || len(data) == 0 {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	text, whole := strings.CutSuffix(string(data), "\n")
	if !whole {
		t.Errorf("%s ends with a torn line", path)
	}
	return strings.Split(text, "\n")
}

func distinct(documents []string) map[string]bool {
	all := map[string]bool{}
	for _, d := range documents {
		all[d] = true
	}
	return all
}

// firsts lists the distinct documents of each order, in the order of their first appearance.
func firsts(t *testing.T, documents []string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, d := range documents {
		var o struct{ ID string }
		if err := json.Unmarshal([]byte(d), &o); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(all[o.ID], d) {
			all[o.ID] = append(all[o.ID], d)
		}
	}
	return all
}

// difference says what is too much and what is missing.
func difference(got, want map[string]bool) string {
	var b strings.Builder
	show := func(what string, a, b2 map[string]bool) {
		n := 0
		for _, d := range slices.Sorted(maps.Keys(a)) {
			if b2[d] {
				continue
			}
			if n++; n <= 3 {
				fmt.Fprintf(&b, "\n  %s %s", what, d)
			}
		}
		if n > 3 {
			fmt.Fprintf(&b, "\n  … and %d more", n-3)
		}
	}
	show("missing", want, got)
	show("too much", got, want)
	return b.String()
}
