package timer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cron is a parsed cron expression: five fields, as POSIX crontab(5) has them, with the names, steps and macros that everybody knows, L and #.
type cron struct {
	minute, hour, dom, month uint64   // sets of numbers
	dow                      uint64   // 0 to 6, Sunday first
	lastDay                  bool     // dom has L
	nth                      [7]uint8 // by day of the week: the weeks of the month (#1 to #5), bit 1 to 5
	lastDow                  uint64   // days of the week with L: the last one in the month
	domAny, dowAny           bool     // the field begins with *: it does not restrict
	// free says that the hour field begins with *: the schedule is about how often, not about when. It is what a change of the clocks
	// asks for: see days.
	free bool
}

type field struct {
	name     string
	min, max int
	names    []string // of min and up
}

var fields = [5]field{
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day of the month", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"day of the week", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

var macros = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// parseCron reads a cron expression.
func parseCron(text string) (*cron, error) {
	words := strings.Fields(text)
	if len(words) == 1 && strings.HasPrefix(words[0], "@") {
		full, ok := macros[strings.ToLower(words[0])]
		if !ok {
			return nil, fmt.Errorf("`%s` is none of @yearly, @annually, @monthly, @weekly, @daily, @midnight and @hourly; intervals stand under `every`", words[0])
		}
		words = strings.Fields(full)
	}
	if len(words) == 6 || len(words) == 7 {
		return nil, fmt.Errorf("it has %d fields, and five are wanted: minute, hour, day of the month, month, day of the week; there are no seconds (use `every`) and no years", len(words))
	}
	if len(words) != 5 {
		return nil, fmt.Errorf("it has %d fields, and five are wanted: minute, hour, day of the month, month, day of the week", len(words))
	}
	c := &cron{free: strings.HasPrefix(words[1], "*"), domAny: strings.HasPrefix(words[2], "*"), dowAny: strings.HasPrefix(words[4], "*")}
	sets := [5]*uint64{&c.minute, &c.hour, &c.dom, &c.month, &c.dow}
	for i, w := range words {
		for _, part := range strings.Split(w, ",") {
			set, err := c.part(i, part)
			if err != nil {
				return nil, fmt.Errorf("the field %s: %w", fields[i].name, err)
			}
			*sets[i] |= set
		}
	}
	if c.dow&(1<<7) != 0 { // both 0 and 7 are Sunday
		c.dow = c.dow&^(1<<7) | 1
	}
	if !c.comes() {
		return nil, fmt.Errorf("no such day ever comes")
	}
	return c, nil
}

// part reads one of the parts between commas, and gives its set of numbers.
func (c *cron) part(i int, part string) (uint64, error) {
	f := &fields[i]
	switch {
	case part == "":
		return 0, fmt.Errorf("a part is empty")
	case part == "?":
		return 0, fmt.Errorf("write `*` in place of `?`")
	case i == 2 && strings.EqualFold(part, "l"):
		c.lastDay = true
		return 0, nil
	case i == 4 && len(part) > 1 && (part[len(part)-1] == 'L' || part[len(part)-1] == 'l'):
		n, err := f.number(part[:len(part)-1])
		if err != nil {
			return 0, err
		}
		c.lastDow |= 1 << (n % 7)
		return 0, nil
	}
	if day, week, ok := strings.Cut(part, "#"); ok && i == 4 {
		n, err := f.number(day)
		if err != nil {
			return 0, err
		}
		k, err := strconv.Atoi(week)
		if err != nil || k < 1 || k > 5 {
			return 0, fmt.Errorf("`%s`: behind # stands the week of the month, 1 to 5", part)
		}
		c.nth[n%7] |= 1 << k
		return 0, nil
	}
	span, step, stepped := strings.Cut(part, "/")
	every := 1
	if stepped {
		var err error
		if every, err = strconv.Atoi(step); err != nil || every < 1 || every > f.max || !digits(step) {
			return 0, fmt.Errorf("`%s`: behind / stands a number from 1 to %d", part, f.max)
		}
	}
	from, to := f.min, f.max
	if i == 4 {
		to = 6
	}
	if span != "*" {
		a, b, ranged := strings.Cut(span, "-")
		var err error
		if from, err = f.number(a); err != nil {
			return 0, err
		}
		switch {
		case ranged:
			if to, err = f.number(b); err != nil {
				return 0, err
			}
		case !stepped:
			to = from
		}
		if from > to {
			return 0, fmt.Errorf("`%s` runs backwards: write it as two parts, `%s-%d,%d-%s`", part, a, f.max, f.min, b)
		}
	}
	var set uint64
	for n := from; n <= to; n += every {
		set |= 1 << n
	}
	return set, nil
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// number reads a number or name.
func (f *field) number(s string) (int, error) {
	if n := slices.Index(f.names, strings.ToLower(s)); n >= 0 {
		return f.min + n, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || !digits(s) {
		if len(f.names) > 0 {
			return 0, fmt.Errorf("`%s` is neither a number nor one of %s", s, strings.Join(f.names, ", "))
		}
		return 0, fmt.Errorf("`%s` is no number", s)
	}
	if n < f.min || n > f.max {
		return 0, fmt.Errorf("%d is not from %d to %d", n, f.min, f.max)
	}
	return n, nil
}

// comes reports whether any day fits: in 28 years every date falls on every day of the week, and in 40 also where a century has no
// leap day.
func (c *cron) comes() bool {
	d := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 40 * 366 {
		if c.onDay(d) {
			return true
		}
		d = d.AddDate(0, 0, 1)
	}
	return false
}

// onDay reports whether the schedule has the day of d. Where both the day of the month and the day of the week are restricted, one of
// them is enough, as POSIX has it.
func (c *cron) onDay(d time.Time) bool {
	y, m, day := d.Date()
	if c.month&(1<<m) == 0 {
		return false
	}
	w := d.Weekday()
	last := time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day()
	dom := c.dom&(1<<day) != 0 || c.lastDay && day == last
	dow := c.dow&(1<<w) != 0 || c.nth[w]&(1<<((day-1)/7+1)) != 0 || c.lastDow&(1<<w) != 0 && day > last-7
	if c.domAny || c.dowAny {
		return dom && dow
	}
	return dom || dow
}
