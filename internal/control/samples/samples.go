// Package samples keeps some messages that `penstock dev` has seen on their way through flows: as they came in, as they came to each step,
// and what became of them. They are in files, one for each message, so that they can be looked at, and made into tests. What a schema
// labels (x-class) is not in them.
package samples

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/run"
)

// Sample is one message's way through one flow.
type Sample struct {
	// ID names it: <flow>#<number>.
	ID   string    `json:"id"`
	Flow string    `json:"flow"`
	Time time.Time `json:"time"`
	// Message is the id of the source message: file.csv:17, orders@123. What a group made of several has that of the first.
	Message string `json:"message"`
	// Input is the message as it came into the flow, or, where a step of the flow has made it of others and it failed, as that made it;
	// else nil.
	Input *Content `json:"input,omitempty"`
	// Source is the number of the source that it came from, from 1; 0 where a step of the flow has made it of others.
	Source int `json:"source,omitempty"`
	// Request is what the flow was called with: method, path, query and header, as far as the flow reads it.
	Request json.RawMessage `json:"request,omitempty"`
	// Steps are those that it came to, in order, with what it was there.
	Steps []Step `json:"steps,omitempty"`
	// Answers are how the calls of its steps ended, in order, each try.
	Answers []Answer `json:"answers,omitempty"`
	// Ends are how it ended, or, where it was split or copied, each part of it.
	Ends []End `json:"ends,omitempty"`
}

// Content is what a message holds. A value that a schema labels is "[class]".
type Content struct {
	Key  string          `json:"key,omitempty"`
	Body json.RawMessage `json:"body"`
	Meta json.RawMessage `json:"meta,omitempty"`
	// Cut says that the body is not there, since it is too large.
	Cut bool `json:"cut,omitempty"`
}

// Step is a message as it came to a step.
type Step struct {
	Step string `json:"step"`
	Content
}

// Answer is how a call ended.
type Answer struct {
	Step string `json:"step"`
	// Asked is the body of the message that asked; left out where it is too large.
	Asked json.RawMessage `json:"asked,omitempty"`
	// Body is the answer; null for a look-up that missed.
	Body json.RawMessage `json:"body,omitempty"`
	// Cut says that the body is not there, since it is too large.
	Cut bool `json:"cut,omitempty"`
	// Error and Text say why there was none.
	Error *penstock.Code `json:"code,omitempty"`
	Text  string         `json:"error,omitempty"`
}

// End is how a message ended: done, filtered, grouped, late, dead or refused.
type End struct {
	What string `json:"what"`
	// Step and Error say where and why it died or was refused.
	Step  string         `json:"step,omitempty"`
	Error *penstock.Code `json:"code,omitempty"`
	Text  string         `json:"error,omitempty"`
	Content
}

// Bounds of what is kept.
const (
	DefaultEach = 20       // messages of a flow
	maxBody     = 64 << 10 // bytes of one body
	maxSteps    = 100      // of one sample
)

// Keeper keeps samples. It is safe for concurrent use.
type Keeper struct {
	dir  string
	each int

	mu    sync.Mutex
	flows map[string]*kept
	err   error // the first that writing met
}

// kept is what is kept of a flow.
type kept struct {
	last  int // number of the newest
	all   []*Sample
	open  map[string]*Sample // by source message: those that may still go on
	dirty map[*Sample]bool   // to be written
}

// Open makes a keeper of the samples in a folder, which need not be there: the newest of each flow, up to each of them (0: DefaultEach).
func Open(dir string, each int) (*Keeper, error) {
	if each <= 0 {
		each = DefaultEach
	}
	k := &Keeper{dir: dir, each: each, flows: map[string]*kept{}}
	flows, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &penstock.Error{Code: penstock.Unavailable, Op: "samples", Path: dir, Err: err}
	}
	for _, f := range flows {
		if !f.IsDir() {
			continue
		}
		files, err := os.ReadDir(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, &penstock.Error{Code: penstock.Unavailable, Op: "samples", Path: dir, Err: err}
		}
		var numbers []int
		for _, file := range files {
			if n, err := strconv.Atoi(strings.TrimSuffix(file.Name(), ".json")); err == nil {
				numbers = append(numbers, n)
			}
		}
		slices.Sort(numbers)
		for _, n := range numbers {
			s, err := load(dir, f.Name(), n)
			if err != nil {
				continue // broken off while it was written, or somebody else's
			}
			own := k.flow(f.Name())
			own.last, own.all = n, append(own.all, s)
		}
	}
	return k, nil
}

// Load reads one sample of a folder by its id.
func Load(dir, id string) (*Sample, error) {
	flow, number, ok := strings.Cut(id, "#")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n <= 0 || flow == "" || flow != filepath.Base(flow) {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "sample", Path: id, Err: errors.New("it is no id of a sample"), Hint: "ids are <flow>#<number>; penstock samples lists them"}
	}
	s, err := load(dir, flow, n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &penstock.Error{Code: penstock.NotFound, Op: "sample", Path: id, Err: errors.New("there is no such sample"), Hint: "penstock samples lists them; penstock dev keeps the newest of each flow"}
	}
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Internal, Op: "sample", Path: id, Err: err}
	}
	return s, nil
}

