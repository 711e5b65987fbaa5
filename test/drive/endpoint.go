package drive

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/bytes"
	"penstock.dev/penstock/codec/json"
)

// endpoint is what sources and sinks have in common.
type endpoint interface {
	Open(context.Context) error
	Close(context.Context) error
}

// Opened opens a source or sink, which is closed at the end of the test.
func Opened[T endpoint](t testing.TB, v T) T {
	t.Helper()
	if err := v.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(context.Background()); err != nil {
			t.Error("Close:", err)
		}
	})
	return v
}

// Closed closes a source or sink.
func Closed(t testing.TB, s interface{ Close(context.Context) error }) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// JSON is the format json.
func JSON(t testing.TB) penstock.Format {
	t.Helper()
	c, err := json.New(json.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return penstock.Format{Name: "json", Config: &json.Config{}, Codec: c}
}

// Bytes is the format bytes.
func Bytes(t testing.TB) penstock.Format {
	t.Helper()
	c, err := bytes.New(bytes.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return penstock.Format{Name: "bytes", Codec: c}
}

// Env is the Env of a step of a flow that keeps order, with one lane. What its endpoints share is closed by drop, as the end of a run does, and at the end of the test. With PENSTOCK_LOG set the
// log goes to standard error.
func Env(t testing.TB, name string) (env penstock.Env, drop func()) {
	t.Helper()
	clock := penstock.SystemClock{}
	var mu sync.Mutex
	shared := map[string]any{}
	log := io.Discard
	if os.Getenv("PENSTOCK_LOG") != "" {
		log = io.Writer(os.Stderr)
	}
	env = penstock.Env{Name: name, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), Clock: clock, Runtime: &penstock.Runtime{Clock: clock}, Concurrency: 1, Ordered: true,
		Shared: func(key string, build func() (any, error)) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			if v, ok := shared[key]; ok {
				return v, nil
			}
			v, err := build()
			if err == nil {
				shared[key] = v
			}
			return v, err
		}}
	drop = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, v := range shared {
			if err := v.(io.Closer).Close(); err != nil {
				t.Error(err)
			}
		}
		clear(shared)
	}
	t.Cleanup(drop)
	return env, drop
}

// Until waits until something is so.
func Until(t testing.TB, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("never: ", what)
		}
	}
}
