package worker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"penstock.dev/penstock/worker"
)

func ExampleWorker_Run() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	w := worker.New("http://localhost:8080", "labels", worker.Options{Concurrency: 4, Token: os.Getenv("LABELS_TOKEN")})
	err := w.Run(ctx, func(_ context.Context, job *worker.Job) error {
		var label struct{ Parcel string }
		if err := job.Decode(&label); err != nil {
			return worker.Dead(err) // it will never be any better
		}
		if label.Parcel == "" {
			return worker.Dead(errors.New("the label names no parcel"))
		}
		fmt.Println("printing", label.Parcel)
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func ExampleAfter() {
	busy := errors.New("the printer warms up")
	fmt.Println(worker.After(busy, time.Minute))
	// Output: the printer warms up
}
