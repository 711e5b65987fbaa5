package graph

import (
	"fmt"
	"html"
	"strings"
)

// style makes the picture readable on light and dark pages.
const style = `
text{font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2933}
.t{font-size:12.5px;font-weight:600}
.l,.e{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:11px;fill:#52606d}
.ct{font-size:13px;font-weight:700}.cn{font-size:11.5px;fill:#7b8794}
.c{fill:#f5f7fa;stroke:#cbd2d9}.b{fill:#fff;stroke:#9aa5b1;stroke-width:1.2}
.source,.sink{fill:#e3f8ff;stroke:#2bb0ed}.route{fill:#fffbea;stroke:#de911d}.state{fill:#f0e7fe;stroke:#8662c7}
.call{fill:#effcf6;stroke:#27ab83}.channel{fill:#e0e8f9;stroke:#4c63b6}.error,.end{fill:#fff5f5;stroke:#e66a6a}.error,.m{stroke-dasharray:4 3}
.f{fill:none;stroke:#7b8794;stroke-width:1.4}.x{stroke:#e66a6a;stroke-dasharray:5 4}
.h{fill:#7b8794}.hx{fill:#e66a6a}.eb{fill:#f5f7fa;opacity:.92}
@media(prefers-color-scheme:dark){
text{fill:#e4e7eb}.l,.e{fill:#b4bfca}.cn{fill:#8d99a6}
.c{fill:#1b2128;stroke:#3e4c59}.b{fill:#262e37;stroke:#616e7c}
.source,.sink{fill:#0f3244;stroke:#2bb0ed}.route{fill:#3d2f10;stroke:#de911d}.state{fill:#2f2347;stroke:#a081d9}
.call{fill:#12372b;stroke:#3ebd93}.channel{fill:#1f2a4d;stroke:#7b93db}.error,.end{fill:#411d1d;stroke:#e66a6a}
.f{stroke:#8d99a6}.h{fill:#8d99a6}.eb{fill:#1b2128}
}`

// SVG draws g as a picture.
func (g Graph) SVG() string {
	l := newLayout(g)
	d := &drawing{l: l}
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="flows and channels">`,
		l.width, l.height, l.width, l.height)
	d.printf("<style>%s</style>\n", style)
	d.printf(`<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path class="h" d="M0 0L8 4L0 8z"/></marker>` +
		`<marker id="ax" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path class="hx" d="M0 0L8 4L0 8z"/></marker></defs>` + "\n")
	for i := range l.bands {
		d.band(&l.bands[i])
	}
	for _, lk := range l.links {
		d.link(lk)
	}
	for _, id := range l.order {
		d.box(l.boxes[id])
	}
	d.printf("</svg>\n")
	return d.b.String()
}

type drawing struct {
	b      strings.Builder
	l      *layout
	around int             // edges drawn around so far
	aside  int             // the same on the right
	folds  map[*placed]int // edges drawn from line to line
}

func (d *drawing) printf(format string, args ...any) { fmt.Fprintf(&d.b, format, args...) }

func (d *drawing) text(x, y float64, class, anchor, s string) {
	if anchor != "" {
		anchor = ` text-anchor="` + anchor + `"`
	}
	d.printf(`<text class="%s" x="%.1f" y="%.1f"%s xml:space="preserve">%s</text>`, class, x, y, anchor, html.EscapeString(s))
}

func (d *drawing) band(b *placed) {
	d.printf(`<rect class="c" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="10"/>`, b.x, b.y, b.w, b.h)
	d.text(b.x+clusterPad, b.y+20, "ct", "", b.cluster.Title)
	d.text(b.x+b.w-clusterPad, b.y+20, "cn", "end", b.cluster.Note)
	d.printf("\n")
}

func (d *drawing) box(b *box) {
	n := b.node
	tip := strings.TrimSpace(n.Title + " " + n.Type)
	for _, s := range n.Lines {
		if clip(s, lineChars) != s {
			tip += "\n" + s
		}
	}
	d.printf("<g><title>%s</title>", html.EscapeString(tip))
	top := b.y + padY
	switch {
	case n.Durable:
		d.cylinder(b)
		top += 14
	case n.Kind == KindSource, n.Kind == KindSink, n.Kind == KindEnd:
		d.rect(b, string(n.Kind), min(b.h/2, 16))
	case n.Kind == KindRoute:
		d.printf(`<path class="b route" d="M%.1f %.1fL%.1f %.1fH%.1fL%.1f %.1fL%.1f %.1fH%.1fz"/>`,
			b.x, b.midY(), b.x+padX, b.y, b.x+b.w-padX, b.x+b.w, b.midY(), b.x+b.w-padX, b.y+b.h, b.x+padX)
	case n.Kind == KindState:
		d.rect(b, string(n.Kind), 5)
		d.printf(`<path class="f" style="stroke-width:.8" d="M%.1f %.1fv%.1fM%.1f %.1fv%.1f"/>`, b.x+5, b.y, b.h, b.x+b.w-5, b.y, b.h)
	case n.Kind == KindChannel:
		d.rect(b, "channel m", 12)
	default:
		d.rect(b, string(n.Kind), 5)
	}
	mid := b.x + b.w/2
	d.text(mid, top+12.5, "t", "middle", n.Title)
	for i, s := range n.Lines {
		d.text(mid, top+titleHeight+11+float64(i)*lineHeight, "l", "middle", clip(s, lineChars))
	}
	d.printf("</g>\n")
}

func (d *drawing) rect(b *box, class string, r float64) {
	d.printf(`<rect class="b %s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="%.1f"/>`, class, b.x, b.y, b.w, b.h, r)
}

