package control

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/control/filewatch"
	"penstock.dev/penstock/internal/control/samples"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/run"
)

// SamplesFolder is where [Service.Dev] keeps samples of messages.
const SamplesFolder = ".penstock/samples"

// Sample is a message that was seen in development.
type Sample = samples.Sample

// DevOptions are what the local loop needs beside a project.
type DevOptions struct {
	// Flows, DeadLetters, Store, From, Address, Control, Version, Getenv, Drain, Logger, Stdin and Stdout are those of [RunOptions].
	Flows       []string
	DeadLetters string
	Store       string
	From        string
	Address     string
	Control     string
	Version     Version
	Getenv      func(string) string
	Drain       time.Duration
	Logger      *slog.Logger
	Stdin       io.Reader
	Stdout      io.Writer
	// Each is how many samples are kept of each flow; 0 is samples.DefaultEach.
	Each int
	// Event is told what happens, by one goroutine at a time.
	Event func(DevEvent)
	// Progress is called with a snapshot every so often while something runs, by one goroutine at a time.
	Progress func(*Summary)
	Every    time.Duration // 0 is 1 s
	// Rerun starts everything anew with each thing that comes.
	Rerun <-chan struct{}
	// Abort, when closed, ends it at once.
	Abort <-chan struct{}
}

// DevEvent is one thing that happens in the local loop. One of its fields is there.
type DevEvent struct {
	// Broken is a configuration that is wrong where nothing runs: the next save is waited for.
	Broken *Checked `json:"broken,omitempty"`
	// Started is a configuration that runs from now on.
	Started *Checked `json:"started,omitempty"`
	// Reloaded is what became of a save while something runs. Where it says Restart, everything is started anew.
	Reloaded *Reloaded `json:"reloaded,omitempty"`
	// Failed is why the run has ended: the next save is waited for.
	Failed error `json:"-"`
	// Problem is a message that failed, the first of its kind since the last save.
	Problem *DevProblem `json:"problem,omitempty"`
	// Sampled is a message whose way was kept: the first few of each flow since the last save.
	Sampled *Sample `json:"sampled,omitempty"`
}

// DevProblem is a message that failed, with the place in the file.
type DevProblem struct {
	Flow    string        `json:"flow"`
	Step    string        `json:"step"`
	Pos     penstock.Pos  `json:"position"`
	Code    penstock.Code `json:"code"`
	Text    string        `json:"message"` // what is wrong
	Hint    string        `json:"hint,omitempty"`
	Message string        `json:"messageId"` // file.csv:17
	Body    string        `json:"body"`      // as it came to the step, without what is labelled
	Sample  string        `json:"sample"`    // id of what was kept of it
	Refused bool          `json:"refused,omitempty"`
}

// Dev is the local loop: it runs what the configuration says, and does what each save of a file says; where a save is wrong it says so, and
// what runs goes on. It keeps samples of messages. It begins also where the configuration is wrong, and ends with ctx.
func (s *Service) Dev(ctx context.Context, p Project, o DevOptions) error {
	keeper, err := samples.Open(SamplesFolder, o.Each)
	if err != nil {
		return err
	}
	d := &dev{s: s, p: p, o: o, samples: keeper, files: filewatch.New(filewatch.Options{Logger: o.Logger})}
	defer func() { _ = d.files.Close() }() // what it watched is let go in any case
	if o.Getenv == nil {
		d.o.Getenv = func(string) string { return "" }
	}
	var c *Checked
	for ctx.Err() == nil {
		c = s.checkAfter(p, compile.Options{}, c)
		d.files.Follow(c.set.Files(), c.set.Folders())
		if !c.OK {
			d.tell(DevEvent{Broken: c})
		} else {
			again, err := d.run(ctx, c)
			switch {
			case again:
				continue
			case ctx.Err() != nil || err == nil || errors.Is(err, ErrAborted):
				return errors.Join(err, keeper.Save())
			}
			d.tell(DevEvent{Failed: err})
		}
		select {
		case <-ctx.Done():
		case <-o.Abort:
			return ErrAborted
		case <-d.files.Changes():
		case <-o.Rerun:
		}
	}
	return keeper.Save()
}

// Samples lists what [Service.Dev] has kept, the oldest first; of one flow, or ("") of all.
func (s *Service) Samples(flow string) ([]Sample, error) {
	k, err := samples.Open(SamplesFolder, 1<<20)
	if err != nil {
		return nil, err
	}
	return k.List(flow), nil
}

// Sample gives what was kept under an id.
func (s *Service) Sample(id string) (*Sample, error) { return samples.Load(SamplesFolder, id) }

// dev is one local loop.
type dev struct {
	s       *Service
	p       Project
	o       DevOptions
	samples *samples.Keeper
	files   *filewatch.Watcher

	telling sync.Mutex

	mu      sync.Mutex
	seen    map[string]bool // problems, by their kind
	shown   map[string]int  // samples, by flow
	refused bool            // the last save was: who mends it waits to hear so
	holds   bool            // a reload is under way: what is seen meanwhile is told after it
	held    []glimpse
}

// glimpse is a message that was seen, with the id of its sample.
type glimpse struct {
	run.Shown
	id string
}

// maxHeld bounds what is told after a reload.
const maxHeld = 200

func (d *dev) tell(e DevEvent) {
	d.telling.Lock()
	defer d.telling.Unlock()
	if d.o.Event != nil {
		d.o.Event(e)
	}
}

