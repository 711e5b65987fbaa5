package flowtest

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/types"
)

// ask is what a step was answered to one message.
type ask struct {
	asked *penstock.Tree // nil: nobody knows
	fails []SeenAnswer   // the tries that failed, before the answer
	reply *penstock.Tree // nil: there was none
}

// answers makes mocks of how calls ended.
func (w *writer) answers() error {
	types := map[string]*types.Type{}
	plan.Walk(w.flow.Nodes, func(n *plan.Node) {
		if c, ok := n.Op.(*plan.Call); ok {
			types[n.Name] = c.Endpoint.Type
		}
	})
	var steps []string
	asks := map[string][]*ask{}
	for i := range w.d.Seen {
		for _, a := range w.d.Seen[i].Answers {
			typ, there := types[a.Step]
			switch {
			case !there:
				w.note("flow %s has no call step %s any more: what it was answered is left out", w.d.Flow, a.Step)
				continue
			case a.Reply == nil && (a.Code == "" || a.Code == penstock.Cancelled):
				continue // nobody knows what came
			}
			if len(asks[a.Step]) == 0 {
				steps = append(steps, a.Step)
			}
			if err := w.answer(asks, a, typ); err != nil {
				return fmt.Errorf("%s, step %s: %w", w.d.Seen[i].ID, a.Step, err)
			}
		}
	}
	for _, step := range steps {
		w.mocks = append(w.mocks, w.mocksOf(step, asks[step])...)
	}
	return nil
}

// answer puts one answer beside what was asked.
func (w *writer) answer(asks map[string][]*ask, a SeenAnswer, typ *types.Type) error {
	var asked *penstock.Tree
	if a.Asked != nil {
		t, err := w.document(a.Asked, w.flow.Input) // what came in has the names that its fields have later, mostly
		if err != nil {
			return err
		}
		asked = t
	}
	all := asks[a.Step]
	var one *ask
	for _, o := range all {
		if o.asked == nil && asked == nil || o.asked != nil && asked != nil && canon(o.asked) == canon(asked) {
			one = o
		}
	}
	if one == nil {
		one = &ask{asked: asked}
		asks[a.Step] = append(all, one)
	}
	if a.Code != "" {
		one.fails = append(one.fails, a)
		return nil
	}
	reply, err := w.document(a.Reply, typ)
	if err != nil {
		return err
	}
	if one.reply != nil && canon(one.reply) != canon(reply) {
		w.note("step %s was given different answers to the same message; its mock gives the last of them", a.Step)
	}
	one.reply = reply
	return nil
}

// mocksOf writes the mocks of a step. Where its answers differ, each says which message it is for.
func (w *writer) mocksOf(step string, asks []*ask) []mockText {
	same := true
	for _, a := range asks {
		same = same && len(a.fails) == 0 && a.reply != nil && canon(a.reply) == canon(asks[0].reply)
	}
	if same {
		asks = asks[:1]
	}
	var out []mockText
	path := telling(asks)
	for _, a := range asks {
		when := ""
		if len(asks) > 1 && a.asked != nil {
			when = "when: " + yamlText(path+" == "+celText(at(a.asked, path))) + ", "
		}
		for i := 0; i < len(a.fails); {
			f, n := a.fails[i], 0
			for ; i < len(a.fails) && a.fails[i].Code == f.Code && a.fails[i].Text == f.Text; i++ {
				n++
			}
			// The message is text without expressions.
			times := fmt.Sprintf(", times: %d", n)
			if i == len(a.fails) && a.reply == nil {
				times = "" // it was never answered
			}
			out = append(out, mockText{step, fmt.Sprintf("%sfail: { code: %s, message: %s%s }", when, f.Code, yamlText(strings.ReplaceAll(f.Text, "${", "{")), times)})
		}
		if a.reply != nil {
			out = append(out, mockText{step, when + "reply: " + yamlFlow(a.reply)})
		}
	}
	return out
}

var plainField = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// telling is the path that tells messages apart: a field that all have and of which no two are the same, or the whole body.
func telling(asks []*ask) string {
	if len(asks) == 0 || asks[0].asked == nil || asks[0].asked.Kind != penstock.TreeMap {
		return "body"
	}
next:
	for i, k := range asks[0].asked.Keys {
		if kind := asks[0].asked.Elems[i].Kind; kind == penstock.TreeMap || kind == penstock.TreeList || kind == penstock.TreeNull {
			continue
		}
		values := map[string]bool{}
		for _, a := range asks {
			var v *penstock.Tree
			if a.asked != nil {
				v = field(a.asked, k)
			}
			if v == nil || v.Kind != asks[0].asked.Elems[i].Kind || values[canon(v)] {
				continue next
			}
			values[canon(v)] = true
		}
		if plainField.MatchString(k) && !slices.Contains(celWords, k) {
			return "body." + k
		}
	}
	return "body"
}

// celWords are no names in CEL.
var celWords = strings.Fields("as break const continue else false for function if import in let loop namespace null package return true var void while")

// at is what stands at a path that telling gave.
func at(t *penstock.Tree, path string) *penstock.Tree {
	if name, ok := strings.CutPrefix(path, "body."); ok {
		return field(t, name)
	}
	return t
}