// cylinder is what is in the store.
func (d *drawing) cylinder(b *box) {
	const lid = 7.0
	d.printf(`<path class="b %s" d="M%.1f %.1fv%.1fa%.1f %g 0 0 0 %.1f 0v%.1fa%.1f %g 0 0 0 %.1f 0a%.1f %g 0 0 0 %.1f 0"/>`,
		b.node.Kind, b.x, b.y+lid, b.h-2*lid, b.w/2, lid, b.w, -(b.h - 2*lid), b.w/2, lid, -b.w, b.w/2, lid, b.w)
}

// link draws an edge: along the columns within a flow, around the flows between them.
func (d *drawing) link(lk link) {
	class, marker := "f", "a"
	if lk.edge.Kind == EdgeError {
		class, marker = "f x", "ax"
	}
	from, to := lk.via[0], lk.via[len(lk.via)-1]
	var path string
	if from.band != to.band || to.rank <= from.rank {
		path = d.aroundPath(from, to)
	} else {
		path = d.along(lk.via)
	}
	d.printf(`<path class="%s" marker-end="url(#%s)" d="%s"/>`, class, marker, path)
	if lk.edge.Label != "" {
		w := labelWidth(lk.edge.Label)
		x, y := from.end+2*bend+6, lk.via[1].midY()
		if lk.via[1].line != from.line {
			y = from.midY()
		}
		d.printf(`<rect class="eb" x="%.1f" y="%.1f" width="%.1f" height="14" rx="3"/>`, x, y-16, w)
		d.text(x+w/2, y-5, "e", "middle", clip(lk.edge.Label, labelChars))
	}
	d.printf("\n")
}

// along goes from box to box, level through each; from line to line it goes back to the left.
func (d *drawing) along(via []*box) string {
	var b strings.Builder
	x, y := via[0].x+via[0].w, via[0].midY()
	fmt.Fprintf(&b, "M%.1f %.1f", x, y)
	for i, v := range via[1:] {
		tx, ty := v.x, v.midY()
		if i == len(via)-2 {
			tx--
		}
		switch {
		case v.line != via[i].line:
			b.WriteString(d.folded(via[i], x, y, v, tx))
		case ty == y:
			fmt.Fprintf(&b, "H%.1f", tx)
		default:
			e := via[i].end + 4 // beside everything that stands in the column
			fmt.Fprintf(&b, "H%.1fC%.1f %.1f %.1f %.1f %.1f %.1fH%.1f", e, e+bend, y, e+bend, ty, e+2*bend, ty, tx)
		}
		x, y = tx, ty
		if v.node.ID == "" {
			x += v.w
			fmt.Fprintf(&b, "H%.1f", x)
		}
	}
	return b.String()
}

