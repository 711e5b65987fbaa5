package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
)

type devFlags struct {
	runFlags
	samples int
}

func (p *Program) devCommand() *cobra.Command {
	f := &devFlags{}
	cmd := &cobra.Command{
		Use:   "dev [paths…]",
		Short: "Run flows while you write them: reload on save, errors at their place",
		Long: `Runs the flows of the configuration in files and folders (default: the current folder), and does what
they say whenever one of them is saved. It begins also where the configuration is wrong: what is wrong is shown at its
line, and the next save is waited for. While something runs, a save that is wrong changes nothing.

A message that fails is shown with the step's line, the first of each kind after a save. The ways of some messages are
kept, from step to step, without what a schema labels (x-class), in .penstock/samples: penstock samples lists them,
and penstock samples <id> shows one.

A source that has ended begins anew when its flow changes, but where it keeps its position. In a terminal q quits, r runs
everything anew, s lists the newest samples. With -o json each thing that happens is a JSON object a line, of type broken,
started, reload, failed, problem, sample or progress.

` + exitHelp,
		Example:           "  penstock dev\n  penstock dev flows/ --param drop=./testdata",
		ValidArgsFunction: yamlFiles,
	}
	f.add(cmd, p)
	cmd.Flags().StringArrayVar(&f.flows, "flow", nil, "run only the flow of this `name`, and those that it feeds; may be given many times")
	cmd.Flags().StringVar(&f.deadLetters, "dead-letters", "", "write dead letters to files in this `folder` (default: keep them in the store)")
	cmd.Flags().StringVar(&f.store, "store", "", "path of the store's `file` (default: the Integration's, or .penstock/store.db)")
	cmd.Flags().StringVar(&f.from, "from", "", "where flows that keep state begin to read, at the first start: see penstock run --help")
	cmd.Flags().StringVar(&f.control, "control", "", "answer /metrics, /livez, /readyz and /debug/pprof at this `address` (default: the Integration's, or none)")
	cmd.Flags().StringVar(&f.listen, "listen", "", "`host:port` where flows that are called over HTTP are reached (default: the Integration's, or 127.0.0.1:8080)")
	cmd.Flags().DurationVar(&f.drain, "drain", 10*time.Second, "how long messages in flight may take to finish")
	cmd.Flags().IntVar(&f.samples, "samples", 20, "how many messages are kept of each flow")
	f.output = choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	f.level = choiceFlag(cmd, "log-level", "", "the least level that is logged", "info", "debug", "warn", "error")
	p.completeWith(cmd, "flow", func(n control.Names) []string { return n.Flows }, cobra.ShellCompDirectiveDefault)
	_ = cmd.MarkFlagDirname("dead-letters") // fails only for a flag that is not there
	_ = cmd.MarkFlagFilename("store", "db") // the same
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return p.dev(cmd.Context(), f, args) }
	return cmd
}

func (p *Program) dev(ctx context.Context, f *devFlags, args []string) error {
	p.asJSON = f.output.value == "json"
	pr, err := f.project(args)
	if err != nil {
		return err
	}
	if f.drain <= 0 || f.samples <= 0 {
		return usagef("write it as --drain 10s --samples 20", "--drain and --samples must be above zero")
	}
	scr := &screen{w: p.Stderr}
	v := &devView{p: p, scr: scr, color: p.color}
	v.live = !p.asJSON && isTerminal(p.Stderr) && p.Getenv("TERM") != "dumb"
	ctx, abort, stop := p.stopping(ctx, scr)
	defer stop()
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	rerun := make(chan struct{}, 1)
	if v.live {
		defer p.keys(func(key byte) {
			switch key {
			case 'q':
				quit()
			case 'r':
				select {
				case rerun <- struct{}{}:
				default: // it is about to
				}
			case 's':
				if err := p.listSamples(scr, "", 10); err != nil {
					showTrouble(scr, p.color, troubleOf(err))
				}
			}
		})()
	}
	logger, closing := newLogger(scr, f.level.value, p.asJSON, isTerminal(p.Stderr))
	defer closing()
	every := liveEvery
	if !v.live {
		every = plainEvery
	}
	err = p.Service.Dev(ctx, pr, control.DevOptions{
		Flows: f.flows, DeadLetters: f.deadLetters, Store: f.store, From: f.from, Address: f.listen, Control: f.control, Version: p.Version, Getenv: p.Getenv,
		Drain: f.drain, Logger: logger, Stdin: p.Stdin, Stdout: p.Stdout, Each: f.samples,
		Event: v.event, Progress: v.progress, Every: every, Rerun: rerun, Abort: abort,
	})
	scr.show(nil)
	return err
}

