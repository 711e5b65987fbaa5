package graph

import (
	"slices"
	"unicode/utf8"
)

// The measures of the picture, in SVG user units (pixels at 100%).
const (
	lineChars   = 38  // of a line of text, before it is cut
	labelChars  = 30  // of an edge's label
	monoWidth   = 6.7 // of a character of 11px monospace
	boldWidth   = 7.4 // of a character of 12.5px bold
	padX, padY  = 12.0, 9.0
	titleHeight = 17.0
	lineHeight  = 15.0
	gapX, gapY  = 46.0, 18.0
	clusterPad  = 16.0
	clusterHead = 30.0
	gutter      = 34.0 // between flows, for edges that come back
	margin      = 24.0
	step        = 8.0    // between edges side by side
	bend        = 12.0   // half of the way in which an edge changes its row
	maxWidth    = 1080.0 // of a flow, before it goes on in another line
)

// box is a placed node, or, with an empty id, the way of a long edge past a column.
type box struct {
	node       Node
	x, y, w, h float64
	rank, row  int
	band       int     // the cluster it is drawn in
	line       int     // of the cluster, where that is folded
	end        float64 // where its column ends
}

func (b *box) midY() float64 { return b.y + b.h/2 }

// link is an edge with the boxes that it passes; the first and the last are its ends.
type link struct {
	edge Edge
	via  []*box
}

// layout places the flows one below the other, each from left to right in columns. A channel stands
// behind the flow that sends to it first.
type layout struct {
	g      Graph
	boxes  map[string]*box
	order  []string // ids, as placed
	links  []link
	bands  []placed
	width  float64
	height float64
	left   float64 // room for edges that come back, on the left
	right  float64 // the same on the right
}

// placed is a cluster with its place.
type placed struct {
	cluster    *Cluster
	x, y, w, h float64
	boxes      []*box
	tops       []float64 // of its lines
	folds      int       // edges from line to line
}

func newLayout(g Graph) *layout {
	l := &layout{g: g, boxes: map[string]*box{}}
	for i, c := range l.stacked() {
		l.bands = append(l.bands, placed{cluster: c})
		for _, n := range c.Nodes {
			l.addBox(n, i)
		}
	}
	l.placeChannels()
	for i := range l.bands {
		l.rank(i)
	}
	l.route()
	l.coordinates()
	return l
}

func (l *layout) addBox(n Node, band int) {
	b := &box{node: n, band: band}
	b.w = float64(utf8.RuneCountInString(n.Title)) * boldWidth
	for _, s := range n.Lines {
		b.w = max(b.w, float64(utf8.RuneCountInString(clip(s, lineChars)))*monoWidth)
	}
	b.w += 2 * padX
	b.h = 2*padY + titleHeight + float64(len(n.Lines))*lineHeight
	if n.Kind == KindRoute {
		b.w += 2 * padX
	}
	if n.Durable {
		b.h += 14 // the lid
	}
	l.boxes[n.ID] = b
	l.order = append(l.order, n.ID)
	l.bands[band].boxes = append(l.bands[band].boxes, b)
}

// stacked orders the flows: one that feeds another stands above it, as far as they don't go round.
func (l *layout) stacked() []*Cluster {
	of := map[string]int{}
	for i, c := range l.g.Clusters {
		for _, n := range c.Nodes {
			of[n.ID] = i
		}
	}
	feeds := func(from, to int) bool {
		for _, e := range l.g.Edges {
			if f, ok := of[e.From]; !ok || f != from {
				continue
			}
			for _, r := range l.g.Edges {
				if t, ok := of[r.To]; ok && r.From == e.To && t == to {
					return true
				}
			}
		}
		return false
	}
	var out []*Cluster
	left := make([]int, len(l.g.Clusters))
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		pick := slices.IndexFunc(left, func(c int) bool {
			return !slices.ContainsFunc(left, func(o int) bool { return o != c && feeds(o, c) })
		})
		pick = max(pick, 0)
		out = append(out, &l.g.Clusters[left[pick]])
		left = slices.Delete(left, pick, pick+1)
	}
	return out
}

