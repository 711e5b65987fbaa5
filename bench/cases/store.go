package cases

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

// StoreEnv is what the store's cases need besides [Env].
type StoreEnv struct {
	Load      string // the binary of cmd/storeload
	JetStream string // the binary of cmd/jetstream; "" leaves the peer out
	Quick     bool   // small sizes: to see that everything works
	Soak      time.Duration
	Events    int64 // how many events the store has in events-many
}

// StoreCase is a case of the store: what it measures is durable before it is acknowledged.
type StoreCase struct {
	Name, Title string
	Bars        []StoreBar
	postgres    bool // it needs a server
	run         func(ctx context.Context, s *storeRun) error
}

// StoreBar is what a figure of our first side is held to.
type StoreBar struct {
	Side   string // "": the first
	Figure string
	Most   bool // the figure is to be at most so much; else at least
	// Bar and Goal are in the figure's unit; a Goal of 0 is none. With Over they are times the same figure of that side.
	Bar, Goal float64
	Over      string
	// Beyond says that, with Over, they are not times that figure, but so much more than it.
	Beyond bool
}

// StoreSide is one side of a case with its figures, one value a round.
type StoreSide struct {
	Name    string
	Disk    []float64 // fdatasync, p50 in milliseconds, right before each run
	Figures []StoreFigure
}

// StoreFigure is one thing that was measured.
type StoreFigure struct {
	Name, Unit string
	Of         []float64
}

// Of returns the spread of a figure, and whether there is one.
func (s StoreSide) Of(figure string) (harness.Spread, bool) {
	for _, f := range s.Figures {
		if f.Name == figure {
			return harness.SpreadOf(f.Of), true
		}
	}
	return harness.Spread{}, false
}

// StoreOutcome is a case with what was measured.
type StoreOutcome struct {
	Case  StoreCase
	Sizes string // of what was measured, in words
	Sides []StoreSide
}

// StoreCases lists the store's cases in the order they are run.
func StoreCases() []StoreCase {
	return append([]StoreCase{
		{
			Name: "store-publishers", Title: "64 concurrent single publishers", run: storePublishers,
			Bars: []StoreBar{{Figure: "rate", Bar: 30e3, Goal: 70e3}, {Figure: "rate", Over: jetStream, Bar: 1}},
		},
		{
			Name: "store-flow", Title: "flow → durable channel → flow", run: storeFlow,
			Bars: []StoreBar{{Figure: "rate", Bar: 120e3, Goal: 200e3}},
		},
		{
			Name: "store-aggregate", Title: "durable aggregate of order lines, 20 an order, complete by event time", run: storeAggregate,
			Bars: []StoreBar{{Figure: "rate", Bar: 100e3}},
		},
		{
			Name: "store-dedupe", Title: "dedupe among keys that are remembered", run: storeDedupe,
			Bars: []StoreBar{{Figure: "rate", Bar: 50e3}, {Figure: "RSS growth", Most: true, Bar: 1.1}, {Side: knownSide, Figure: "rate", Bar: 50e3}},
		},
		{
			Name: "store-small", Title: "16 sagas' small transactions beside a saturated channel", run: storeSmall,
			Bars: []StoreBar{{Figure: "rate", Bar: 4e3}, {Figure: "p99", Most: true, Bar: 80, Goal: 30}},
		},
		{
			Name: "store-behind", Title: "a consumer far behind, beside 64 live publishers", run: storeBehind,
			Bars: []StoreBar{
				{Figure: "catch-up", Bar: 150e3}, {Figure: "live rate", Over: aloneSide, Bar: 0.95},
				{Side: wholeFlow, Figure: "catch-up", Bar: 150e3},
			},
		},
		{
			Name: "store-restart", Title: "restart after a crash with a large store, to the first message", run: storeRestart,
			Bars: []StoreBar{{Figure: "ready", Most: true, Bar: 1000}, {Side: coldSide, Figure: "ready", Most: true, Bar: 1000}},
		},
		{
			Name: "store-soak", Title: "soak: channels, dedupe and aggregate under retention", run: storeSoak,
			Bars: []StoreBar{{Figure: "RSS growth", Most: true, Bar: 1.1}, {Figure: "WAL growth", Most: true, Bar: 1.1}, {Figure: "file growth", Most: true, Bar: 1.1}},
		},
	}, eventCases()...)
}

// The names of sides.
const (
	jetStream = "JetStream, sync always"
	aloneSide = "alone"
	wholeFlow = "a whole flow"
	coldSide  = "penstock, file not in memory"
	knownSide = "penstock, every other one of any age is known"
)

// Run measures the case, with files in a folder of its own below env.Temp, which is removed.
func (c StoreCase) Run(ctx context.Context, env Env, store StoreEnv, rounds int, say func(string)) (out StoreOutcome, err error) {
	s := &storeRun{Env: env, StoreEnv: store, rounds: rounds, say: func(line string) { say(c.Name + " " + line) }, out: StoreOutcome{Case: c}}
	if s.folder, err = filepath.Abs(filepath.Join(env.Temp, c.Name)); err != nil {
		return s.out, err
	}
	if s.Flows, err = filepath.Abs(env.Flows); err != nil {
		return s.out, err
	}
	if err := os.MkdirAll(s.folder, 0o750); err != nil {
		return s.out, err
	}
	defer func() { _ = os.RemoveAll(s.folder) }()
	if c.postgres {
		under, err := filepath.Abs(env.Temp)
		if err != nil {
			return s.out, err
		}
		// Beside the folder of the session, which is nobody else's: the server runs as somebody else.
		if s.postgres, err = harness.StartPostgres(ctx, filepath.Dir(under)); err != nil {
			return s.out, err
		}
		defer func() { err = errors.Join(err, s.postgres.Stop()) }()
	}
	err = c.run(ctx, s)
	return s.out, err
}

