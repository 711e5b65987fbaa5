package csv

import "time"

// time appends the RFC 3339 form of a text in the column's layout; nil if it isn't in it. A layout without a zone
// means UTC.
func (c *column) time(dst, text []byte) []byte {
	if c.fast != nil && !c.date {
		if out := c.fast.append(dst, text); out != nil {
			return out
		}
	}
	t, err := time.Parse(c.layout, string(text))
	if err != nil || t.Year() < 0 || t.Year() > 9999 {
		return nil
	}
	if c.date {
		return t.AppendFormat(dst, time.DateOnly)
	}
	return t.AppendFormat(dst, time.RFC3339Nano)
}

// fixedLayout reads layouts of digits at fixed places (2006-01-02 15:04:05) without time.Parse, which takes
// ten times as long.
type fixedLayout struct {
	size     int
	literals []literal
	place    [6]int // of year, month, day, hour, minute, second; -1: none
}

type literal struct {
	at int
	c  byte
}

var fixedParts = [6]string{"2006", "01", "02", "15", "04", "05"}

// newFixedLayout reads a layout; nil if it has anything but numbers of fixed length, a date at least, and
// punctuation.
func newFixedLayout(layout string) *fixedLayout {
	f := &fixedLayout{size: len(layout), place: [6]int{-1, -1, -1, -1, -1, -1}}
	for i := 0; i < len(layout); {
		part := -1
		for p, text := range fixedParts {
			if len(layout)-i >= len(text) && layout[i:i+len(text)] == text && f.place[p] < 0 {
				part = p
				break
			}
		}
		if part >= 0 {
			f.place[part] = i
			i += len(fixedParts[part])
			continue
		}
		switch c := layout[i]; c {
		case '-', '/', ':', ' ', 'T', '.':
			// After a point or comma, time.Parse reads a fraction; those layouts are left to it.
			if c == '.' && i+1 < len(layout) && (layout[i+1] == '0' && (i+2 >= len(layout) || layout[i+2] == '0') || layout[i+1] == '9') {
				return nil
			}
			f.literals = append(f.literals, literal{i, c})
			i++
		default:
			return nil
		}
	}
	if f.place[0] < 0 || f.place[1] < 0 || f.place[2] < 0 {
		return nil
	}
	return f
}

// append appends the RFC 3339 form; nil if text is not exactly in the layout or no time.
func (f *fixedLayout) append(dst, text []byte) []byte {
	if len(text) != f.size {
		return nil
	}
	for _, l := range f.literals {
		if text[l.at] != l.c {
			return nil
		}
	}
	var v [6]int
	for p, at := range f.place {
		if at < 0 {
			continue
		}
		for _, c := range text[at : at+len(fixedParts[p])] {
			if c -= '0'; c > 9 {
				return nil
			}
			v[p] = v[p]*10 + int(c)
		}
	}
	if v[1] < 1 || v[1] > 12 || v[2] < 1 || v[2] > 28 && v[2] > daysIn(v[0], v[1]) || v[3] > 23 || v[4] > 59 || v[5] > 59 {
		return nil
	}
	const form = "0000-00-00T00:00:00Z"
	n := len(dst)
	dst = append(dst, form...)
	out := dst[n:]
	two := func(at, v int) { out[at], out[at+1] = byte('0'+v/10), byte('0'+v%10) }
	two(0, v[0]/100)
	two(2, v[0]%100)
	two(5, v[1])
	two(8, v[2])
	two(11, v[3])
	two(14, v[4])
	two(17, v[5])
	return dst
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}
