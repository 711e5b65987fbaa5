// Command generate writes the order files that the example runs on, and beside them
// expected.json with the exact figures that the example must arrive at. See package orderdata
// for what the files hold.
//
//	go run ./examples/orders/generate -seed 1 -days 30 -lines-per-day 1500 -out examples/orders/data
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"penstock.dev/penstock/examples/orders/orderdata"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "generate:", err)
			os.Exit(1)
		}
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("generate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	seed := flags.Uint64("seed", 1, "the same `seed` gives the same files")
	days := flags.Int("days", 30, "number of daily `files`; Saturdays are skipped")
	lines := flags.Int("lines-per-day", 1500, "about how many `lines` a file holds")
	out := flags.String("out", filepath.Join("examples", "orders", "data"), "`folder` to write to; created if absent")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: all settings are flags, see -help", flags.Arg(0))
	}
	cfg := orderdata.Config{Seed: *seed, Days: *days, LinesPerDay: *lines}
	if err := refuseStrangers(*out, cfg.Names()); err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	expected, err := orderdata.Generate(cfg, func(name string) (io.WriteCloser, error) {
		return os.Create(filepath.Join(*out, name))
	})
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(expected, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*out, "expected.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %d files, %d lines, %d invoices, sales %s\n", *out, expected.Days, expected.Lines, expected.Invoices, expected.SalesTotal)
	return err
}

// refuseStrangers keeps expected.json true: a CSV file left over from a longer run would be read
// by the flows and be missing from the figures.
func refuseStrangers(folder string, ours []string) error {
	found, err := filepath.Glob(filepath.Join(folder, "*.csv"))
	if err != nil {
		return err
	}
	for _, f := range found {
		if !slices.Contains(ours, filepath.Base(f)) {
			return fmt.Errorf("%s would not be rewritten by this run and so not be counted in expected.json: remove it, or choose another folder with -out", f)
		}
	}
	return nil
}
