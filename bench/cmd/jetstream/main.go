// Command jetstream is the peer of the case store-publishers: NATS JetStream embedded in the process of its publishers, with a file
// store that is synced before each acknowledgement. It prints what it measured as JSON.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock/bench/load"
)

func main() {
	folder := flag.String("dir", "", "`folder` for the store")
	lasts := flag.Duration("for", 3*time.Second, "how long to publish")
	n := flag.Int("publishers", 64, "publishers")
	flag.Parse()
	if err := run(*folder, *lasts, *n); err != nil {
		fmt.Fprintln(os.Stderr, "jetstream:", err)
		os.Exit(1)
	}
}

func run(folder string, lasts time.Duration, n int) error {
	if folder == "" {
		return errors.New("-dir is missing")
	}
	s, err := server.NewServer(&server.Options{JetStream: true, StoreDir: folder, SyncAlways: true, DontListen: true, NoLog: true, NoSigs: true})
	if err != nil {
		return err
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("the server is not ready after 10 s")
	}
	streams := make([]jetstream.JetStream, n)
	for i := range streams {
		c, err := nats.Connect("", nats.InProcessServer(s))
		if err != nil {
			return err
		}
		defer c.Close()
		if streams[i], err = jetstream.New(c); err != nil {
			return err
		}
	}
	ctx := context.Background()
	stream, err := streams[0].CreateStream(ctx, jetstream.StreamConfig{Name: "bench", Subjects: []string{"bench"}, Storage: jetstream.FileStorage})
	if err != nil {
		return err
	}
	body := load.Body(nil, 0)
	send := func(w int, _ int64) error {
		_, err := streams[w].Publish(ctx, "bench", body)
		return err
	}
	warm, err := load.Publish(n, 0, lasts/5, 0, send)
	if err != nil {
		return err
	}
	p, err := load.Publish(n, warm.Next(), lasts, 0, send)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return err
	}
	if int64(info.State.Msgs) != p.Next() { //nolint:gosec // a count of messages
		return fmt.Errorf("%d messages were acknowledged, the stream holds %d", p.Next(), info.State.Msgs)
	}
	var r load.Result
	r.Add("rate", "messages/s", p.Rate())
	r.Add("p50", "ms", p.Quantile(0.5))
	r.Add("p99", "ms", p.Quantile(0.99))
	r.Add("CPU", "µs a message", float64(p.CPU.Microseconds())/float64(len(p.Took)))
	return r.Print(os.Stdout)
}