// celText writes a document as CEL.
func celText(t *penstock.Tree) string {
	switch t.Kind {
	case penstock.TreeText:
		return celString(t.Text)
	case penstock.TreeList:
		parts := make([]string, len(t.Elems))
		for i := range t.Elems {
			parts[i] = celText(&t.Elems[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case penstock.TreeMap:
		parts := make([]string, len(t.Keys))
		for i, k := range t.Keys {
			parts[i] = celString(k) + ": " + celText(&t.Elems[i])
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return text(t)
}

// celString writes text in single quotes, so that it can stand in the double quotes of YAML.
func celString(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		switch {
		case r == '\'' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// expectations writes what has left the flow.
func (w *writer) expectations(played *world) {
	w.expect = nil
	seen := map[string]bool{}
	for _, ep := range played.sinks() {
		if ep == played.flow.OnError.DeadLetter || ep == played.reply {
			continue
		}
		template, file := pathOf(ep.Config)
		switch {
		case ep.Channel != "":
			w.place(seen, "channel", ep.Channel, played.log.find(func(r *record) bool { return r.ep != nil && r.ep.Channel == ep.Channel && !r.dead }))
		case file:
			for _, path := range files(played, ep, template) {
				name := path
				if template.Constant && !strings.Contains(template.Source, "${") { // as the flow has it
					name = template.Source
				}
				w.place(seen, "file", name, played.log.find(func(r *record) bool { return r.file != "" && samePath(r.file, path) && !r.dead }))
			}
		case ep.Connection != "":
			w.place(seen, "connection", ep.Connection, played.log.find(func(r *record) bool { return r.ep != nil && r.ep.Connection == ep.Connection && !r.dead }))
		default:
			w.note("what goes to %s can't be looked at by a test", cmp.Or(ep.Label, ep.Name))
		}
	}
	w.replies(played)
	w.dead(played)
}

// files are those that an endpoint has written, or would write.
func files(played *world, ep *plan.Endpoint, path penstock.Template) []string {
	var out []string
	for _, r := range played.log.find(func(r *record) bool { return r.ep == ep && r.file != "" }) {
		if p := filepath.ToSlash(r.file); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if len(out) == 0 && path.Constant {
		out = append(out, filepath.ToSlash(played.constant(path)))
	}
	return out
}

// place writes what came to one place.
func (w *writer) place(seen map[string]bool, what, name string, records []*record) {
	head := "- " + what + ": " + yamlText(name)
	if seen[head] {
		return
	}
	seen[head] = true
	w.expect = append(w.expect, head+"\n"+documents(records))
}

// documents writes what records hold.
func documents(records []*record) string {
	if len(records) == 0 {
		return "  count: 0"
	}
	text := "  exactly:"
	for _, r := range records {
		text += "\n    - " + yamlFlow(r.tree)
	}
	return text
}

// replies writes what was replied, by status.
func (w *writer) replies(played *world) {
	if played.reply == nil {
		return
	}
	all := played.log.find(func(r *record) bool { return r.ep == played.reply })
	var statuses []int
	for _, r := range all {
		if !slices.Contains(statuses, r.status) {
			statuses = append(statuses, r.status)
		}
	}
	slices.Sort(statuses)
	for _, status := range statuses {
		records := slices.DeleteFunc(slices.Clone(all), func(r *record) bool { return r.status != status })
		head, text := "- reply: true", documents(records)
		if status != 0 && status != 200 {
			head += fmt.Sprintf("\n  status: %d", status)
		}
		if status == 202 || status == 204 {
			text = fmt.Sprintf("  count: %d", len(records))
		}
		w.expect = append(w.expect, head+"\n"+text)
	}
}

// dead writes what was dead-lettered.
func (w *writer) dead(played *world) {
	all := played.log.find(func(r *record) bool { return r.dead })
	head := "- dead: true"
	if step, code, same := w.reason(all); same && len(all) > 0 {
		head += "\n  when: " + yamlText(fmt.Sprintf("meta.dead.step == %s && meta.dead.code == %s", celString(step), celString(code)))
	}
	w.expect = append(w.expect, head+"\n"+documents(all))
}

// reason is why messages died, where it is the same of all.
func (w *writer) reason(all []*record) (step, code string, same bool) {
	for i, r := range all {
		s, c := died(r)
		if s == "" || i > 0 && (s != step || c != code) {
			return "", "", false
		}
		step, code = s, c
	}
	return step, code, true
}

// died is where and why a record died.
func died(r *record) (step, code string) {
	t, err := r.reasons()
	if err != nil {
		return "", ""
	}
	if f := field(&t, "step"); f != nil {
		step = f.Text
	}
	if c := field(&t, "code"); c != nil {
		code = c.Text
	}
	return step, code
}

// compare notes where the flow does something else now than when the messages were seen.
func (w *writer) compare(played *world) {
	now := map[string]int{}
	for _, r := range played.log.find(func(r *record) bool { return r.dead || r.status >= 400 }) {
		code := ""
		if r.dead {
			_, code = died(r)
		} else if c := field(r.tree, "code"); c != nil {
			code = c.Text
		}
		now[code]++
	}
	grouped := false
	for i := range w.d.Seen {
		s := &w.d.Seen[i]
		grouped = grouped || s.Grouped
		if !s.Failed {
			continue
		}
		if now[string(s.Code)] == 0 {
			w.note("%s failed at step %s (%s) when it was seen; in the test it does not", s.ID, s.Step, s.Code)
			continue
		}
		now[string(s.Code)]--
	}
	for _, code := range slices.Sorted(maps.Keys(now)) {
		if n := now[code]; n > 0 && !grouped {
			w.note("in the test %s (%s), which %s not when it was seen", failing(n), code, map[bool]string{true: "it did", false: "they did"}[n == 1])
		}
	}
}

func failing(n int) string {
	if n == 1 {
		return "a message fails"
	}
	return fmt.Sprintf("%d messages fail", n)
}
