// Package cases holds what the benchmark measures: the inputs, both programs' configurations,
// how each result is verified at its destination, and the bars.
package cases

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock/bench/benchdata"
	"penstock.dev/penstock/bench/harness"
)

//go:embed peer/*.yaml
var peerConfigs embed.FS

// Env is what all cases share.
type Env struct {
	Penstock string // our binary; "" leaves our side out
	Peer     string // the peer's binary; "" leaves its side out
	Flows    string // folder that holds our flows, one folder to a case
	Temp     string // where inputs, outputs and the peer's configurations are written
	Seed     uint64
	Messages int  // how many messages a throughput case moves
	Variants bool // measure the peer's other configurations too
}

// Control is the name of the side that is the first side once more: how far it lies from the
// first shows what difference is noise.
const Control = "control"

// Outcome is a case with its measurements.
type Outcome struct {
	Case     Case
	Messages int   // read, in each run
	Bytes    int64 // of the input file; 0: there is none
	Runs     []harness.Runs
}

// Case is one throughput case.
type Case struct {
	Name, Title string
	Flow        string   // folder of our flow, below Env.Flows
	Peer        string   // the peer's configuration, in peer/
	Variants    []string // more of them, measured on demand
	Bars        Bars
	// Times is how many times as many messages it moves as the others; 0 is as many.
	Times int
	// traced measures our side once more, with traces on.
	traced bool
	// data writes the input; nil if the flow makes its own.
	data   func(w io.Writer, seed uint64, n int) (benchdata.Figures, error)
	suffix string // of the input file
}

// Bars are what our side is held to; zero is no bar.
type Bars struct {
	Times, TimesGoal float64 // our throughput, in that of the peer
	CPU, CPUGoal     float64 // microseconds of CPU a message
	RSS              int64   // bytes
	// MBRate and MBRateGoal are the bytes a second, in those of the case BeatsMB.
	MBRate, MBRateGoal float64
	BeatsMB            string
	// Traced is our throughput with traces on, in that without.
	Traced float64
}

// All lists the throughput cases in the order they are run.
func All() []Case {
	return []Case{
		{
			Name: "file-json", Title: "JSON lines file → filter + 4-field mapping → file", Flow: "file-json",
			Peer: "file-json.yaml", Variants: []string{"file-json-no-replay.yaml", "file-json-plain.yaml"},
			Bars: Bars{Times: 10, TimesGoal: 20, CPU: 3.5, CPUGoal: 1.8, RSS: 100e6},
			data: benchdata.OrderLines, suffix: ".jsonl",
		},
		{
			Name: "file-csv", Title: "CSV (online-retail columns) → filter + map → JSON lines", Flow: "file-csv",
			Peer: "file-csv.yaml",
			Bars: Bars{MBRate: 1, MBRateGoal: 1.5, BeatsMB: "file-json", RSS: 100e6},
			data: benchdata.OrdersCSV, suffix: ".csv",
		},
		{
			Name: "generate", Title: "generate → mapping → drop", Flow: "generate",
			Peer: "generate.yaml", Variants: []string{"generate-no-replay.yaml"},
			Bars: Bars{Times: 5, TimesGoal: 10},
		},
		{
			Name: "traces", Title: "file-json, five times as long, with traces off and on at 1 %", Flow: "file-json", Times: 5, traced: true,
			Bars: Bars{Traced: .97},
			data: benchdata.OrderLines, suffix: ".jsonl",
		},
	}
}