// folded leads from the end of one line of a flow to the beginning of the next.
func (d *drawing) folded(from *box, x, y float64, to *box, tx float64) string {
	bd := &d.l.bands[from.band]
	if d.folds == nil {
		d.folds = map[*placed]int{}
	}
	d.folds[bd]++
	off := float64(d.folds[bd]) * step
	right, left := bd.x+bd.w-off+step/2, bd.x+clusterPad/2-step+off
	gut := bd.tops[to.line] - off - 2
	s := rounded([][2]float64{{x, y}, {right, y}, {right, gut}, {left, gut}, {left, to.midY()}, {tx, to.midY()}})
	return "L" + strings.TrimPrefix(s, "M")
}

// aroundPath leads from a channel down, along the gutter, and up or down on the left into a flow; or, to a
// channel of another flow, along the right.
func (d *drawing) aroundPath(from, to *box) string {
	if to.node.Kind == KindChannel {
		d.aside++
		x := d.l.width - margin - d.l.right + float64(d.aside)*step
		return rounded([][2]float64{{from.x + from.w, from.midY()}, {x, from.midY()}, {x, to.midY()}, {to.x + to.w + 1, to.midY()}})
	}
	d.around++
	off := float64(d.around) * step
	bd := &d.l.bands[from.band]
	y := bd.y + bd.h + min(off, gutter-6)
	x := margin + d.l.left - off
	cx := from.x + from.w/2
	out := [][2]float64{{cx, from.y + from.h}, {cx, y}}
	if clear := clearOf(bd.boxes, from, cx, off); clear != cx { // something stands below
		out = [][2]float64{{from.x + from.w, from.midY()}, {clear, from.midY()}, {clear, y}}
	}
	return rounded(append(out, [2]float64{x, y}, [2]float64{x, to.midY()}, [2]float64{to.x - 1, to.midY()}))
}

// clearOf moves x to the right until no box below stands in the way.
func clearOf(boxes []*box, from *box, x, off float64) float64 {
	for moved := true; moved; {
		moved = false
		for _, b := range boxes {
			if b.node.ID != "" && b.y > from.y && b.x-2 < x && x < b.x+b.w+2 {
				x, moved = max(b.x+b.w, from.x+from.w)+off, true
			}
		}
	}
	return x
}

// rounded draws a line with rounded corners through points.
func rounded(p [][2]float64) string {
	const r = 7.0
	var b strings.Builder
	fmt.Fprintf(&b, "M%.1f %.1f", p[0][0], p[0][1])
	for i := 1; i < len(p)-1; i++ {
		in, out := towards(p[i], p[i-1], r), towards(p[i], p[i+1], r)
		fmt.Fprintf(&b, "L%.1f %.1fQ%.1f %.1f %.1f %.1f", in[0], in[1], p[i][0], p[i][1], out[0], out[1])
	}
	last := p[len(p)-1]
	fmt.Fprintf(&b, "L%.1f %.1f", last[0], last[1])
	return b.String()
}

// towards is the point r from a in the direction of b, or half-way where they are near.
func towards(a, b [2]float64, r float64) [2]float64 {
	dx, dy := b[0]-a[0], b[1]-a[1]
	dist := max(abs(dx), abs(dy)) // all lines are level or upright
	if dist == 0 {
		return a
	}
	r = min(r, dist/2)
	return [2]float64{a[0] + dx/dist*r, a[1] + dy/dist*r}
}

func abs(f float64) float64 {
	if f < 0 {
		return -f
	}
	return f
}
