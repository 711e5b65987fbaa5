// Command bench measures Penstock's speed and writes a markdown report. Run it in bench/:
//
//	go run ./cmd/bench                         # ours, beside recorded figures of the peer
//	PEER=/path/to/binary go run ./cmd/bench    # ours and the peer in turns
//	go run ./cmd/bench -only store             # the store's cases alone
//
// See README.md for the method.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock/bench/cases"
	"penstock.dev/penstock/bench/exprbench"
	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Getenv("PEER"), os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the settings of one session.
type options struct {
	env      cases.Env
	only     string          // as given
	measured map[string]bool // by the name of the case
	rounds   int
	penstock string // a binary, "none", or "" to build it
	under    string // where the temporary folder is made
	out      string // file for the report
	store    cases.StoreEnv
	http     cases.HTTPEnv
	peers    bool // the store's peer is measured, too
}

func parse(args []string, peer string, stderr io.Writer) (options, error) {
	o := options{env: cases.Env{Peer: peer, Flows: "flows"}}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.only, "only", "", "measure these `cases` alone, separated by commas: store (all of the store's), "+strings.Join(names(), ", "))
	flags.IntVar(&o.rounds, "rounds", 5, "`times` each side of a case is run")
	flags.IntVar(&o.env.Messages, "messages", 1_000_000, "`number` of messages of a throughput case")
	flags.Uint64Var(&o.env.Seed, "seed", 1, "`seed` of the data")
	flags.BoolVar(&o.env.Variants, "variants", false, "measure the peer's other configurations too")
	flags.StringVar(&o.penstock, "penstock", "", "our `binary`; built from ../cmd/penstock if left out; \"none\" leaves our side out")
	flags.StringVar(&o.under, "temp", "", "`folder` for inputs, outputs and stores, up to 15 GB, on a disk; the system's if left out")
	flags.StringVar(&o.out, "out", "", "`file` for the report, beside standard output")
	flags.BoolVar(&o.store.Quick, "quick", false, "small sizes in the store's cases (1 GB in the place of 10, 200,000 messages of 10 million): to see that they work")
	flags.DurationVar(&o.store.Soak, "soak", time.Minute, "how `long` store-soak lasts")
	flags.Int64Var(&o.store.Events, "events", 10_000_000, "`number` of events that the store of events-many holds")
	flags.DurationVar(&o.http.Duration, "http-duration", 5*time.Second, "how `long` each run of an HTTP case lasts")
	flags.BoolVar(&o.peers, "jetstream", true, "build and measure JetStream beside store-publishers")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: all settings are flags, see -help", flags.Arg(0))
	}
	if o.rounds < 1 || o.env.Messages < 1000 {
		return o, errors.New("at least 1 round and 1000 messages are needed")
	}
	o.measured = map[string]bool{}
	for _, n := range names() {
		o.measured[n] = o.only == ""
	}
	for n := range strings.SplitSeq(o.only, ",") {
		if n == "" {
			continue
		}
		if n == "store" {
			for _, c := range cases.StoreCases() {
				o.measured[c.Name] = true
			}
			continue
		}
		if !slices.Contains(names(), n) {
			return o, fmt.Errorf("there is no case %q: there are %s", n, strings.Join(names(), ", "))
		}
		o.measured[n] = true
	}
	return o, nil
}

// names lists the cases in the order they are run.
func names() []string {
	var out []string
	for _, c := range cases.All() {
		out = append(out, c.Name)
	}
	out = append(out, "cold-start", "check")
	for _, c := range cases.StoreCases() {
		out = append(out, c.Name)
	}
	for _, c := range slices.Concat(cases.HTTPCases(), cases.ServiceCases()) {
		out = append(out, c.Name)
	}
	return append(out, "expression")
}

const (
	coldStarts = 20
	checkFlows = 500
)

