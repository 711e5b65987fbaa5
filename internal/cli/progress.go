package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"penstock.dev/penstock/internal/control"
)

// How often progress is shown.
const (
	liveEvery  = 200 * time.Millisecond
	plainEvery = 5 * time.Second
	jsonEvery  = time.Second
)

// progress shows how a run goes on.
type progress interface {
	every() time.Duration
	show(*control.Summary)
	done()
}

// silent shows nothing.
type silent struct{}

func (silent) every() time.Duration  { return time.Minute }
func (silent) show(*control.Summary) {}
func (silent) done()                 {}

// live rewrites a few lines on a terminal.
type live struct {
	screen *screen
	color  styles
	size   func() (width, height int)
	rates  rates
}

func (l *live) every() time.Duration { return liveEvery }
func (l *live) done()                { l.screen.show(nil) }

func (l *live) show(s *control.Summary) {
	width, height := l.size()
	l.rates.add(s)
	var rows [][]string
	for i := range s.Flows {
		f := &s.Flows[i]
		lost := "dead " + count(f.Dead)
		if f.Called && f.Dead == 0 {
			lost = "failed " + count(f.Failed)
		}
		row := []string{f.Name, "read " + count(f.Read), "sent " + count(f.Total()), lost, rate(l.rates.of(f.Name))}
		rows = append(rows, row)
	}
	lines := table(rows, []bool{false, true, true, true, true})
	if room := max(1, height-3); len(lines) > room {
		more := len(lines) - room + 1
		lines = append(lines[:room-1], fmt.Sprintf("… and %d more flows", more))
	}
	for i := range lines {
		lines[i] = clip(lines[i], width-1)
		if i < len(s.Flows) && s.Flows[i].Dead > 0 {
			lines[i] = l.color.yellow(lines[i])
		}
	}
	lines = append(lines, l.color.dim(clip(elapsed(s.Seconds)+" so far; Ctrl-C finishes what is in flight", width-1)))
	l.screen.show(lines)
}

// plain writes a line every few seconds.
type plain struct {
	w     io.Writer
	rates rates
}

func (p *plain) every() time.Duration { return plainEvery }
func (p *plain) done()                {}

// maxPlain is up to how many flows have a line each; more share one.
const maxPlain = 10

func (p *plain) show(s *control.Summary) {
	p.rates.add(s)
	var b strings.Builder
	line := func(name string, read, sent, failed, dead int64, perSecond float64) {
		fmt.Fprintf(&b, "%s  %s: read %s, sent %s", elapsed(s.Seconds), name, count(read), count(sent))
		if failed > 0 {
			fmt.Fprintf(&b, ", failed %s", count(failed))
		}
		if dead > 0 {
			fmt.Fprintf(&b, ", dead %s", count(dead))
		}
		fmt.Fprintf(&b, ", %s\n", rate(perSecond))
	}
	var sent, failed int64
	var perSecond float64
	for i := range s.Flows {
		f := &s.Flows[i]
		sent += f.Total()
		failed += f.Failed
		perSecond += p.rates.of(f.Name)
		if len(s.Flows) <= maxPlain {
			line(f.Name, f.Read, f.Total(), f.Failed, f.Dead, p.rates.of(f.Name))
		}
	}
	if len(s.Flows) > maxPlain {
		line(fmt.Sprintf("%d flows", len(s.Flows)), s.Read(), sent, failed, s.Dead(), perSecond)
	}
	_, _ = io.WriteString(p.w, b.String()) // where standard error is gone there is nobody to tell
}

// lines writes a JSON object a line.
type lines struct{ w io.Writer }

// summaryLine is a line of run -o json.
type summaryLine struct {
	Type string `json:"type"` // progress or summary
	*control.Summary
}

func (l *lines) every() time.Duration    { return jsonEvery }
func (l *lines) show(s *control.Summary) { writeJSONLine(l.w, summaryLine{"progress", s}) }
func (l *lines) done()                   {}

// rates tells how fast each flow reads now: over the last few snapshots, so that a figure is steady
// enough to be read. Flows may come and go.
type rates struct {
	at   []float64          // seconds
	read []map[string]int64 // by snapshot and flow
}

const rateWindow = 2.0 // seconds

func (r *rates) add(s *control.Summary) {
	n := map[string]int64{}
	for i := range s.Flows {
		n[s.Flows[i].Name] = s.Flows[i].Read
	}
	if len(r.at) == 0 {
		r.at, r.read = append(r.at, 0), append(r.read, map[string]int64{})
	}
	r.at, r.read = append(r.at, s.Seconds), append(r.read, n)
	for len(r.at) > 2 && s.Seconds-r.at[1] >= rateWindow {
		r.at, r.read = r.at[1:], r.read[1:]
	}
}

func (r *rates) of(flow string) float64 {
	last := len(r.at) - 1
	span := r.at[last] - r.at[0]
	if span <= 0 {
		return 0
	}
	return float64(r.read[last][flow]-r.read[0][flow]) / span
}
