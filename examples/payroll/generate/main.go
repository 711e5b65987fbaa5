// Command generate writes two extracts of a personnel system for examples/payroll.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"penstock.dev/penstock/examples/payroll/hrdata"
)

func main() {
	seed := flag.Uint64("seed", 1, "the same seed gives the same people")
	n := flag.Int("people", 300, "how many there are at first")
	out := flag.String("out", "examples/payroll/data", "the folder that is written to")
	flag.Parse()
	if err := run(*seed, *n, *out); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(seed uint64, n int, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	first, second := hrdata.Extracts(seed, n)
	for name, people := range map[string][]hrdata.Employee{"employees-2026-01-01.csv": first, "employees-2026-02-01.csv": second} {
		// A watched folder must never show half an extract.
		path := filepath.Join(out, name)
		f, err := os.Create(path + ".part")
		if err != nil {
			return err
		}
		if err := hrdata.Write(f, people); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		if err := os.Rename(path+".part", path); err != nil {
			return err
		}
	}
	joined, left, changed := hrdata.Compare(first, second)
	fmt.Printf("%s: %d people, then %d: %d joined, %d left, %d changed; %s an hour in the end\n", out, len(first), len(second), joined, left, changed, hrdata.Rate(hrdata.Total(second)))
	return nil
}