// devView shows what happens in the local loop.
type devView struct {
	p     *Program
	scr   *screen
	color styles
	live  bool // a block of lines at the end is rewritten
	plain plain
	told  int64 // what the last line added up to
	rates rates
	piped atomic.Bool // messages go to the terminal, too
}

// devLine is a line of dev -o json.
type devLine struct {
	Type string `json:"type"` // broken, started, reload, failed, problem or sample
	*control.DevEvent
	Failed string `json:"failed,omitempty"`
}

func (v *devView) event(e control.DevEvent) {
	if v.p.asJSON {
		v.line(e)
		return
	}
	c := v.color
	switch {
	case e.Broken != nil:
		showFindings(v.scr, c, &sources{}, e.Broken.Findings)
		v.say("%s; nothing runs; the next save is waited for\n", c.red(tally(e.Broken.Errors, e.Broken.Warnings)))
		v.block("nothing runs; waiting for the next save")
	case e.Started != nil:
		v.piped.Store(e.Started.WritesStdout(nil) && isTerminal(v.p.Stdout))
		showFindings(v.scr, c, &sources{}, e.Started.Findings)
		v.say("%s %s\n", c.green("running"), strings.Join(e.Started.FlowNames(), ", "))
	case e.Reloaded != nil:
		if e.Reloaded.Restart && e.Reloaded.Error != nil {
			v.say("%s: %s\n", c.yellow("everything is started anew"), e.Reloaded.Error.Message)
			break
		}
		showReloaded(v.scr, c, e.Reloaded)
	case e.Failed != nil:
		for _, one := range flatten(e.Failed) {
			showTrouble(v.scr, c, troubleOf(one))
		}
		v.say("%s; the next save is waited for\n", c.red("nothing runs"))
		v.block("nothing runs; waiting for the next save")
	case e.Problem != nil:
		v.problem(e.Problem)
	case e.Sampled != nil:
		what := ""
		if len(e.Sampled.Ends) > 0 {
			what = ", " + e.Sampled.Ends[0].What
		}
		v.say("%s %s: message %s%s\n", c.dim("sample"), c.bold(e.Sampled.ID), visible(e.Sampled.Message), what)
	}
}

func (v *devView) line(e control.DevEvent) {
	l := devLine{DevEvent: &e}
	switch {
	case e.Broken != nil:
		l.Type = "broken"
	case e.Started != nil:
		l.Type = "started"
	case e.Reloaded != nil:
		l.Type = "reload"
	case e.Failed != nil:
		l.Type, l.Failed = "failed", e.Failed.Error()
	case e.Problem != nil:
		l.Type = "problem"
	case e.Sampled != nil:
		l.Type = "sample"
	}
	writeJSONLine(v.p.Stdout, l)
}

func (v *devView) say(format string, args ...any) {
	_, _ = fmt.Fprintf(v.scr, format, args...) // where standard error is gone there is nobody to tell
}

// problem shows a message that failed at the line of its step.
func (v *devView) problem(e *control.DevProblem) {
	what := "dead-lettered"
	if e.Refused {
		what = "refused"
	}
	showFinding(v.scr, v.color, &sources{}, control.Finding{Severity: control.Error, Code: string(e.Code), Pos: e.Pos, Hint: e.Hint,
		Message: fmt.Sprintf("%s/%s: message %s was %s: %s", e.Flow, e.Step, e.Message, what, e.Text)})
	v.say("        %s %s %s\n", v.color.dim("message:"), clip(printable([]rune(e.Body)), 100), v.color.dim("(penstock samples '"+e.Sample+"')"))
}

func (v *devView) progress(s *control.Summary) {
	switch {
	case v.p.asJSON:
		writeJSONLine(v.p.Stdout, summaryLine{"progress", s})
		return
	case !v.live:
		sum := int64(0)
		for i := range s.Flows {
			sum += s.Flows[i].Read + s.Flows[i].Total() + s.Flows[i].Dead
		}
		if sum != v.told { // a line every few seconds that says the same helps nobody
			v.told, v.plain.w = sum, v.scr
			v.plain.show(s)
		}
		return
	case v.piped.Load():
		return // the messages themselves are what is watched
	}
	v.rates.add(s)
	var rows [][]string
	for i := range s.Flows {
		f := &s.Flows[i]
		rows = append(rows, []string{f.Name, f.State, "read " + count(f.Read), "sent " + count(f.Total()), "failed " + count(f.Failed+f.Dead), rate(v.rates.of(f.Name))})
	}
	width, height := terminalSize(v.p.Stderr)
	lines := table(rows, []bool{false, false, true, true, true, true})
	if room := max(1, height/2); len(lines) > room {
		lines = append(lines[:room-1], fmt.Sprintf("… and %d more flows", len(lines)-room+1))
	}
	for i := range lines {
		lines[i] = clip(lines[i], width-1)
		if i < len(s.Flows) && s.Flows[i].Failed+s.Flows[i].Dead > 0 {
			lines[i] = v.color.yellow(lines[i])
		}
	}
	v.scr.show(append(lines, v.color.dim(clip("watching for saves; r runs anew, s lists samples, q quits", width-1))))
}

