package cli

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
)

type runFlags struct {
	projectFlags
	flows       []string
	deadLetters string
	store       string
	from        string
	once        bool
	watch       bool
	control     string
	listen      string
	drain       time.Duration
	quiet       bool
	failOnDead  bool
	replicas    int
	output      *choice
	level       *choice
	format      *choice
}

func (p *Program) runCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run [paths…]",
		Short: "Run flows",
		Long: `Runs the flows of the configuration in files and folders (default: the current folder),
until their sources have ended. Ctrl-C or SIGTERM stops reading, finishes what is in
flight and ends well; a second one stops at once.

On a terminal it shows what each flow does; elsewhere it writes a line every few
seconds; with -o json it writes a JSON object a line, of type finding, progress, reload,
summary or error. At the end comes a summary. Messages that failed are in the flow's dead
letter, with the reason: without another place said by the flow, that is the store, where
penstock dlq looks into them; with --dead-letters it is the file <flow>.dead.jsonl in that
folder. Dead letters are shown, but are no failure of the run; with --fail-on-dead they are.

Flows that keep state go on where the last run stopped; --from says where else they begin.
While it runs, penstock ps, pause, resume, reload, drain, dlq, trace and backup ask it.

SIGHUP, and with --watch every change of a file of the configuration, reloads: flows that are the same go on,
others take the place of those that are not, and a configuration that is wrong is refused, with its findings. What
changed is printed; with -o json it is an object of type reload.

Processes with the same store on PostgreSQL are replicas: each runs a share of the flows, and they take over from one that
dies or is stopped. --replicas 3 starts three of them here; what each writes has its name before it.

` + exitHelp,
		Example:           "  penstock run\n  penstock run flows/ --param drop=./data --dead-letters /var/spool/dead\n  penstock run -o json --fail-on-dead",
		ValidArgsFunction: yamlFiles,
	}
	f.add(cmd, p)
	cmd.Flags().StringArrayVar(&f.flows, "flow", nil, "run only the flow of this `name`, and those that it feeds; may be given many times")
	cmd.Flags().StringVar(&f.deadLetters, "dead-letters", "", "write dead letters to files in this `folder` (default: keep them in the store)")
	cmd.Flags().StringVar(&f.store, "store", "", "path of the store's `file` (default: the Integration's, or .penstock/store.db)")
	cmd.Flags().StringVar(&f.from, "from", "", "where flows that keep state begin to read: start, a `duration` (2h: what came in the last two hours), a time or a position (default: where the last run stopped)")
	cmd.Flags().StringVar(&f.control, "control", "", "answer /metrics, /livez, /readyz and /debug/pprof at this `address`, such as 127.0.0.1:9090 (default: the Integration's, or none)")
	cmd.Flags().BoolVar(&f.once, "once", false, "end when what is there was read: a watched folder, a channel that nobody feeds")
	cmd.Flags().BoolVar(&f.watch, "watch", false, "reload when files of the configuration change, and go on until stopped")
	cmd.Flags().StringVar(&f.listen, "listen", "", "`host:port` where flows that are called over HTTP are reached; port 0 is one that is free (default: the Integration's, or 127.0.0.1:8080)")
	cmd.Flags().DurationVar(&f.drain, "drain", 30*time.Second, "how long messages in flight may take to finish after a stop")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "show neither progress nor summary, only what is wrong")
	cmd.Flags().BoolVar(&f.failOnDead, "fail-on-dead", false, "exit with 3 if messages were dead-lettered")
	cmd.Flags().IntVar(&f.replicas, "replicas", 0, "run as `n` processes, which share the work over a store on PostgreSQL; each listens one port higher than the one before")
	f.output = choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	f.level = choiceFlag(cmd, "log-level", "", "the least level that is logged", "info", "debug", "warn", "error")
	f.format = choiceFlag(cmd, "log-format", "", "how the log is written (default: json with -o json, else text)", "auto", "text", "json")
	p.completeWith(cmd, "flow", func(n control.Names) []string { return n.Flows }, cobra.ShellCompDirectiveDefault)
	_ = cmd.MarkFlagDirname("dead-letters") // fails only for a flag that is not there
	_ = cmd.MarkFlagFilename("store", "db") // the same
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return p.run(cmd.Context(), f, args) }
	return cmd
}

