package cases

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"penstock.dev/penstock/bench/benchdata"
	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

// measured is how long a part that has no end of its own is measured.
func (s *storeRun) measured() time.Duration { return time.Duration(s.full(5, 1)) * time.Second }

func storePublishers(ctx context.Context, s *storeRun) error {
	lasts := s.measured().String()
	s.out.Sizes = "each waits for its message before it sends the next, for " + lasts
	sides := []storeSide{{"penstock", func(ctx context.Context, _ int) (load.Result, error) {
		defer func() { _ = s.clear("p.db") }()
		return s.load(ctx, s.Load, "publishers", "-store", s.path("p.db"), "-for", lasts)
	}}}
	if s.JetStream != "" {
		sides = append(sides, storeSide{jetStream, func(ctx context.Context, _ int) (load.Result, error) {
			defer func() { _ = s.clear("js") }()
			return s.load(ctx, s.JetStream, "-dir", s.path("js"), "-for", lasts)
		}})
	}
	return s.alternate(ctx, true, sides...)
}

func storeFlow(ctx context.Context, s *storeRun) error {
	n := int(s.full(2_000_000, 100_000))
	source := s.path("lines.jsonl")
	f, err := writeInput(source, benchdata.OrderLines, s.Seed, n)
	if err != nil {
		return err
	}
	s.out.Sizes = fmt.Sprintf("a file of %d messages, %d bytes", f.Lines, f.Bytes)
	return s.alternate(ctx, true, storeSide{"penstock", func(ctx context.Context, _ int) (r load.Result, err error) {
		defer func() { err = errors.Join(err, s.clear("f.db")) }()
		m, err := harness.RunIn(ctx, s.folder, s.penstock("f.db", "--param", "source="+source)...)
		if err != nil {
			return r, err
		}
		arrived, err := sent(m, "onwards")
		if err != nil {
			return r, err
		}
		if arrived != n {
			return r, fmt.Errorf("%d of %d messages arrived", arrived, n)
		}
		_, err = s.load(ctx, s.Load, "verify", "-store", s.path("f.db"), "-channel", "lines", "-group", "onwards/from", "-messages", strconv.Itoa(n))
		return used(m, n), err
	}})
}

func storeAggregate(ctx context.Context, s *storeRun) error {
	n := int(s.full(2_000_000, 100_000))
	source, target := s.path("lines.jsonl"), s.path("orders.jsonl")
	f, err := writeInput(source, benchdata.InvoiceLines, s.Seed, n)
	if err != nil {
		return err
	}
	s.out.Sizes = fmt.Sprintf("a file of %d lines of %d orders, %d bytes; rates are lines", f.Lines, f.Passing, f.Bytes)
	return s.alternate(ctx, true, storeSide{"penstock", func(ctx context.Context, _ int) (r load.Result, err error) {
		defer func() { err = errors.Join(err, s.clear("a.db", "orders.jsonl")) }()
		m, err := harness.RunIn(ctx, s.folder, s.penstock("a.db", "--param", "source="+source, "--param", "target="+target)...)
		if err != nil {
			return r, err
		}
		return used(m, n), verifyOrders(target, f)
	}})
}

// verifyOrders holds a file of orders against what is known of the lines: each order once, with all of its lines.
func verifyOrders(path string, f benchdata.Figures) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	ids, lines := map[string]bool{}, 0
	dec := json.NewDecoder(bufio.NewReaderSize(in, 256<<10))
	for {
		var o struct {
			ID    string
			Lines int
		}
		err := dec.Decode(&o)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if ids[o.ID] {
			return fmt.Errorf("%s: order %s came out twice", path, o.ID)
		}
		ids[o.ID] = true
		lines += o.Lines
	}
	if len(ids) != f.Passing || lines != f.Lines {
		return fmt.Errorf("%s holds %d orders of %d lines, not %d of %d", path, len(ids), lines, f.Passing, f.Lines)
	}
	return nil
}

