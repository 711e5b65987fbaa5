package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/examples/payroll/hrdata"
	"penstock.dev/penstock/internal/control"
)

// reconciliation is what the example writes.
type reconciliation struct {
	Joined           int         `json:"joined"`
	Left             int         `json:"left"`
	Changed          int         `json:"changed"`
	HourlyDifference json.Number `json:"hourlyDifference"`
	PayrollHeadcount int         `json:"payrollHeadcount"`
	PayrollHourly    string      `json:"payrollHourly"`
}

// place is a folder of extracts, a payroll system, and where the example keeps its state.
type place struct {
	t         *testing.T
	drop, out string
	system    *payroll
	url       string
}

func newPlace(t *testing.T) *place {
	p := &place{t: t, drop: t.TempDir(), out: t.TempDir(), system: newPayroll()}
	s := httptest.NewServer(p.system.handler())
	t.Cleanup(s.Close)
	p.url = s.URL
	return p
}

func (p *place) extract(day string, people []hrdata.Employee) {
	p.t.Helper()
	var b bytes.Buffer
	if err := hrdata.Write(&b, people); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.drop, "employees-"+day+".csv"), b.Bytes(), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// run runs the example until what is there was worked off, and gives the lines of the reconciliation.
func (p *place) run() []reconciliation {
	p.t.Helper()
	s := &control.Service{Registry: edition.Standard()}
	checked := s.Check(control.Project{Paths: []string{".."}, Params: map[string]string{"drop": p.drop, "out": p.out, "payroll": p.url}}, true)
	if !checked.OK {
		p.t.Fatal(checked.Findings)
	}
	sum, err := s.Run(context.Background(), checked, control.RunOptions{Store: filepath.Join(p.out, "store.db"), Once: true})
	if err != nil {
		p.t.Fatal(err)
	}
	if sum.Dead() > 0 {
		p.t.Errorf("%d dead letters: %+v", sum.Dead(), sum.Flows)
	}
	text, err := os.ReadFile(filepath.Join(p.out, "reconciliation.jsonl"))
	if err != nil {
		p.t.Fatal(err)
	}
	var out []reconciliation
	for line := range bytes.Lines(text) {
		var r reconciliation
		if err := json.Unmarshal(line, &r); err != nil {
			p.t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func (p *place) holds(people []hrdata.Employee) {
	p.t.Helper()
	if n, sum := p.system.sum(); n != len(people) || sum != hrdata.Total(people) {
		p.t.Errorf("the payroll system has %d people at %s, the extract %d at %s", n, hrdata.Rate(sum), len(people), hrdata.Rate(hrdata.Total(people)))
	}
	for _, want := range people {
		got := p.system.people[want.ID]
		if got.Title != want.Title || got.Department != want.Department || got.NationalID != want.NationalID {
			p.t.Fatalf("the payroll system has %+v, the extract %+v", got, want)
		}
	}
}

// TestPayroll runs two extracts, each when it comes.
func TestPayroll(t *testing.T) {
	for _, c := range []struct {
		name    string
		extract func(*testing.T) (first, second []hrdata.Employee)
	}{
		{"generated", func(*testing.T) (_, _ []hrdata.Employee) { return hrdata.Extracts(7, 400) }},
		{"AdventureWorks", adventureWorks},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, second := c.extract(t)
			joined, left, changed := hrdata.Compare(first, second)
			if joined == 0 || changed == 0 {
				t.Fatalf("the extracts show nothing: %d joined, %d changed", joined, changed)
			}
			p := newPlace(t)
			p.extract("2026-01-01", first)
			got := p.run()
			if len(got) != 1 || got[0].Joined != len(first) || got[0].PayrollHourly != hrdata.Rate(hrdata.Total(first)) {
				t.Errorf("the first extract: %+v", got)
			}
			p.holds(first)
			p.extract("2026-02-01", second)
			got = p.run()
			difference := hrdata.Total(second) - hrdata.Total(first)
			if len(got) != 2 || got[1].Joined != joined || got[1].Left != left || got[1].Changed != changed || got[1].PayrollHeadcount != len(second) ||
				got[1].PayrollHourly != hrdata.Rate(hrdata.Total(second)) || tenThousandths(t, got[1].HourlyDifference.String()) != difference {
				t.Errorf("the second extract: %+v; want %d, %d, %d and a difference of %d", got, joined, left, changed, difference)
			}
			p.holds(second)
			asked := p.system.asked
			if got = p.run(); len(got) != 2 || p.system.asked != asked {
				t.Errorf("without a new extract %d lines, %d requests", len(got), p.system.asked-asked)
			}
			if asked != len(first)+joined+left+changed {
				t.Errorf("%d requests for %d changes", asked, len(first)+joined+left+changed)
			}
		})
	}
}

func tenThousandths(t *testing.T, s string) int64 {
	t.Helper()
	sign := int64(1)
	if s[0] == '-' {
		sign, s = -1, s[1:]
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return sign * int64(f*10000+0.5)
}

// adventureWorks gives the people of the sample company as of two days, from their dates of hire and their pay history.
func adventureWorks(t *testing.T) (first, second []hrdata.Employee) {
	const folder = "../../../../shared/data/adventureworks"
	if _, err := os.Stat(folder); err != nil {
		t.Skipf("the real data is not here: %v", err)
	}
	type pay struct {
		since     string
		rate      int64
		frequency int
	}
	pays := map[int][]pay{}
	for _, r := range table(t, folder, "EmployeePayHistory") {
		amount, err := rate(r["Rate"])
		if err != nil {
			t.Fatal(err)
		}
		id := number(t, r["BusinessEntityID"])
		pays[id] = append(pays[id], pay{r["RateChangeDate"][:10], amount, number(t, r["PayFrequency"])})
	}
	names := map[string]string{}
	for _, r := range table(t, folder, "Department") {
		names[r["DepartmentID"]] = r["Name"]
	}
	type job struct{ since, until, name string }
	jobs := map[int][]job{}
	for _, r := range table(t, folder, "EmployeeDepartmentHistory") {
		id := number(t, r["BusinessEntityID"])
		jobs[id] = append(jobs[id], job{r["StartDate"], r["EndDate"], names[r["DepartmentID"]]})
	}
	as := func(day string) (people []hrdata.Employee) {
		for _, r := range table(t, folder, "Employee") {
			id := number(t, r["BusinessEntityID"])
			e := hrdata.Employee{ID: id, NationalID: r["NationalIDNumber"], Title: r["JobTitle"], HireDate: r["HireDate"], Department: "none"}
			if e.HireDate > day {
				continue
			}
			sort.Slice(pays[id], func(i, j int) bool { return pays[id][i].since < pays[id][j].since })
			for i, p := range pays[id] {
				if p.since <= day || i == 0 {
					e.Rate, e.Frequency = p.rate, p.frequency
				}
			}
			for _, j := range jobs[id] {
				if j.since <= day && (j.until == "" || j.until >= day) {
					e.Department = j.name
				}
			}
			people = append(people, e)
		}
		return people
	}
	first, second = as("2009-06-30"), as("2013-12-31")
	if len(second) != 290 {
		t.Fatalf("%d people, there are 290", len(second))
	}
	return first, second
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func table(t *testing.T, folder, name string) []map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(folder, name+".csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for _, row := range rows[1:] {
		r := map[string]string{}
		for i, h := range rows[0] {
			r[h] = row[i]
		}
		out = append(out, r)
	}
	return out
}