func (p *Program) run(ctx context.Context, f *runFlags, args []string) error {
	p.asJSON = f.output.value == "json"
	pr, err := f.project(args)
	if err != nil {
		return err
	}
	if f.drain <= 0 {
		return usagef("write it as --drain 30s", "--drain must be above zero")
	}
	if f.watch && f.once {
		return usagef("leave one of them out", "--once ends the run, and --watch has it go on")
	}
	c := p.Service.Check(pr, false)
	// What is said of the run goes where the messages don't.
	report, piped := p.Stdout, c.WritesStdout(f.flows)
	if piped {
		report = p.Stderr
	}
	p.machine = report
	p.showRunFindings(c)
	if !c.OK {
		return exitWith(ExitConfig)
	}

	if f.replicas != 0 {
		return p.replicas(ctx, f, c)
	}
	scr := &screen{w: p.Stderr}
	show := p.progress(f, scr, report, piped)
	ctx, abort, stop := p.stopping(ctx, scr)
	defer stop()
	machine := f.format.value == "json" || f.format.value == "auto" && p.asJSON
	logger, closing := newLogger(scr, f.level.value, machine, isTerminal(p.Stderr))
	hangup, ignore := p.hangups()
	defer ignore()
	sum, err := p.Service.Run(ctx, c, control.RunOptions{
		Project: pr, Watch: f.watch, Hangup: hangup, Reloaded: func(r *control.Reloaded) {
			if p.asJSON {
				writeJSONLine(report, reloadLine{"reload", r})
			} else {
				showReloaded(scr, p.color, r)
			}
		},
		Flows: f.flows, DeadLetters: f.deadLetters, Drain: f.drain, Store: f.store, From: f.from, Once: f.once, Control: f.control, Version: p.Version, Getenv: p.Getenv, Listen: true, Address: f.listen,
		Logger: logger, WarnDead: machine,
		Stdin: p.Stdin, Stdout: p.Stdout,
		Progress: show.show, Every: show.every(), Abort: abort,
	})
	closing()
	show.done()
	if sum != nil && (err == nil || p.asJSON || sum.Read() > 0) {
		p.showRunSummary(f, report, sum)
	}
	if err == nil && f.failOnDead && sum.Dead() > 0 {
		return exitWith(ExitDead)
	}
	return err
}

// findingLine is a line of run -o json.
type findingLine struct {
	Type string `json:"type"` // finding
	control.Finding
}

// showRunFindings shows findings before the run: all of them if it can't run.
func (p *Program) showRunFindings(c *control.Checked) {
	if p.asJSON {
		for _, f := range c.Findings {
			writeJSONLine(p.machine, findingLine{"finding", f})
		}
		return
	}
	showFindings(p.Stderr, p.color, &sources{}, c.Findings)
	switch {
	case !c.OK:
		p.printf("%s; nothing was run\n", p.color.red(tally(c.Errors, c.Warnings)))
	case c.Warnings > 0:
		p.printf("%s\n\n", p.color.yellow(tally(0, c.Warnings)))
	}
}

func (p *Program) progress(f *runFlags, scr *screen, report io.Writer, piped bool) progress {
	switch {
	case f.quiet:
		return silent{}
	case p.asJSON:
		return &lines{w: report}
	case piped && isTerminal(p.Stdout):
		return silent{} // the messages themselves are what is watched
	case isTerminal(p.Stderr) && p.Getenv("TERM") != "dumb":
		return &live{screen: scr, color: p.color, size: func() (int, int) { return terminalSize(p.Stderr) }}
	}
	return &plain{w: scr}
}

func (p *Program) showRunSummary(f *runFlags, report io.Writer, sum *control.Summary) {
	switch {
	case p.asJSON:
		writeJSONLine(report, summaryLine{"summary", sum})
	case !f.quiet:
		showSummary(report, newStyles(report, p.Getenv), sum)
	case sum.Dead() > 0:
		var where string
		for i := range sum.Flows {
			if sum.Flows[i].Dead > 0 {
				where += " " + sum.Flows[i].DeadLetter
			}
		}
		p.printf("%s %s dead-lettered:%s\n", p.color.yellow("penstock:"), plural(int(sum.Dead()), "message was", "messages were"), where)
	}
}

// stopping makes a context that ends with the first interrupt, and a channel that closes with the
// second.
func (p *Program) stopping(parent context.Context, scr io.Writer) (ctx context.Context, abort <-chan struct{}, stop func()) {
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithCancel(parent)
	signals, release := p.Signals()
	second := make(chan struct{})
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-quit:
				return
			case <-signals:
			}
			if n > 0 {
				close(second)
				return
			}
			if !p.asJSON {
				_, _ = io.WriteString(scr, "finishing what is in flight; again to stop at once\n")
			}
			cancel()
		}
	})
	return ctx, second, func() {
		release()
		close(quit)
		wg.Wait()
		cancel()
	}
}