func storeDedupe(ctx context.Context, s *storeRun) error {
	keys, n := s.full(10_000_000, 200_000), int(s.full(1_000_000, 50_000))
	feed := func(first int64, round, every int) func(io.Writer, uint64, int) (benchdata.Figures, error) {
		return func(w io.Writer, seed uint64, n int) (f benchdata.Figures, err error) {
			rnd := rand.New(rand.NewPCG(seed, uint64(round))) //nolint:gosec // data of a benchmark
			var line []byte
			for i := range n {
				id := first + int64(f.Passing)
				if every > 0 && i%every == 1 {
					id = rnd.Int64N(keys)
				} else {
					f.Passing++
				}
				line = append(load.Body(line[:0], id), '\n')
				f.Lines++
				if _, err := w.Write(line); err != nil {
					return f, err
				}
			}
			return f, nil
		}
	}
	// The step is made known to the store by a first run; the keys are put into its state then.
	first := keys
	feedRun := func(ctx context.Context, n, round, every int) (harness.Measurement, []harness.Sample, error) {
		source := s.path(fmt.Sprintf("in%d-%d.jsonl", round, every)) // another file each time: the store knows how far one was read
		f, err := writeInput(source, feed(first, round, every), s.Seed, n)
		if err != nil {
			return harness.Measurement{}, nil, err
		}
		defer func() { _ = os.Remove(source) }()
		first += int64(f.Passing)
		m, samples, err := harness.Watch(ctx, s.folder, 50*time.Millisecond, 0, nil, s.penstock("d.db", "--param", "source="+source)...)
		if err != nil {
			return m, nil, err
		}
		passed, err := sent(m, "intake")
		if err == nil && passed != f.Passing {
			err = fmt.Errorf("%d messages passed, not %d", passed, f.Passing)
		}
		return m, samples, err
	}
	if _, _, err := feedRun(ctx, 1, -1, 0); err != nil {
		return err
	}
	if _, err := s.load(ctx, s.Load, "keys", "-store", s.path("d.db"), "-space", "intake/once", "-keys", strconv.FormatInt(keys, 10)); err != nil {
		return err
	}
	s.out.Sizes = fmt.Sprintf("%d keys remembered, a file of %d messages", keys, n)
	side := func(name string, every int) storeSide {
		return storeSide{name, func(ctx context.Context, round int) (load.Result, error) {
			m, samples, err := feedRun(ctx, n, round, every)
			if err != nil {
				return load.Result{}, err
			}
			r := used(m, n)
			r.Add("RSS growth", "×", growth(samples, func(a harness.Sample) int64 { return a.RSS }))
			return r, nil
		}}
	}
	return s.alternate(ctx, false, side("penstock, all of them new", 0), side(knownSide, 2))
}

// growth is the mean of the last quarter of the samples in that of the second quarter; what comes before warms up.
func growth(samples []harness.Sample, of func(harness.Sample) int64) float64 {
	n := len(samples)
	if n < 8 {
		return 1
	}
	mean := func(some []harness.Sample) float64 {
		var sum float64
		for _, a := range some {
			sum += float64(of(a))
		}
		return sum / float64(len(some))
	}
	early, late := mean(samples[n/4:n/2]), mean(samples[n-n/4:])
	if early == 0 {
		return 1
	}
	return late / early
}

func storeSmall(ctx context.Context, s *storeRun) error {
	lasts := s.measured().String()
	s.out.Sizes = "a transaction reads and writes a state and appends an event; beside it bundles of 1000 messages, 4 under way, for " + lasts
	side := func(name string, more ...string) storeSide {
		return storeSide{name, func(ctx context.Context, _ int) (load.Result, error) {
			defer func() { _ = s.clear("s.db") }()
			return s.load(ctx, append([]string{s.Load, "small", "-store", s.path("s.db"), "-for", lasts}, more...)...)
		}}
	}
	return s.alternate(ctx, true, side("penstock"), side(aloneSide, "-alone"))
}

func storeBehind(ctx context.Context, s *storeRun) error {
	n := s.full(10_000_000, 200_000)
	pace := s.full(10_000, 2_000)
	lasts := s.full(90, 10)
	s.out.Sizes = fmt.Sprintf("%d messages behind; live publishers at %d messages/s, and (saturated) as fast as it goes", n, pace)
	count := strconv.FormatInt(n, 10)
	if _, err := s.load(ctx, s.Load, "fill", "-store", s.path("b.db"), "-messages", count); err != nil {
		return err
	}
	side := func(name string, lasts, pace int64, more ...string) storeSide {
		return storeSide{name, func(ctx context.Context, _ int) (load.Result, error) {
			return s.load(ctx, append([]string{s.Load, "behind", "-store", s.path("b.db"), "-messages", count,
				"-for", (time.Duration(lasts) * time.Second).String(), "-pace", strconv.FormatInt(pace, 10)}, more...)...)
		}}
	}
	alone := s.full(10, 1)
	if err := s.alternate(ctx, true, side("consumer and live", lasts, pace), side(aloneSide, alone, pace, "-alone"),
		side("consumer and live, saturated", lasts, 0), side("alone, saturated", alone, 0, "-alone")); err != nil {
		return err
	}
	// What the publishers have added is there, too.
	return s.alternate(ctx, false, storeSide{wholeFlow, func(ctx context.Context, _ int) (r load.Result, err error) {
		m, err := harness.RunIn(ctx, s.folder, s.penstock("b.db", "--once", "--from", "start")...)
		if err != nil {
			return r, err
		}
		arrived, err := sent(m, "behind")
		if err == nil && int64(arrived) < n {
			err = fmt.Errorf("%d of %d messages arrived", arrived, n)
		}
		r = used(m, arrived)
		r.Figures[0].Name = "catch-up"
		return r, err
	}})
}