func load(dir, flow string, n int) (*Sample, error) {
	text, err := os.ReadFile(file(dir, flow, n))
	if err != nil {
		return nil, err
	}
	s := &Sample{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, err
	}
	return s, nil
}

func file(dir, flow string, n int) string {
	return filepath.Join(dir, flow, strconv.Itoa(n)+".json")
}

// flow is what is kept of one. mu must be held, or nobody else know k.
func (k *Keeper) flow(name string) *kept {
	f := k.flows[name]
	if f == nil {
		f = &kept{open: map[string]*Sample{}, dirty: map[*Sample]bool{}}
		k.flows[name] = f
	}
	return f
}

// See takes a message that [run.Runner.Sample] shows, and gives the id of its sample. Nothing is written yet.
func (k *Keeper) See(g run.Shown) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.flow(g.Flow)
	s := f.open[g.ID]
	if s == nil || g.First && len(s.Ends) > 0 { // another run gives messages the same names
		s = k.begin(f, g)
	}
	f.dirty[s] = true
	switch {
	case g.First:
		s.Input = content(g.Key, g.Body, g.Meta)
		s.Source, s.Request = g.Source, slices.Clone(g.Request)
	case g.What == "answered":
	case g.Cause != nil && s.Input == nil && g.Came != nil:
		s.Input = content("", g.Came, nil)
		s.Source, s.Request = g.Source, slices.Clone(g.Request)
	}
	if len(s.Steps)+len(s.Ends)+len(s.Answers) >= maxSteps {
		return s.ID
	}
	switch g.What {
	case "answered":
		s.Answers = append(s.Answers, answer(g))
		return s.ID
	case "came":
		return s.ID
	case "in":
		if s.Input != nil && len(s.Steps) == 0 && s.Input.Key == "" {
			s.Input.Key = g.Key // which the flow has just made
		}
		s.Steps = append(s.Steps, Step{Step: g.Step, Content: *content(g.Key, g.Body, g.Meta)})
		return s.ID
	}
	e := End{What: g.What, Step: g.At, Text: g.Error, Content: *content(g.Key, g.Body, g.Meta)}
	if g.Cause != nil {
		code := penstock.CodeOf(g.Cause)
		e.Error = &code
	}
	s.Ends = append(s.Ends, e)
	return s.ID
}

// begin makes a sample, and lets go of the oldest.
func (k *Keeper) begin(f *kept, g run.Shown) *Sample {
	f.last++
	s := &Sample{ID: fmt.Sprintf("%s#%d", g.Flow, f.last), Flow: g.Flow, Time: g.Time, Message: g.ID}
	f.all = append(f.all, s)
	f.open[g.ID] = s
	for len(f.all) > k.each {
		old := f.all[0]
		f.all = f.all[1:]
		if f.open[old.Message] == old {
			delete(f.open, old.Message)
		}
		delete(f.dirty, old)
		if err := os.Remove(k.path(old)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			k.failed(err)
		}
	}
	return s
}

func (k *Keeper) path(s *Sample) string {
	_, n, _ := strings.Cut(s.ID, "#")
	return filepath.Join(k.dir, s.Flow, n+".json")
}

func answer(g run.Shown) Answer {
	a := Answer{Step: g.Step, Text: g.Error}
	if len(g.Asked) <= maxBody {
		a.Asked = slices.Clone(g.Asked)
	}
	if g.Cause != nil {
		code := penstock.CodeOf(g.Cause)
		a.Error = &code
		return a
	}
	c := content("", g.Body, nil)
	a.Body, a.Cut = c.Body, c.Cut
	return a
}

func content(key string, body, meta []byte) *Content {
	c := &Content{Key: key, Body: slices.Clone(body)}
	if len(meta) > 2 {
		c.Meta = slices.Clone(meta)
	}
	if len(body) > maxBody {
		c.Body, c.Cut = json.RawMessage("null"), true
	}
	return c
}

func (k *Keeper) failed(err error) {
	if k.err == nil {
		k.err = &penstock.Error{Code: penstock.Unavailable, Op: "samples", Path: k.dir, Err: err}
	}
}

// List gives the samples of a flow ("": of all), the oldest first.
func (k *Keeper) List(flow string) []Sample {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []Sample
	for name, f := range k.flows {
		if flow == "" || flow == name {
			for _, s := range f.all {
				own := *s
				own.Steps, own.Ends, own.Answers = slices.Clone(s.Steps), slices.Clone(s.Ends), slices.Clone(s.Answers)
				out = append(out, own)
			}
		}
	}
	slices.SortFunc(out, func(a, b Sample) int {
		if c := a.Time.Compare(b.Time); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Save writes what is new to the folder.
func (k *Keeper) Save() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.flows {
		for s := range f.dirty {
			if err := k.write(s); err != nil {
				k.failed(err)
			}
		}
		clear(f.dirty)
	}
	err := k.err
	k.err = nil
	return err
}

// write replaces a sample's file.
func (k *Keeper) write(s *Sample) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	at := k.path(s)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(at+".tmp", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(at+".tmp", at)
}
