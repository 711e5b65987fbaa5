package cases

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"penstock.dev/penstock/bench/codecdata"
	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

const (
	anySide       = "values of any type"
	codecMessages = 1_000_000
)

// codecSides is a file of orders in a binary format that is mapped into another; beside it a program that does so with values of any type. What was written is read again, and summed.
func codecSides(format string) func(e *httpRun) ([]httpSide, error) {
	return func(e *httpRun) ([]httpSide, error) {
		n := min(e.Messages, codecMessages)
		from, to := filepath.Join(e.folder, "orders.bin"), filepath.Join(e.folder, "summaries.bin")
		f, err := os.Create(from)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(codecdata.Write(f, format, e.Seed, n), f.Close()); err != nil {
			return nil, err
		}
		var items int
		var gross float64 // of the first that was right
		side := func(name string, argv ...string) httpSide {
			return httpSide{name: name, run: func(ctx context.Context) (out load.Result, err error) {
				if err := os.RemoveAll(to); err != nil {
					return out, err
				}
				m, err := harness.RunIn(ctx, e.folder, argv...)
				if err != nil {
					return out, err
				}
				written, err := os.Open(to)
				if err != nil {
					return out, err
				}
				gotN, gotItems, gotGross, err := codecdata.Sum(written, format)
				if err := errors.Join(err, written.Close()); err != nil {
					return out, err
				}
				if gross == 0 {
					items, gross = gotItems, gotGross
				}
				if gotN != n || gotItems != items || math.Abs(gotGross-gross) > 1e-6*gross {
					return out, fmt.Errorf("%d orders with %d items and %f gross were written, not %d with %d and %f", gotN, gotItems, gotGross, n, items, gross)
				}
				out.Add("rate", "messages/s", float64(n)/m.Wall.Seconds())
				out.Add("CPU", "µs a message", m.CPU.Seconds()*1e6/float64(n))
				out.Add("max RSS", "MB", float64(m.MaxRSS)/1e6)
				return out, nil
			}}
		}
		return []httpSide{
			side("penstock", e.Penstock, "run", "--quiet", filepath.Join(e.Flows, format), "--param", "source="+from, "--param", "target="+to),
			side(anySide, e.Generic, "-format", format, "-from", from, "-to", to),
		}, nil
	}
}