// placeChannels gives each channel to the band of its first sender, or else of its first reader.
func (l *layout) placeChannels() {
	for _, n := range l.g.Channels {
		band := -1
		for _, e := range l.g.Edges {
			if b := l.boxes[e.From]; e.To == n.ID && b != nil && (band < 0 || b.band < band) {
				band = b.band
			}
		}
		for _, e := range l.g.Edges {
			if b := l.boxes[e.To]; band < 0 && e.From == n.ID && b != nil {
				band = b.band
			}
		}
		if band < 0 {
			if len(l.bands) == 0 {
				l.bands = append(l.bands, placed{cluster: &Cluster{Title: "channels"}})
			}
			band = len(l.bands) - 1
		}
		l.addBox(n, band)
	}
}

// inBand lists the edges between boxes of one band, but for those from a channel back into it.
func (l *layout) inBand(band int) []Edge {
	var out []Edge
	for _, e := range l.g.Edges {
		f, t := l.boxes[e.From], l.boxes[e.To]
		if f == nil || t == nil || f.band != band || t.band != band || l.comesBack(f, t) {
			continue
		}
		out = append(out, e)
	}
	return out
}

// comesBack says whether an edge leads from a channel to a flow: it is drawn around.
func (l *layout) comesBack(f, t *box) bool {
	if f.node.Kind != KindChannel {
		return false
	}
	for _, e := range l.g.Edges { // a channel that nobody feeds stands before its reader
		if e.To == f.node.ID {
			return true
		}
	}
	return f.band != t.band
}

// rank gives the boxes of a band their columns and rows. Programs jump forward only, so the order of the
// boxes is that of the columns; channels come last.
func (l *layout) rank(i int) {
	edges := l.inBand(i)
	for range l.bands[i].boxes { // until nothing moves: at most as often as there are boxes
		moved := false
		for _, e := range edges {
			f, t := l.boxes[e.From], l.boxes[e.To]
			if t.rank < f.rank+1 {
				t.rank, moved = f.rank+1, true
			}
		}
		if !moved {
			break
		}
	}
	for _, e := range edges {
		lk := link{edge: e, via: []*box{l.boxes[e.From]}}
		for r := l.boxes[e.From].rank + 1; r < l.boxes[e.To].rank; r++ {
			way := &box{rank: r, band: i, h: 12}
			l.bands[i].boxes = append(l.bands[i].boxes, way)
			lk.via = append(lk.via, way)
		}
		lk.via = append(lk.via, l.boxes[e.To])
		l.links = append(l.links, lk)
	}
	l.rows(i)
}

// rows puts each box into the row of the box before it, or the next free one below: the main line stays
// straight. What fails goes below all others.
func (l *layout) rows(i int) {
	before := map[*box][]*box{}
	for _, lk := range l.links {
		for j := 1; j < len(lk.via); j++ {
			before[lk.via[j]] = append(before[lk.via[j]], lk.via[j-1])
		}
	}
	boxes := l.bands[i].boxes
	last := 0
	for _, b := range boxes {
		last = max(last, b.rank)
	}
	for r := 0; r <= last; r++ {
		var column []*box
		want := map[*box]int{}
		for _, b := range boxes {
			if b.rank != r {
				continue
			}
			column = append(column, b)
			for k, p := range before[b] {
				if k == 0 || p.row < want[b] {
					want[b] = p.row
				}
			}
		}
		slices.SortStableFunc(column, func(a, b *box) int {
			if la, lb := lowest(a), lowest(b); la != lb {
				return la - lb
			}
			return want[a] - want[b]
		})
		free := 0
		for _, b := range column {
			b.row = max(free, want[b])
			free = b.row + 1
		}
	}
}

// lowest sorts ways and errors below boxes.
func lowest(b *box) int {
	switch {
	case b.node.Kind == KindError:
		return 2
	case b.node.ID == "":
		return 1
	}
	return 0
}

// route finds the links that lead from band to band.
func (l *layout) route() {
	for _, e := range l.g.Edges {
		f, t := l.boxes[e.From], l.boxes[e.To]
		if f != nil && t != nil && (f.band != t.band || l.comesBack(f, t)) {
			l.links = append(l.links, link{edge: e, via: []*box{f, t}})
			if t.node.Kind == KindChannel {
				l.right += step
			} else {
				l.left += step
			}
		}
	}
}
