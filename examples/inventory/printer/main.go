// Command printer is a worker: it takes labels from the queue of examples/inventory, and prints them on the standard output.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"penstock.dev/penstock/worker"
)

// label is what a job says.
type label struct {
	Order, SKU, Carrier string
	Count               int
}

func main() {
	url := flag.String("url", "http://localhost:8080", "where penstock listens")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := worker.New(*url, "labels", worker.Options{Concurrency: 2}).Run(ctx, printLabel); err != nil {
		fmt.Fprintln(os.Stderr, "printer:", err)
		os.Exit(1)
	}
}

// printLabel does one job.
func printLabel(_ context.Context, job *worker.Job) error {
	var l label
	if err := job.Decode(&l); err != nil {
		return worker.Dead(err)
	}
	if l.Count <= 0 {
		return worker.Dead(errors.New("a label for nothing"))
	}
	fmt.Printf("%s: %d × %s with %s\n", l.Order, l.Count, l.SKU, l.Carrier)
	return job.SetResult(map[string]any{"printed": l.Order})
}