// fresh forgets what was told: there was a save.
func (d *dev) fresh() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen, d.shown = map[string]bool{}, map[string]int{}
}

// hold keeps what is seen until a reload is told.
func (d *dev) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holds = true
}

// release tells of a reload, and then what was seen meanwhile.
func (d *dev) release(x *session, r *Reloaded) {
	if r.OK && !r.Empty() {
		d.fresh()
	}
	d.mu.Lock()
	mended := d.refused && r.OK
	d.refused = !r.OK
	d.mu.Unlock()
	if !r.Empty() || mended {
		d.tell(DevEvent{Reloaded: r})
	}
	d.mu.Lock()
	held := d.held
	d.holds, d.held = false, nil
	d.mu.Unlock()
	for _, g := range held {
		d.show(x, g)
	}
}

// saveEvery is how often samples are written.
const saveEvery = 500 * time.Millisecond

// run runs a configuration until ctx ends, it fails, or everything is to be started anew.
func (d *dev) run(parent context.Context, c *Checked) (again bool, err error) {
	ctx, stop := context.WithCancel(parent)
	defer stop()
	d.fresh()
	var anew sync.Once
	restart := make(chan struct{})
	once := func() { anew.Do(func() { close(restart); stop() }) }
	var beside sync.WaitGroup
	beside.Go(func() {
		tick := time.NewTicker(saveEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-d.o.Rerun:
				once()
			case <-tick.C:
				if err := d.samples.Save(); err != nil && d.o.Logger != nil {
					d.o.Logger.Warn("samples are not kept", "error", err)
				}
			}
		}
	})
	var now *session
	o := RunOptions{
		Flows: d.o.Flows, DeadLetters: d.o.DeadLetters, Store: d.o.Store, From: d.o.From, Address: d.o.Address, Control: d.o.Control, Version: d.o.Version, Getenv: d.o.Getenv,
		Drain: d.o.Drain, Logger: d.o.Logger, Stdin: d.o.Stdin, Stdout: d.o.Stdout, Progress: d.o.Progress, Every: d.o.Every, Abort: d.o.Abort, Listen: true,
		Project: d.p, Watch: true, files: d.files,
		changing: d.hold,
		changed: func(r *Reloaded) { // begun was called long before
			d.release(now, r)
			if r.Restart {
				once()
			}
		},
		begun: func(x *session) {
			now = x
			x.r.Sample(run.SampleOptions{See: func(g run.Shown) { d.see(x, g) }})
			d.tell(DevEvent{Started: c})
		},
	}
	_, err = d.s.Run(ctx, c, o)
	stop()
	beside.Wait()
	select {
	case <-restart:
		return parent.Err() == nil, nil
	default:
		return false, err
	}
}

// firstSamples is how many samples of a flow are told after a save.
const firstSamples = 3

// see takes a message that is followed.
func (d *dev) see(x *session, g run.Shown) {
	s := glimpse{g, d.samples.See(g)}
	switch g.What {
	case "came", "in", "answered":
		return
	}
	d.mu.Lock()
	hold := d.holds
	if hold && len(d.held) < maxHeld {
		d.held = append(d.held, s)
	}
	d.mu.Unlock()
	if !hold {
		d.show(x, s)
	}
}

// show tells of a message that was seen.
func (d *dev) show(x *session, g glimpse) {
	if g.Cause != nil {
		d.problem(x, g.Shown, g.id)
		return
	}
	d.mu.Lock()
	d.shown[g.Flow]++
	tell := d.shown[g.Flow] <= firstSamples
	d.mu.Unlock()
	if tell {
		d.tell(DevEvent{Sampled: &Sample{ID: g.id, Flow: g.Flow, Time: g.Time, Message: g.ID, Ends: []samples.End{{What: g.What}}}})
	}
}

// problem tells of a message that failed, if it is the first of its kind.
func (d *dev) problem(x *session, g run.Shown, id string) {
	p := &DevProblem{Flow: g.Flow, Step: g.At, Code: penstock.CodeOf(g.Cause), Text: g.Error, Message: g.ID, Body: string(g.Body), Sample: id, Refused: g.What == "refused"}
	kind := strings.Map(func(r rune) rune { // numbers and places of messages make no other kind
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, strings.Join([]string{p.Flow, p.Step, string(p.Code), p.Text}, "\x00"))
	d.mu.Lock()
	known := d.seen[kind] || len(d.seen) > 100
	d.seen[kind] = true
	d.mu.Unlock()
	if known {
		return
	}
	var e *penstock.Error
	for next := g.Cause; p.Hint == "" && errors.As(next, &e); next = e.Err {
		p.Hint = e.Hint
	}
	p.Pos = placeOf(x.current().plan, p.Flow, p.Step)
	d.tell(DevEvent{Problem: p})
}

// placeOf is where a step stands in the files; that of the flow where it is not found.
func placeOf(pl *plan.Plan, flow, step string) penstock.Pos {
	f := pl.Flow(flow)
	if f == nil {
		return penstock.Pos{}
	}
	at := f.Pos
	if step == "from" && len(f.Sources) > 0 {
		return f.Sources[0].Pos
	}
	plan.Walk(f.Nodes, func(n *plan.Node) {
		if n.Name == step {
			at = n.Pos
		}
	})
	return at
}