func run(ctx context.Context, args []string, peer string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, peer, stderr)
	if err != nil {
		return err
	}
	if o.env.Temp, err = os.MkdirTemp(o.under, "penstock-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.env.Temp)) }()
	say := func(line string) { _, _ = fmt.Fprintln(stderr, line) }
	results := report.Results{Machine: machine(), Rounds: o.rounds, Paired: o.env.Peer != "", CheckFlows: checkFlows}
	skip := func(what string, err error) {
		say(what + ": " + err.Error())
		results.Skipped = append(results.Skipped, what+": "+err.Error())
	}
	if o.env.Penstock, err = ours(ctx, o.penstock, o.env.Temp); err != nil {
		skip("penstock", err)
	}
	measure(ctx, o, &results, say, skip)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w := stdout
	if o.out != "" {
		f, createErr := os.Create(o.out)
		if createErr != nil {
			return createErr
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		w = io.MultiWriter(stdout, f)
	}
	if err := results.Write(w); err != nil {
		return err
	}
	if len(results.Skipped) > 0 {
		return fmt.Errorf("%d parts were not measured", len(results.Skipped))
	}
	return nil
}

// measure runs the cases; the expression comes last, because it grows this process.
func measure(ctx context.Context, o options, r *report.Results, say func(string), skip func(string, error)) {
	some := o.env.Penstock != "" || o.env.Peer != ""
	for _, c := range cases.All() {
		if !o.measured[c.Name] || !some || ctx.Err() != nil {
			continue
		}
		outcome, err := c.Run(ctx, o.env, o.rounds, say)
		if err != nil {
			skip(c.Name, err)
			continue
		}
		r.Throughput = append(r.Throughput, outcome)
	}
	r.OwnPeak = harness.OwnPeak()
	if o.measured["cold-start"] && some {
		var err error
		if r.ColdStart, err = cases.ColdStart(ctx, o.env, coldStarts, func(string) {}); err != nil {
			r.ColdStart = nil
			skip("cold-start", err)
		}
	}
	if o.measured["check"] && o.env.Penstock != "" {
		if runs, err := cases.Check(ctx, o.env, checkFlows, o.rounds, say); err != nil {
			skip("check", err)
		} else {
			r.Check = &runs
		}
	}
	measureStore(ctx, o, r, say, skip)
	r.HTTP = measureHTTP(ctx, o, cases.HTTPCases(), say, skip)
	r.Services = measureHTTP(ctx, o, cases.ServiceCases(), say, skip)
	if o.measured["expression"] && ctx.Err() == nil {
		var err error
		if r.Expression, err = exprbench.Measure(o.rounds); err != nil {
			skip("expression", err)
		}
	}
}

// measureStore runs the store's cases.
func measureStore(ctx context.Context, o options, r *report.Results, say func(string), skip func(string, error)) {
	var err error
	for _, c := range cases.StoreCases() {
		if !o.measured[c.Name] || o.env.Penstock == "" || ctx.Err() != nil {
			continue
		}
		if o.store.Load == "" {
			if o.store.Load, err = built(ctx, ".", "./cmd/storeload", o.env.Temp); err != nil {
				skip("store", err)
				return
			}
		}
		if o.peers && o.store.JetStream == "" && c.Name == "store-publishers" {
			if o.store.JetStream, err = built(ctx, ".", "./cmd/jetstream", o.env.Temp); err != nil {
				skip("jetstream", err)
				o.store.JetStream = ""
			}
		}
		outcome, err := c.Run(ctx, o.env, o.store, o.rounds, say)
		if err != nil {
			skip(c.Name, err)
			continue
		}
		r.Store = append(r.Store, outcome)
	}
}

// measureHTTP runs the cases of HTTP, or of services.
func measureHTTP(ctx context.Context, o options, all []cases.HTTPCase, say func(string), skip func(string, error)) (out []cases.HTTPOutcome) {
	var err error
	for _, c := range all {
		if !o.measured[c.Name] || o.env.Penstock == "" || ctx.Err() != nil {
			continue
		}
		for _, program := range []struct {
			path    *string
			command string
		}{{&o.http.Load, "./cmd/httpload"}, {&o.http.Copy, "./cmd/pgcopy"}, {&o.http.Bare, "./cmd/kafkacopy"}, {&o.http.Generic, "./cmd/codeccopy"}, {&o.http.BarePulsar, "./cmd/pulsarcopy"}} {
			if *program.path != "" {
				continue
			}
			if *program.path, err = built(ctx, ".", program.command, o.env.Temp); err != nil {
				skip(program.command, err)
				return out
			}
		}
		outcome, err := c.Run(ctx, o.env, o.http, o.rounds, say)
		if err != nil {
			skip(c.Name, err)
			continue
		}
		out = append(out, outcome)
	}
	return out
}

// ours is the path of our binary, built if need be.
func ours(ctx context.Context, given, temp string) (string, error) {
	switch given {
	case "none":
		return "", nil
	case "":
	default:
		return filepath.Abs(given)
	}
	return built(ctx, "..", "./cmd/penstock", temp)
}

// built builds a command of the module in a folder, and returns its path.
func built(ctx context.Context, module, command, temp string) (string, error) {
	root, err := filepath.Abs(module)
	if err != nil {
		return "", err
	}
	if temp, err = filepath.Abs(temp); err != nil {
		return "", err
	}
	binary := filepath.Join(temp, filepath.Base(command))
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, command)
	build.Dir = root
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s in %s (run the benchmark in bench/, or give -penstock): %w\n%s", command, root, err, said)
	}
	return binary, nil
}

// machine describes where the figures come from, in one line.
func machine() string {
	cpu := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores, %s/%s, %s", cpu, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}