// Run measures one case: our side, the peer's, and the first of them once more as the control.
func (c Case) Run(ctx context.Context, env Env, rounds int, say func(string)) (Outcome, error) {
	env.Messages *= max(c.Times, 1)
	out := Outcome{Case: c, Messages: env.Messages}
	f := benchdata.Figures{Lines: env.Messages, Passing: env.Messages}
	source, target := filepath.Join(env.Temp, c.Name+c.suffix), filepath.Join(env.Temp, c.Name+".out.jsonl")
	if c.data != nil {
		var err error
		if f, err = writeInput(source, c.data, env.Seed, env.Messages); err != nil {
			return out, err
		}
		defer func() { _ = os.Remove(source); _ = os.Remove(target) }()
		out.Messages, out.Bytes = f.Lines, f.Bytes
		say(fmt.Sprintf("%s: %d lines, %d bytes, %d pass", c.Name, f.Lines, f.Bytes, f.Passing))
	}
	place := strings.NewReplacer("${SOURCE}", source, "${TARGET}", target, "${COUNT}", strconv.Itoa(f.Lines))
	var sides []harness.Side
	add := func(name string, argv []string, ordered bool, delivered func(harness.Measurement) (int, error)) {
		sides = append(sides, harness.Side{Name: name, Run: func(ctx context.Context) (harness.Measurement, error) {
			if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return harness.Measurement{}, err
			}
			m, err := harness.Run(ctx, argv...)
			if err != nil {
				return m, err
			}
			if c.data != nil {
				return m, verifyFile(target, f, ordered)
			}
			n, err := delivered(m)
			if err == nil && n != f.Lines {
				err = fmt.Errorf("%d of %d messages arrived", n, f.Lines)
			}
			return m, err
		}})
	}
	if env.Penstock != "" {
		argv := []string{env.Penstock, "run", filepath.Join(env.Flows, c.Flow), "-o", "json"}
		if c.data != nil {
			argv = append(argv, "--param", "source="+source, "--param", "target="+target)
		} else {
			flow, err := ownFlow(env, c.Flow, f.Lines)
			if err != nil {
				return out, err
			}
			argv[2] = flow
		}
		add("penstock", argv, true, ownDelivered)
		if c.traced {
			endpoint, stop, err := collector()
			if err != nil {
				return out, err
			}
			defer stop()
			traced := append([]string{"env", "OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint}, argv...)
			add(Traced, traced, true, ownDelivered)
			unlimited := slices.Clone(traced)
			unlimited[slices.Index(unlimited, filepath.Join(env.Flows, c.Flow))] = filepath.Join(env.Flows, c.Flow+"-traces")
			add(Unlimited, unlimited, true, ownDelivered)
		}
	}
	if env.Peer != "" && c.Peer != "" {
		configs := []string{c.Peer}
		if env.Variants {
			configs = append(configs, c.Variants...)
		}
		for _, name := range configs {
			argv, err := peerArgs(env, name, place)
			if err != nil {
				return out, err
			}
			add("peer "+strings.TrimSuffix(name, ".yaml"), argv, false, peerDelivered)
		}
	}
	if len(sides) == 0 {
		return out, errors.New("neither program is there")
	}
	sides = append(sides, harness.Side{Name: Control, Run: sides[0].Run})
	var err error
	out.Runs, err = harness.Alternate(ctx, sides, rounds, false, say)
	return out, err
}

// ownFlow writes our flow with the number of messages in place of the one in the file.
func ownFlow(env Env, name string, messages int) (string, error) {
	text, err := os.ReadFile(filepath.Join(env.Flows, name, "flow.yaml"))
	if err != nil {
		return "", err
	}
	path := filepath.Join(env.Temp, "own-"+name+".yaml")
	return path, os.WriteFile(path, []byte(strings.Replace(string(text), "count: 1000000", "count: "+strconv.Itoa(messages), 1)), 0o600)
}

func peerArgs(env Env, name string, place *strings.Replacer) ([]string, error) {
	text, err := peerConfigs.ReadFile("peer/" + name)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(env.Temp, "peer-"+name)
	return []string{env.Peer, "run", path}, os.WriteFile(path, []byte(place.Replace(string(text))), 0o600)
}

func writeInput(path string, data func(io.Writer, uint64, int) (benchdata.Figures, error), seed uint64, n int) (f benchdata.Figures, err error) {
	file, err := os.Create(path)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriterSize(file, 256<<10)
	if f, err = data(w, seed, n); err != nil {
		return f, err
	}
	return f, w.Flush()
}

// verifyFile counts what arrived in the file and looks at its first line: where the order is
// kept it must be the right one to the last digit, else (the peer does not keep it with more
// than one thread) it must have the right fields.
func verifyFile(path string, want benchdata.Figures, ordered bool) error {
	n, first, err := harness.CountLines(path)
	if err != nil {
		return err
	}
	if n != want.Passing {
		return fmt.Errorf("%s holds %d lines, not %d", path, n, want.Passing)
	}
	var got, right map[string]any
	if err := json.Unmarshal(first, &got); err != nil {
		return fmt.Errorf("%s, line 1: %w: %s", path, err, first)
	}
	if err := json.Unmarshal(want.FirstOut, &right); err != nil {
		return err
	}
	if ordered && !reflect.DeepEqual(got, right) || !sameFields(got, right) {
		return fmt.Errorf("%s, line 1 is %s, not %s", path, first, want.FirstOut)
	}
	return nil
}

// sameFields says whether two objects have the same fields with the same kinds of values.
func sameFields(a, b map[string]any) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range b {
		if reflect.TypeOf(a[k]) != reflect.TypeOf(b[k]) {
			return false
		}
	}
	return true
}

// peerDelivered reads the counter that the peer logs at its end.
func peerDelivered(m harness.Measurement) (int, error) {
	for line := range strings.Lines(string(m.Stdout) + string(m.Stderr)) {
		var entry struct{ Name, Value string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Name == "output_sent" {
			return strconv.Atoi(entry.Value)
		}
	}
	return 0, errors.New("the peer logged no counter output_sent: is its version another?")
}

// ownDelivered reads the summary that `penstock run -o json` ends with: the last JSON document
// on standard output, with what each flow sent to each of its endpoints.
func ownDelivered(m harness.Measurement) (int, error) {
	type document struct {
		Flows []struct {
			Dead int
			Sent []struct{ Count int }
		}
	}
	var summary document
	for dec := json.NewDecoder(bytes.NewReader(m.Stdout)); ; {
		var next document // a fresh one: decoding into the last would keep what next leaves out
		err := dec.Decode(&next)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("penstock run -o json: %w: %.200s", err, m.Stdout)
		}
		summary = next
	}
	if len(summary.Flows) == 0 {
		return 0, fmt.Errorf("the summary of penstock run names no flow: %.200s", m.Stdout)
	}
	sum := 0
	for _, f := range summary.Flows {
		if f.Dead != 0 {
			return 0, fmt.Errorf("%d messages were dead-lettered", f.Dead)
		}
		for _, s := range f.Sent {
			sum += s.Count
		}
	}
	return sum, nil
}