// storeRun is a case under way.
type storeRun struct {
	Env
	StoreEnv
	rounds int
	say    func(string)
	folder string // absolute
	out    StoreOutcome

	postgres *harness.Postgres
}

// storeSide is one of the things that are compared; run makes the measurement once, in a round that has a number.
type storeSide struct {
	name string
	run  func(ctx context.Context, round int) (load.Result, error)
}

// full is the first of two sizes; the second with -quick.
func (s *storeRun) full(size, quick int64) int64 {
	if s.Quick {
		return quick
	}
	return size
}

// path names a file of the case.
func (s *storeRun) path(name string) string { return filepath.Join(s.folder, name) }

// clear removes files of the case, and what SQLite keeps beside them.
func (s *storeRun) clear(names ...string) error {
	for _, n := range names {
		for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
			if err := os.RemoveAll(s.path(n) + suffix); err != nil {
				return err
			}
		}
	}
	return nil
}

// alternate runs the sides in turns, as [harness.Alternate] does, and measures the disk before each run. The first side is run
// once more as the control.
func (s *storeRun) alternate(ctx context.Context, control bool, sides ...storeSide) error {
	if control {
		sides = append(sides, storeSide{Control, sides[0].run})
	}
	base := len(s.out.Sides)
	for _, side := range sides {
		s.out.Sides = append(s.out.Sides, StoreSide{Name: side.name})
	}
	for round := range s.rounds {
		for k := range sides {
			i := (k + round) % len(sides)
			syscall.Sync()
			disk, err := harness.Disk(s.folder)
			if err != nil {
				return err
			}
			r, err := sides[i].run(ctx, round)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", sides[i].name, round+1, err)
			}
			side := &s.out.Sides[base+i]
			side.Disk = append(side.Disk, float64(disk.Microseconds())/1000)
			side.add(r)
			line := fmt.Sprintf("%d/%d %s:", round+1, s.rounds, sides[i].name)
			for _, f := range r.Figures {
				line += fmt.Sprintf(" %s %.4g %s,", f.Name, f.Value, f.Unit)
			}
			s.say(fmt.Sprintf("%s fdatasync %.3f ms", line, float64(disk.Microseconds())/1000))
		}
	}
	return nil
}

func (s *StoreSide) add(r load.Result) {
next:
	for _, f := range r.Figures {
		for i := range s.Figures {
			if s.Figures[i].Name == f.Name {
				s.Figures[i].Of = append(s.Figures[i].Of, f.Value)
				continue next
			}
		}
		s.Figures = append(s.Figures, StoreFigure{f.Name, f.Unit, []float64{f.Value}})
	}
}

// load runs cmd/storeload, or the peer's program, and reads what it measured.
func (s *storeRun) load(ctx context.Context, argv ...string) (load.Result, error) {
	m, err := harness.RunIn(ctx, s.folder, argv...)
	if err != nil {
		return load.Result{}, err
	}
	var r load.Result
	if err := json.Unmarshal(bytes.TrimSpace(m.Stdout), &r); err != nil {
		return r, fmt.Errorf("%s: %w: %.200s", argv[0], err, m.Stdout)
	}
	return r, nil
}

// used are the figures of a program that moved n messages.
func used(m harness.Measurement, n int) load.Result {
	var r load.Result
	r.Add("rate", "messages/s", float64(n)/m.Wall.Seconds())
	r.Add("CPU", "µs a message", m.CPU.Seconds()*1e6/float64(n))
	r.Add("max RSS", "MB", float64(m.MaxRSS)/1e6)
	return r
}

// summary is the last line of `penstock run -o json`.
type summary struct {
	Flows []struct {
		Name string
		Dead int
		Sent []struct{ Count int }
	}
}

// sent reads how many messages a flow has sent to its destinations.
func sent(m harness.Measurement, flow string) (int, error) {
	var last summary
	lines := bytes.Split(bytes.TrimSpace(m.Stdout), []byte{'\n'})
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil {
		return 0, fmt.Errorf("the summary of penstock run: %w: %.200s", err, lines[len(lines)-1])
	}
	for _, f := range last.Flows {
		if f.Name != flow {
			continue
		}
		if f.Dead != 0 {
			return 0, fmt.Errorf("%d messages of %s were dead-lettered", f.Dead, flow)
		}
		n := 0
		for _, s := range f.Sent {
			n += s.Count
		}
		return n, nil
	}
	return 0, fmt.Errorf("the summary of penstock run does not name flow %s: %.200s", flow, lines[len(lines)-1])
}

// penstock is the command line that runs our flow of the case on a store.
func (s *storeRun) penstock(store string, more ...string) []string {
	return append([]string{s.Penstock, "run", filepath.Join(s.Flows, s.out.Case.Name), "-o", "json", "--log-level", "error", "--store", s.path(store)}, more...)
}