func storeRestart(ctx context.Context, s *storeRun) error {
	const frame = 330 // bytes of a message in the file, about
	size := s.full(10e9, 1e9)
	const left = 20
	if _, err := s.load(ctx, s.Load, "fill", "-store", s.path("r.db"), "-messages", strconv.FormatInt(size/frame, 10), "-group", "tail/from"); err != nil {
		return err
	}
	restart := func(name string, evict bool) storeSide {
		return storeSide{name, func(ctx context.Context, _ int) (r load.Result, err error) {
			// Messages elsewhere, a few in the channel, and an end without closing the store: its log is to be recovered.
			if _, err := s.load(ctx, s.Load, "fill", "-store", s.path("r.db"), "-channel", "other", "-messages", "50000", "-crash"); err != nil {
				return r, err
			}
			if _, err := s.load(ctx, s.Load, "fill", "-store", s.path("r.db"), "-messages", strconv.Itoa(left), "-crash"); err != nil {
				return r, err
			}
			info, err := os.Stat(s.path("r.db"))
			if err != nil {
				return r, err
			}
			var log int64
			if wal, err := os.Stat(s.path("r.db-wal")); err == nil {
				log = wal.Size()
			}
			if evict {
				if err := harness.Evict(s.path("r.db")); err != nil {
					return r, err
				}
			}
			m, err := harness.RunIn(ctx, s.folder, s.Penstock, "run", s.Flows+"/store-restart", "-q", "--once", "--store", s.path("r.db"))
			if err != nil {
				return r, err
			}
			if got := bytes.Count(m.Stdout, []byte{'\n'}); got != left {
				return r, fmt.Errorf("%d messages came, not %d: %.300s", got, left, m.Stdout)
			}
			r.Add("ready", "ms", m.FirstLine.Seconds()*1e3)
			r.Add("file", "GB", float64(info.Size())/1e9)
			r.Add("WAL", "MB", float64(log)/1e6)
			r.Add("max RSS", "MB", float64(m.MaxRSS)/1e6)
			return r, nil
		}}
	}
	s.out.Sizes = "the whole process, from its start to the first message on standard output"
	return s.alternate(ctx, true, restart("penstock", false), restart(coldSide, true))
}

func storeSoak(ctx context.Context, s *storeRun) error {
	lasts := s.Soak
	s.out.Sizes = lasts.String() + " of 10,000 messages/s; growth is the last quarter in the second quarter"
	s.rounds = 1
	return s.alternate(ctx, false, storeSide{"penstock", func(ctx context.Context, _ int) (r load.Result, err error) {
		every := max(lasts/600, 100*time.Millisecond)
		m, samples, err := harness.Watch(ctx, s.folder, every, lasts, []string{s.path("s.db"), s.path("s.db-wal")}, s.penstock("s.db")...)
		if err != nil {
			return r, err
		}
		n, err := sent(m, "intake")
		if err != nil {
			return r, err
		}
		r = used(m, n)
		line := "RSS in MB, at each tenth of the time:"
		for i := range 10 {
			if k := (i + 1) * len(samples) / 11; k < len(samples) {
				line += fmt.Sprintf(" %d", samples[k].RSS/1e6)
			}
		}
		s.say(line)
		var top [3]float64
		of := []func(harness.Sample) int64{
			func(a harness.Sample) int64 { return a.RSS }, func(a harness.Sample) int64 { return a.Files[1] }, func(a harness.Sample) int64 { return a.Files[0] },
		}
		for _, a := range samples {
			for i := range top {
				top[i] = max(top[i], float64(of[i](a))/1e6)
			}
		}
		r.Add("max WAL", "MB", top[1])
		r.Add("max file", "MB", top[2])
		r.Add("RSS growth", "×", growth(samples, of[0]))
		r.Add("WAL growth", "×", growth(samples, of[1]))
		r.Add("file growth", "×", growth(samples, of[2]))
		return r, nil
	}})
}
