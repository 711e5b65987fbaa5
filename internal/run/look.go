package run

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Glimpse is a message as somebody sees it who looks at a flow. Values that a schema labels (x-class) are shown as "[class]".
type Glimpse struct {
	Time time.Time `json:"time"`
	Flow string    `json:"flow"`
	Step string    `json:"step,omitempty"` // that it comes to; "" where it ends
	// What happens to it: in (it comes to the step); done, filtered, grouped, late, dead, refused (it ends).
	What  string `json:"what"`
	ID    string `json:"id"` // of the source message: file.csv:17, orders@123
	Key   string `json:"key,omitempty"`
	Body  []byte `json:"-"` // JSON text
	Meta  []byte `json:"-"` // JSON text, an object
	Error string `json:"error,omitempty"`
	// Skipped is how many messages were not shown since the one before, since there were too many.
	Skipped int64 `json:"skipped,omitempty"`
}

// Look shows the messages of a flow: as they come to one step, or, with step "", as they come to the first one and as they end. see is
// called on the goroutines that run the flow, by one at a time: it must not wait. At most perSecond messages are shown, and no more
// than that are written out; others cost next to nothing. stop ends it.
func (r *Runner) Look(flow, step string, perSecond int, see func(Glimpse)) (stop func(), err error) {
	var names []string
	var steps []string
	found := false
	for _, f := range r.list() {
		names = append(names, f.plan.Name)
		if f.plan.Name == flow {
			found, steps = true, f.stepNames()
		}
	}
	if !found {
		return nil, unknown("tap", "there is no flow called "+flow, names)
	}
	if step != "" && !slices.Contains(steps, step) {
		return nil, unknown("tap", fmt.Sprintf("flow %s has no step called %s", flow, step), steps)
	}
	l := &look{flow: flow, step: step, clock: r.clock, perSecond: max(perSecond, 1), see: see}
	r.looksM.Lock()
	defer r.looksM.Unlock()
	r.setLooks(append(slices.Clone(r.looking()), l))
	return func() {
		r.looksM.Lock()
		r.setLooks(slices.DeleteFunc(slices.Clone(r.looking()), func(o *look) bool { return o == l }))
		r.looksM.Unlock()
		l.mu.Lock() // whoever is being shown something has seen it
		l.over = true
		l.mu.Unlock()
	}, nil
}

// unknown says that there is nothing of a name, and what there is.
func unknown(op, what string, choice []string) error {
	e := &penstock.Error{Code: penstock.NotFound, Op: op, Err: errors.New(what)}
	slices.Sort(choice)
	switch choice = slices.Compact(choice); len(choice) {
	case 0:
	case 1:
		e.Hint = "there is " + choice[0]
	default:
		e.Hint = "there are " + strings.Join(choice, ", ")
	}
	return e
}

func (f *flow) stepNames() []string {
	var out []string
	for _, n := range f.stats.Nodes() {
		out = append(out, n.Name)
	}
	return out
}

func (r *Runner) looking() []*look {
	if p := r.looks.Load(); p != nil {
		return *p
	}
	return nil
}

func (r *Runner) setLooks(all []*look) {
	if len(all) == 0 {
		r.looks.Store(nil)
		return
	}
	r.looks.Store(&all)
}

// look is somebody who looks.
type look struct {
	flow, step string
	clock      penstock.Clock
	perSecond  int
	see        func(Glimpse)
	sampler    *sampler // it follows messages of all flows, and is none of the above; else nil

	mu      sync.Mutex
	over    bool
	second  int64 // the one that shown counts
	shown   int
	skipped int64
}

// comes shows messages that come to a node.
func (x *exec) comes(looks []*look, pc int, n *node, ms []*penstock.Message) {
	first := pc == 0 && x.results == nil
	for _, l := range looks {
		if l.sampler != nil {
			l.sampler.comes(x, n, ms)
			continue
		}
		if l.flow == x.f.plan.Name && (l.step == n.Name || l.step == "" && first) {
			for _, m := range ms {
				l.show(x.f, n.Name, "in", m, nil)
			}
		}
	}
}

// ends shows messages that end.
func (x *exec) ends(looks []*look, ms []*penstock.Message, step, what string, cause error) {
	for _, l := range looks {
		if l.sampler != nil {
			l.sampler.ends(x, ms, step, what, cause)
			continue
		}
		if l.flow == x.f.plan.Name && l.step == "" {
			for _, m := range ms {
				l.show(x.f, "", what, m, cause)
			}
		}
	}
}

// fateNames are what a look calls the fates. Who died is shown with the reason, where that is known.
var fateNames = [...]string{fateDone: "done", fateStopped: "done", fateFiltered: "filtered", fateGrouped: "grouped", fateLate: "late", fateLost: "lost", fateFailed: "failed"}