// block shows one line at the end, where something else was shown while flows ran.
func (v *devView) block(text string) {
	if v.live {
		width, _ := terminalSize(v.p.Stderr)
		v.scr.show([]string{v.color.dim(clip(text+"; q quits", width-1))})
	}
}

func (p *Program) samplesCommand() *cobra.Command {
	var output *choice
	cmd := &cobra.Command{
		Use:   "samples [flow or id]",
		Short: "List the messages that penstock dev has kept, or show one",
		Long: `Lists the messages that penstock dev has kept in .penstock/samples, the oldest first: of all flows, or of one. With
the id of one (orders#17) it shows that: as it came into the flow, as it came to each step, and what became of it.
What a schema labels (x-class) was not kept.`,
		Example: "  penstock samples\n  penstock samples 'orders#17'",
		Args:    atMostOne("a flow, or the id of a sample"),
	}
	output = choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		p.asJSON = output.value == "json"
		if id := first(args); strings.Contains(id, "#") {
			return p.showSample(id)
		}
		if p.asJSON {
			all, err := p.Service.Samples(first(args))
			if err != nil {
				return err
			}
			return writeJSON(p.Stdout, all)
		}
		return p.listSamples(p.Stdout, first(args), 0)
	}
	return cmd
}

// listSamples lists the newest samples, up to so many (0: all).
func (p *Program) listSamples(w io.Writer, flow string, most int) error {
	all, err := p.Service.Samples(flow)
	if err != nil {
		return err
	}
	if most > 0 && len(all) > most {
		all = all[len(all)-most:]
	}
	rows := [][]string{{"sample", "message", "time", "ended", "input"}}
	for _, s := range all {
		var ends []string
		for _, e := range s.Ends {
			ends = append(ends, e.What)
		}
		input := ""
		if s.Input != nil {
			input = compact(s.Input.Body)
		}
		rows = append(rows, []string{s.ID, s.Message, s.Time.Format(time.TimeOnly), strings.Join(ends, ", "), clip(printable([]rune(input)), 60)})
	}
	if len(all) == 0 {
		_, err = fmt.Fprintln(w, "there are no samples here: penstock dev keeps some, once messages go through")
		return err
	}
	_, err = io.WriteString(w, strings.Join(table(rows, make([]bool, 5)), "\n")+"\n")
	return err
}

func (p *Program) showSample(id string) error {
	s, err := p.Service.Sample(id)
	if err != nil {
		return err
	}
	if p.asJSON {
		return writeJSON(p.Stdout, s)
	}
	c := newStyles(p.Stdout, p.Getenv)
	var b strings.Builder
	fmt.Fprintf(&b, "%s: message %s of flow %s, %s\n", c.bold(s.ID), visible(s.Message), s.Flow, s.Time.Format(time.RFC3339))
	part := func(name, key string, body, meta []byte) {
		fmt.Fprintf(&b, "  %s %s\n", c.bold(name), printable([]rune(compact(body))))
		if key != "" {
			fmt.Fprintf(&b, "      key  %s\n", printable([]rune(key)))
		}
		if len(meta) > 0 {
			fmt.Fprintf(&b, "      meta %s\n", printable([]rune(compact(meta))))
		}
	}
	if s.Input != nil {
		part("came in as", s.Input.Key, s.Input.Body, s.Input.Meta)
	}
	for i := range s.Steps {
		part("→ "+s.Steps[i].Step, s.Steps[i].Key, s.Steps[i].Body, nil)
	}
	for i := range s.Answers {
		switch a := &s.Answers[i]; {
		case a.Error != nil:
			fmt.Fprintf(&b, "  %s %s\n", c.bold("← "+a.Step+" failed:"), a.Text)
		default:
			part("← "+a.Step+" answered", "", a.Body, nil)
		}
	}
	for i := range s.Ends {
		e := &s.Ends[i]
		what := e.What
		if e.Step != "" {
			what += " at " + e.Step
		}
		part(what, "", e.Body, nil)
		if e.Text != "" {
			fmt.Fprintf(&b, "      %s %s\n", c.red("error:"), visible(e.Text))
		}
	}
	_, err = io.WriteString(p.Stdout, b.String())
	return err
}

// compact is JSON on one line.
func compact(text []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return string(text)
	}
	return b.String()
}
