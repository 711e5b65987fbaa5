package timer

import (
	"math/bits"
	"slices"
	"time"
)

// schedule gives the instants at which a timer is due.
type schedule interface {
	// after gives the first instant behind t.
	after(t time.Time) time.Time
	// before gives the last instant up to t.
	before(t time.Time) time.Time
	// between counts the instants behind a and before b, up to a bound.
	between(a, b time.Time) int64
}

// interval is due at the multiples of a duration since the year 1, a Monday, in UTC.
type interval time.Duration

func (d interval) before(t time.Time) time.Time {
	return t.UTC().Round(0).Truncate(time.Duration(d))
}

func (d interval) after(t time.Time) time.Time { return d.before(t).Add(time.Duration(d)) }

func (d interval) between(a, b time.Time) int64 {
	return max(0, int64(d.before(b.Add(-1)).Sub(d.before(a))/time.Duration(d)))
}

// calendar is due at the times of a cron expression on the clocks of a place.
//
// When the clocks go forward, some times don't exist, and when they go back, some come twice. A schedule that names hours is about when:
// it is due once for each of its times, at the first of two, and at the end of the gap for one that does not exist. A schedule whose
// hour field begins with * is about how often: it is due whenever the clocks show one of its times, twice in an hour that comes
// twice.
type calendar struct {
	*cron
	zone *time.Location

	days [4]struct { // the last ones that were asked for, by their number
		date time.Time // midnight UTC of the date
		list []time.Time
	}
}

// dateOf is the date that the clocks show at t, as midnight UTC.
func (c *calendar) dateOf(t time.Time) time.Time {
	y, m, d := t.In(c.zone).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// searchDays bounds a search. A schedule comes at least once in 40 years.
const searchDays = 41 * 366

func (c *calendar) after(t time.Time) time.Time {
	day := c.dateOf(t).AddDate(0, 0, -1) // what a gap has put off may belong to the day before
	for range searchDays {
		for _, at := range c.instants(day) {
			if at.After(t) {
				return at
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return t.AddDate(1000, 0, 0) // parseCron refuses what never comes
}

func (c *calendar) before(t time.Time) time.Time {
	day := c.dateOf(t).AddDate(0, 0, 1)
	for range searchDays {
		for _, at := range slices.Backward(c.instants(day)) {
			if !at.After(t) {
				return at
			}
		}
		day = day.AddDate(0, 0, -1)
	}
	return time.Time{}
}

// mostCounted bounds what between counts.
const mostCounted = 1_000_000

func (c *calendar) between(a, b time.Time) (n int64) {
	day, last := c.dateOf(a).AddDate(0, 0, -1), c.dateOf(b)
	for ; !day.After(last) && n < mostCounted; day = day.AddDate(0, 0, 1) {
		for _, at := range c.instants(day) {
			if at.After(a) && at.Before(b) {
				n++
			}
		}
	}
	return min(n, mostCounted)
}

// instants are those of a date, sorted, each once.
func (c *calendar) instants(day time.Time) []time.Time {
	known := &c.days[(day.Unix()/86400%4+4)%4]
	if known.date.Equal(day) {
		return known.list
	}
	known.date, known.list = day, known.list[:0]
	if !c.onDay(day) {
		return known.list
	}
	list := known.list
	zones := periods(day, c.zone)
	for h := c.hour; h != 0; h &= h - 1 {
		for m := c.minute; m != 0; m &= m - 1 {
			wall := day.Add(time.Duration(bits.TrailingZeros64(h))*time.Hour + time.Duration(bits.TrailingZeros64(m))*time.Minute)
			list = c.add(list, wall, zones)
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	known.list = slices.CompactFunc(list, time.Time.Equal)
	return known.list
}

// period is a time in which the clocks keep one distance from UTC.
type period struct {
	from, to time.Time // the zero time: no end
	offset   time.Duration
}

// periods lists those that a time of the date may fall into.
func periods(day time.Time, zone *time.Location) (out []period) {
	t, end := day.Add(-26*time.Hour).In(zone), day.Add(50*time.Hour)
	for {
		from, to := t.ZoneBounds()
		_, seconds := t.Zone()
		out = append(out, period{from, to, time.Duration(seconds) * time.Second})
		if to.IsZero() || to.After(end) {
			return out
		}
		t = to
	}
}

// add adds when the clocks show wall, a time that is written as if it were UTC.
func (c *calendar) add(list []time.Time, wall time.Time, zones []period) []time.Time {
	found := false
	for i, z := range zones {
		t := wall.Add(-z.offset)
		switch {
		case i > 0 && t.Before(z.from):
			// The clocks went past wall when this period began.
			if !found && !c.free {
				list = append(list, z.from.UTC())
			}
			return list
		case i < len(zones)-1 && !t.Before(z.to):
			continue
		}
		list = append(list, t)
		if found = true; !c.free {
			break
		}
	}
	return list
}