// show shows one message, if it is not too many of them.
func (l *look) show(f *flow, step, what string, m *penstock.Message, cause error) {
	now := l.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	if s := now.Unix(); s != l.second {
		l.second, l.shown = s, 0
	}
	if l.shown >= l.perSecond {
		l.skipped++
		return
	}
	l.shown++
	g := Glimpse{Time: now, Flow: f.plan.Name, Step: step, What: what, Skipped: l.skipped}
	if m.Lineage != nil {
		g.ID = m.Lineage.Origin()
	}
	if cause != nil {
		g.Error = f.hide(cause).Error()
	}
	l.skipped = 0
	v := veil{names: f.labelled()}
	v.glimpse(f, &g, m)
	l.see(g)
}

// labelled are the names of fields that some type of the flow labels, with the class.
func (f *flow) labelled() map[string]string {
	f.labelsOnce.Do(func() {
		f.labels = map[string]string{}
		labelsOf(f.plan.Input, f.labels, 0)
		nodeLabels(f.plan.Nodes, f.labels)
	})
	return f.labels
}

func nodeLabels(nodes []plan.Node, into map[string]string) {
	for i := range nodes {
		labelsOf(nodes[i].Type, into, 0)
		switch op := nodes[i].Op.(type) {
		case *plan.Call:
			labelsOf(op.Endpoint.Type, into, 0)
		case *plan.Fork:
			for _, b := range op.Branches {
				nodeLabels(b.Nodes, into)
			}
		case *plan.Loop:
			nodeLabels(op.Body.Nodes, into)
		}
	}
}

// labelsOf finds the labelled fields of a type. Types may be recursive: nobody nests them deeper than 32 by hand.
func labelsOf(t *types.Type, into map[string]string, depth int) {
	if t == nil || depth > 32 {
		return
	}
	for _, f := range t.Fields {
		if f.Type != nil && len(f.Type.Labels.Class) > 0 {
			into[f.Name] = f.Type.Labels.Class[0]
		}
		labelsOf(f.Type, into, depth+1)
	}
	labelsOf(t.Elem, into, depth+1)
	labelsOf(t.Rest, into, depth+1)
	for _, v := range t.Variants {
		labelsOf(v, into, depth+1)
	}
}

// veil writes a message out without what is labelled: by the names of fields, at any depth, which hides rather too much.
type veil struct {
	names  map[string]string
	hidden []string // texts that were
}

// glimpse writes down what a message is.
func (v *veil) glimpse(f *flow, g *Glimpse, m *penstock.Message) {
	g.Body = f.hideText(v.body(m.Body), `"[redacted]"`)
	g.Meta = f.hideText(v.meta(&m.Meta), "{}")
	if g.Key = m.Key; slices.Contains(v.hidden, m.Key) && m.Key != "" {
		g.Key = "[hidden]"
	}
}

func (v *veil) body(d *jsonview.Doc) []byte {
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return jsonview.AppendString(nil, "unreadable: "+err.Error())
	}
	return v.append(nil, d, 0)
}

func (v *veil) append(dst []byte, d *jsonview.Doc, n jsonview.Node) []byte {
	switch d.Kind(n) {
	case jsonview.Object:
		dst = append(dst, '{')
		for i, k := 0, d.First(n); k != jsonview.None; i, k = i+1, d.Next(k) {
			if i > 0 {
				dst = append(dst, ',')
			}
			name := string(d.Key(k, nil))
			dst = append(jsonview.AppendString(dst, name), ':')
			dst = v.field(dst, name, d, d.Value(k))
		}
		return append(dst, '}')
	case jsonview.Array:
		dst = append(dst, '[')
		for i, e := 0, d.First(n); e != jsonview.None; i, e = i+1, d.Next(e) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = v.append(dst, d, e)
		}
		return append(dst, ']')
	}
	return d.AppendJSON(dst, n)
}

func (v *veil) field(dst []byte, name string, d *jsonview.Doc, n jsonview.Node) []byte {
	class, hide := v.names[name]
	if !hide {
		return v.append(dst, d, n)
	}
	switch d.Kind(n) {
	case jsonview.Null:
		return append(dst, "null"...)
	case jsonview.String:
		v.hidden = append(v.hidden, d.Str(n, func(k int) []byte { return make([]byte, k) }))
	case jsonview.Number:
		v.hidden = append(v.hidden, string(d.Raw(n)))
	}
	return jsonview.AppendString(dst, "["+class+"]")
}

// meta writes headers, without those that hold what the body hides.
func (v *veil) meta(m *penstock.Meta) []byte {
	dst := []byte{'{'}
	for i, e := range m.Entries() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(jsonview.AppendString(dst, e.Name), ':')
		value := e.Value.Load(nil)
		if class, hide := v.names[e.Name]; hide {
			dst = jsonview.AppendString(dst, "["+class+"]")
			continue
		}
		if value.Kind() == penstock.KindString && slices.Contains(v.hidden, value.Str()) {
			dst = append(dst, `"[hidden]"`...)
			continue
		}
		at := len(dst)
		var err error
		if dst, err = value.AppendJSON(dst); err != nil {
			dst = append(dst[:at], "null"...)
		}
	}
	return append(dst, '}')
}
