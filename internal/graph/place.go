package graph

import (
	"slices"
	"unicode/utf8"
)

// coordinates turns columns and rows into places.
func (l *layout) coordinates() {
	y := margin
	for i := range l.bands {
		bd := &l.bands[i]
		bd.x, bd.y = margin+l.left, y
		l.place(bd, i)
		y += bd.h + gutter
		l.width = max(l.width, bd.x+bd.w)
	}
	for i := range l.bands { // flows of one width look calm
		l.bands[i].w = l.width - l.bands[i].x
	}
	l.width += margin + l.right
	l.height = y - gutter + margin
}

// place gives the boxes of one band their places, and the band its size.
func (l *layout) place(bd *placed, i int) {
	last := 0
	for _, b := range bd.boxes {
		last = max(last, b.rank)
	}
	cols, gaps := make([]float64, last+1), make([]float64, last+1)
	for _, b := range bd.boxes {
		cols[b.rank] = max(cols[b.rank], b.w)
	}
	for r := range gaps {
		gaps[r] = gapX
	}
	for _, lk := range l.links {
		if from := lk.via[0]; lk.edge.Label != "" && from.band == i && lk.via[1].band == i {
			gaps[from.rank] = max(gaps[from.rank], labelWidth(lk.edge.Label)+2*bend+22)
		}
	}
	lines := fold(cols, gaps, l.crossings(i, last))
	if n := lines[last]; n > 0 {
		l.errorsLast(i, lines)
		clear(cols)
		for _, b := range bd.boxes {
			cols[b.rank] = max(cols[b.rank], b.w)
		}
	}
	for _, b := range bd.boxes {
		b.line = lines[b.rank]
	}
	for _, lk := range l.links {
		for j := 1; j < len(lk.via); j++ {
			if a, b := lk.via[j-1], lk.via[j]; a.band == i && b.band == i && b.line > a.line {
				bd.folds++
			}
		}
	}
	pad := clusterPad + float64(bd.folds)*step
	xs := make([]float64, last+1)
	x, width := bd.x+pad, 0.0
	for c := range xs {
		if c > 0 && lines[c] != lines[c-1] {
			x = bd.x + pad
		}
		xs[c] = x
		width = max(width, x+cols[c]-bd.x)
		x += cols[c] + gaps[c]
	}
	for _, b := range bd.boxes {
		if b.node.ID == "" {
			b.w = cols[b.rank]
		}
		b.x = xs[b.rank] + (cols[b.rank]-b.w)/2
		b.end = xs[b.rank] + cols[b.rank]
	}
	title := float64(utf8.RuneCountInString(bd.cluster.Title+bd.cluster.Note))*boldWidth + 3*clusterPad
	bd.w = max(width+pad, title)
	bd.h = bd.stack(lines[last]) - bd.y
}

// stack gives the boxes their heights, line by line and row by row, and returns where the band ends.
func (bd *placed) stack(lastLine int) float64 {
	y := bd.y + clusterHead
	for line := 0; line <= lastLine; line++ {
		bd.tops = append(bd.tops, y)
		rows := map[int]float64{}
		lastRow := 0
		for _, b := range bd.boxes {
			if b.line == line {
				rows[b.row] = max(rows[b.row], b.h)
				lastRow = max(lastRow, b.row)
			}
		}
		for r := 0; r <= lastRow; r++ {
			h, used := rows[r]
			if !used {
				continue
			}
			for _, b := range bd.boxes {
				if b.line == line && b.row == r {
					b.y = y + (h-b.h)/2
				}
			}
			y += h + gapY
		}
		y += float64(bd.folds)*step + 4
	}
	return y - gapY + clusterPad - float64(bd.folds)*step - 4
}

// crossings counts the edges between each column and the one before.
func (l *layout) crossings(band, last int) []int {
	out := make([]int, last+1)
	for _, lk := range l.links {
		for j := 1; j < len(lk.via); j++ {
			if a, b := lk.via[j-1], lk.via[j]; a.band == band && b.band == band && b.rank == a.rank+1 {
				out[b.rank]++
				if lk.edge.Label != "" {
					out[b.rank] += 2 // its text would be far from where it leads
				}
			}
		}
	}
	return out
}

// errorsLast moves what fails, and the channel it goes to, to the last line, so that the way from there
// doesn't lead through the others.
func (l *layout) errorsLast(band int, lines []int) {
	first := slices.Index(lines, lines[len(lines)-1])
	for _, lk := range l.links {
		e, ch := lk.via[0], lk.via[len(lk.via)-1]
		if e.node.Kind != KindError || e.band != band || ch.band != band || first+1 >= len(lines) {
			continue
		}
		for _, other := range l.links {
			if other.via[len(other.via)-1] == ch && other.via[0] != e {
				return // not only what fails goes there
			}
		}
		e.rank, ch.rank = first, first+1
		e.row, ch.row = bottomRow, bottomRow
	}
}

// bottomRow is below all other rows.
const bottomRow = 1 << 10

// fold breaks columns into lines that are not wider than maxWidth (unless one column is): where the least
// is cut, in few lines, of like width.
func fold(cols, gaps []float64, crossings []int) []int {
	n := len(cols)
	cost, from := make([]float64, n+1), make([]int, n+1) // of the best way to break the first c columns
	for c := 1; c <= n; c++ {
		width := 0.0
		for s := c - 1; s >= 0; s-- {
			if width += cols[s]; width > maxWidth && s < c-1 {
				break
			}
			slack := max(0, 1-width/maxWidth)
			here := cost[s] + slack*slack
			if s > 0 {
				here += 0.5 + float64(crossings[s])
				width += gaps[s-1]
			}
			if s == c-1 || here < cost[c] {
				cost[c], from[c] = here, s
			}
		}
	}
	lines := make([]int, n)
	var starts []int
	for c := n; c > 0; c = from[c] {
		starts = append(starts, from[c])
	}
	line := -1
	for c := range lines {
		if slices.Contains(starts, c) {
			line++
		}
		lines[c] = line
	}
	return lines
}

func labelWidth(s string) float64 {
	return float64(utf8.RuneCountInString(clip(s, labelChars)))*monoWidth + 8
}
