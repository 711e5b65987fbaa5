package orderdata

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// reference reads ../reference/countries.csv by name of country.
func reference(t *testing.T) map[string][]string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "reference", "countries.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, r := range all[1:] {
		if out[r[0]] != nil {
			t.Errorf("%s is there twice", r[0])
		}
		out[r[0]] = r
	}
	return out
}

func TestReferenceKnowsEveryCountry(t *testing.T) {
	known := reference(t)
	for _, c := range append(countries, weighted[string]{home, 0}) {
		if known[c.value] == nil {
			t.Errorf("countries.csv lacks %s, which the generator writes", c.value)
		}
	}
	code, currency := regexp.MustCompile(`^[A-Z]{2}$`), regexp.MustCompile(`^[A-Z]{3}$`)
	for name, r := range known {
		if !code.MatchString(r[1]) || r[3] == "" || !currency.MatchString(r[2]) && name != "Unspecified" {
			t.Errorf("countries.csv: odd row %q", r)
		}
	}
}

func TestReferenceKnowsEveryCountryOfTheRealData(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "..", "shared", "data", "online-retail", "*.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("the real data (../shared/data/online-retail beside the project) is not here")
	}
	known, unknown := reference(t), map[string]bool{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		all, err := csv.NewReader(f).ReadAll()
		_ = f.Close()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, r := range all[1:] {
			if known[r[7]] == nil {
				unknown[r[7]] = true
			}
		}
	}
	if len(unknown) > 0 {
		t.Errorf("countries.csv lacks %v", unknown)
	}
}
