package run

import (
	"encoding/json"
	"fmt"
	"strconv"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
)

// positions remembers how far a source is settled: per stream all before one place, and what is done behind it though
// something in front is not (a message that waits for its retry).
type positions struct {
	streams map[string]*progress
	loose   []*progress // messages of theirs were finished since they were tidied
}

// progress is one stream's. Its stretches are in the order of reading; the first of them is not done.
type progress struct {
	prefix    penstock.Position // the last message before which everything is done
	any       bool              // prefix is set
	changed   bool              // since it was written
	loose     bool              // it is among positions.loose
	told      penstock.Position // how far the source knows
	stretches []stretch
	before    []extent // behind the prefix, done by earlier runs
}

// stretch is a run of messages that were read after one another and are all done, or one that is not.
type stretch struct {
	first, last penstock.Position
	open        *track // nil: done
}

// extent is a stretch that is done, as it is stored: from the offset of its first message to the end of its last.
type extent [2]int64

// add notes the message that was read next; open says that it is not done yet.
func (p *positions) add(t *track, open bool) {
	pr := p.streams[t.pos.Stream]
	if pr == nil {
		if p.streams == nil {
			p.streams = map[string]*progress{}
		}
		pr = &progress{}
		p.streams[t.pos.Stream] = pr
	}
	pr.changed = true
	switch n := len(pr.stretches); {
	case open && !mutation.On("position-ahead"):
		t.placed = false
		pr.stretches = append(pr.stretches, stretch{t.pos, t.pos, t})
	case n == 0:
		pr.prefix, pr.any = t.pos, true
	case pr.stretches[n-1].open == nil:
		pr.stretches[n-1].last = t.pos
	default:
		pr.stretches = append(pr.stretches, stretch{t.pos, t.pos, nil})
	}
}

// places says that it matters how far the source is settled: the store keeps that, or the source is told.
func (p *pump) places() bool { return p.keeps || p.channel == nil && p.server == nil && !p.each() }

// finish notes that a message is done that was left behind.
func (p *pump) finish(t *track) {
	if p.places() && !t.early {
		p.at.finish(t)
	}
}

// finish notes that a message is done that was not. Where there are many of them, all are looked for at once: by tidy.
func (p *positions) finish(t *track) {
	pr := p.streams[t.pos.Stream]
	t.placed = true
	if !pr.loose {
		pr.changed, pr.loose = true, true
		p.loose = append(p.loose, pr)
	}
}

// tidy joins the stretches of what was finished.
func (p *positions) tidy() {
	for _, pr := range p.loose {
		pr.tidy()
	}
	clear(p.loose)
	p.loose = p.loose[:0]
}

func (pr *progress) tidy() {
	pr.loose = false
	kept := pr.stretches[:0]
	for _, s := range pr.stretches {
		if s.open != nil && s.open.placed {
			s.open = nil
		}
		switch n := len(kept); {
		case s.open == nil && n == 0:
			pr.prefix, pr.any = s.last, true
		case s.open == nil && kept[n-1].open == nil:
			kept[n-1].last = s.last
		default:
			kept = append(kept, s)
		}
	}
	clear(pr.stretches[len(kept):])
	pr.stretches = kept
}

// kept is a position as the store keeps it.
type kept struct {
	Offset int64    `json:"offset"`
	Next   int64    `json:"next"`
	Line   int64    `json:"line,omitempty"`
	Tag    uint64   `json:"tag,omitempty"`
	Mark   string   `json:"mark,omitempty"`
	None   bool     `json:"none,omitempty"` // nothing before the extents is done
	Done   []extent `json:"done,omitempty"`
}

// value is what the store keeps of the stream.
func (pr *progress) value() []byte {
	k := kept{Offset: pr.prefix.Offset, Next: pr.prefix.Next, Line: pr.prefix.Line, Tag: pr.prefix.Tag, Mark: pr.prefix.Mark, None: !pr.any}
	for _, s := range pr.stretches {
		if s.open == nil {
			k.Done = append(k.Done, extent{s.first.Offset, s.last.Next})
		}
	}
	for _, e := range pr.before {
		if !pr.any || e[1] > pr.prefix.Next {
			k.Done = append(k.Done, e)
		}
	}
	b := append([]byte(nil), `{"offset":`...)
	b = strconv.AppendInt(b, k.Offset, 10)
	if k.Tag == 0 && k.Mark == "" && !k.None && k.Done == nil { // almost always
		b = strconv.AppendInt(append(b, `,"next":`...), k.Next, 10)
		if k.Line != 0 {
			b = strconv.AppendInt(append(b, `,"line":`...), k.Line, 10)
		}
		return append(b, '}')
	}
	b, err := json.Marshal(k)
	if err != nil {
		panic(err) // integers only
	}
	return b
}

// readPosition reads what value wrote.
func readPosition(stream string, value []byte) (kept, penstock.Position, error) {
	var k kept
	if err := json.Unmarshal(value, &k); err != nil {
		return k, penstock.Position{}, fmt.Errorf("the stored position of %s can't be read: %w", stream, err)
	}
	return k, penstock.Position{Stream: stream, Offset: k.Offset, Next: k.Next, Line: k.Line, Tag: k.Tag, Mark: k.Mark}, nil
}

// holds says that the message at pos is done.
func (k kept) holds(pos penstock.Position) bool {
	if !k.None && pos.Offset < k.Next {
		return true
	}
	for _, e := range k.Done {
		if pos.Offset >= e[0] && pos.Offset < e[1] {
			return true
		}
	}
	return false
}
