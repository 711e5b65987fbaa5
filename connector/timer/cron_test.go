package timer

import (
	"strings"
	"testing"
	"time"
)

func TestParseCronRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "it has 0 fields",
		"* * * *":           "it has 4 fields",
		"0 * * * * *":       "there are no seconds",
		"0 0 12 * * ? 2030": "no years",
		"60 * * * *":        "the field minute: 60 is not from 0 to 59",
		"* 24 * * *":        "the field hour: 24 is not from 0 to 23",
		"* * 0 * *":         "the field day of the month: 0 is not from 1 to 31",
		"* * * 13 *":        "13 is not from 1 to 12",
		"* * * * 8":         "8 is not from 0 to 7",
		"* * * foo *":       "`foo` is neither a number nor one of jan, feb",
		"x * * * *":         "`x` is no number",
		"+5 * * * *":        "`+5` is no number",
		"-5 * * * *":        "`` is no number",
		"1-2-3 * * * *":     "`2-3` is no number",
		"5-1 * * * *":       "`5-1` runs backwards: write it as two parts, `5-59,0-1`",
		"* * * * fri-mon":   "`fri-mon` runs backwards: write it as two parts, `fri-7,0-mon`",
		"*/0 * * * *":       "behind / stands a number from 1 to 59",
		"*/x * * * *":       "behind / stands a number",
		"*/+1 * * * *":      "behind / stands a number",
		"*/60 * * * *":      "behind / stands a number from 1 to 59",
		"1,,2 * * * *":      "a part is empty",
		"0 0 ? * 1":         "write `*` in place of `?`",
		"0 0 30 2 *":        "no such day ever comes",
		"0 0 31 4,6,9,11 *": "no such day ever comes",
		"0 0 * * 1#6":       "behind # stands the week of the month, 1 to 5",
		"0 0 * * 9L":        "9 is not from 0 to 7",
		"@every 5m":         "it has 2 fields",
		"@reboot":           "intervals stand under `every`",
		"0 0 L-3 * *":       "`L` is no number",
	} {
		if _, err := parseCron(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestInstants lists what schedules are due at, from the first instant behind a time, in local time.
func TestInstants(t *testing.T) {
	const berlin = "Europe/Berlin"
	for _, c := range []struct {
		name, cron, zone, from string
		want                   []string
	}{
		{"every minute", "* * * * *", "UTC", "2026-01-01T00:00:00Z", []string{"2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"}},
		{"across midnight", "*/25 * * * *", "UTC", "2026-01-01T23:30:00Z", []string{"2026-01-01T23:50:00Z", "2026-01-02T00:00:00Z", "2026-01-02T00:25:00Z"}},
		{"a list, a range, a step from a number", "5,50-52/2 22/1 * * *", "UTC", "2026-01-01T00:00:00Z", []string{"2026-01-01T22:05:00Z", "2026-01-01T22:50:00Z", "2026-01-01T22:52:00Z", "2026-01-01T23:05:00Z"}},
		{"working days at six", "0 6 * * 1-5", berlin, "2026-01-02T07:00:00Z", []string{"2026-01-05T06:00:00+01:00", "2026-01-06T06:00:00+01:00"}},
		{"names", "0 0 1 JAN,jul *", "UTC", "2026-01-01T00:00:00Z", []string{"2026-07-01T00:00:00Z", "2027-01-01T00:00:00Z"}},
		{"Sunday is 0 and 7", "0 0 * * 7", "UTC", "2026-01-01T00:00:00Z", []string{"2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"}},
		{"Sunday and Monday by a range to 7", "0 0 * * 6-7", "UTC", "2026-01-01T00:00:00Z", []string{"2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z", "2026-01-10T00:00:00Z"}},
		{"either day where both are restricted", "0 0 13 * fri", "UTC", "2026-01-01T00:00:00Z", []string{"2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z", "2026-01-16T00:00:00Z"}},
		{"both days where one begins with *", "0 0 */2 * fri", "UTC", "2026-01-01T00:00:00Z", []string{"2026-01-09T00:00:00Z", "2026-01-23T00:00:00Z", "2026-02-13T00:00:00Z"}},
		{"the last day of the month", "0 12 L * *", "UTC", "2028-01-31T12:00:00Z", []string{"2028-02-29T12:00:00Z", "2028-03-31T12:00:00Z", "2028-04-30T12:00:00Z"}},
		{"the second Friday", "0 0 * * fri#2", "UTC", "2026-01-01T00:00:00Z", []string{"2026-01-09T00:00:00Z", "2026-02-13T00:00:00Z"}},
		{"a fifth Monday", "0 0 * * 1#5", "UTC", "2026-01-01T00:00:00Z", []string{"2026-03-30T00:00:00Z", "2026-06-29T00:00:00Z"}},
		{"the last Friday", "0 0 * * friL", "UTC", "2026-01-01T00:00:00Z", []string{"2026-01-30T00:00:00Z", "2026-02-27T00:00:00Z"}},
		{"leap days, also over a century", "0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", []string{"2104-02-29T00:00:00Z", "2108-02-29T00:00:00Z"}},
		{"@hourly", "@hourly", "UTC", "2026-01-01T00:30:00Z", []string{"2026-01-01T01:00:00Z"}},
		{"@weekly", "@Weekly", "UTC", "2026-01-01T00:30:00Z", []string{"2026-01-04T00:00:00Z"}},

		// The clocks go forward at 02:00 on 2026-03-29, to 03:00.
		{"a time that doesn't exist", "30 2 * * *", berlin, "2026-03-28T00:00:00Z", []string{"2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
		{"several that don't exist are due once", "*/20 2 * * *", berlin, "2026-03-28T01:30:00Z", []string{"2026-03-28T02:40:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		{"one that doesn't exist and one that does, at the same moment", "0 2,3 * * *", berlin, "2026-03-28T12:00:00Z", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		{"each hour, in a gap", "0 * * * *", berlin, "2026-03-29T00:00:00Z", []string{"2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"}},
		{"each half hour, in a gap", "30 * * * *", berlin, "2026-03-29T00:00:00Z", []string{"2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"}},
		{"every other hour, in a gap", "0 */2 * * *", berlin, "2026-03-28T22:30:00Z", []string{"2026-03-29T00:00:00+01:00", "2026-03-29T04:00:00+02:00"}},
		// They go back at 03:00 on 2026-10-25, to 02:00.
		{"a time that comes twice", "30 2 * * *", berlin, "2026-10-24T12:00:00Z", []string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		{"each of several that come twice", "*/30 2 * * *", berlin, "2026-10-24T12:00:00Z", []string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:00:00+01:00"}},
		{"each half hour, twice", "*/30 * * * *", berlin, "2026-10-24T23:40:00Z", []string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:00:00+01:00"}},
		{"between the two", "30 2 * * *", berlin, "2026-10-25T00:45:00Z", []string{"2026-10-26T02:30:00+01:00"}},
		// Lord Howe Island moves its clocks by half an hour, at 02:00.
		{"a gap of half an hour", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		{"half an hour that comes twice", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", []string{"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"}},
		// Havana's clocks go forward at midnight, and back at one to midnight.
		{"a midnight that doesn't exist", "@daily", "America/Havana", "2026-03-07T12:00:00Z", []string{"2026-03-08T01:00:00-04:00", "2026-03-09T00:00:00-04:00"}},
		{"a midnight that comes twice", "0 0 * * *", "America/Havana", "2026-10-31T12:00:00Z", []string{"2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"}},
		// São Paulo's clocks went back at midnight, into the day before.
		{"an hour of the day before that comes twice", "30 23 * * *", "America/Sao_Paulo", "2018-02-17T12:00:00Z", []string{"2018-02-17T23:30:00-02:00", "2018-02-18T23:30:00-03:00"}},
		{"and each half hour of it", "30 */1 * * *", "America/Sao_Paulo", "2018-02-18T01:00:00Z", []string{"2018-02-17T23:30:00-02:00", "2018-02-17T23:30:00-03:00", "2018-02-18T00:30:00-03:00"}},
		// Samoa had no 30 December 2011.
		{"a day that doesn't exist", "0 9 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", []string{"2011-12-29T09:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T09:00:00+14:00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed, err := parseCron(c.cron)
			if err != nil {
				t.Fatal(err)
			}
			s := &calendar{cron: parsed, zone: location(t, c.zone)}
			at, err := time.Parse(time.RFC3339, c.from)
			if err != nil {
				t.Fatal(err)
			}
			first := at
			for i, want := range c.want {
				got := s.after(at)
				if got.In(s.zone).Format(time.RFC3339) != want {
					t.Fatalf("number %d is %s, want %s", i+1, got.In(s.zone).Format(time.RFC3339), want)
				}
				if s.before(got) != got || s.before(got.Add(time.Second)) != got || i > 0 && s.before(got.Add(-1)) != at {
					t.Fatalf("before %s does not fit", got)
				}
				if n := s.between(first, got); n != int64(i) {
					t.Fatalf("between the first and %s: %d, want %d", want, n, i)
				}
				at = got
			}
		})
	}
}

// TestScheduleIsMonotonic walks through years of odd zones, minute by minute where the clocks change: each instant is behind the one before, no day of a
// daily schedule is left out, and none comes twice.
func TestScheduleIsMonotonic(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "America/Havana", "America/Sao_Paulo", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "Asia/Tehran", "America/St_Johns"} {
		for _, text := range []string{"30 2 * * *", "0 0 * * *", "59 23 * * *", "0 1,2,3 * * *"} {
			parsed, err := parseCron(text)
			if err != nil {
				t.Fatal(err)
			}
			s := &calendar{cron: parsed, zone: location(t, zone)}
			at := time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC)
			days := map[time.Time]bool{}
			for at.Year() < 2020 {
				next := s.after(at)
				if !next.After(at) || next.Sub(at) > 49*time.Hour {
					t.Fatalf("%s in %s: %s, and then %s", text, zone, at, next)
				}
				if s.before(next) != next || s.before(next.Add(-1)).After(at) {
					t.Fatalf("%s in %s: before %s is %s", text, zone, next, s.before(next.Add(-1)))
				}
				at = next
				days[s.dateOf(at)] = true
			}
			if len(days) < 3651 { // of 3652; Samoa has one less
				t.Errorf("%s in %s: %d days in ten years", text, zone, len(days))
			}
		}
	}
}

func TestInterval(t *testing.T) {
	for _, c := range []struct {
		d          time.Duration
		from, want string
	}{
		{5 * time.Minute, "2026-01-01T00:03:00Z", "2026-01-01T00:05:00Z"},
		{5 * time.Minute, "2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"},
		{24 * time.Hour, "2026-01-01T01:00:00+02:00", "2026-01-01T00:00:00Z"},
		{7 * 24 * time.Hour, "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z"},
	} {
		from, _ := time.Parse(time.RFC3339, c.from)
		s := interval(c.d)
		got := s.after(from)
		if got.Format(time.RFC3339) != c.want || !s.before(got).Equal(got) || !s.before(got.Add(-1)).Equal(got.Add(-c.d)) {
			t.Errorf("%s after %s: %s, want %s", c.d, c.from, got.Format(time.RFC3339), c.want)
		}
		if n := s.between(got, got.Add(10*c.d)); n != 9 {
			t.Errorf("%s: %d between, want 9", c.d, n)
		}
		if n := s.between(got, got); n != 0 {
			t.Errorf("%s: %d between an instant and itself", c.d, n)
		}
	}
}

// FuzzCron holds every expression that is taken to the same: its instants go forward, fit the fields (but where a gap has put them off), and before finds them.
func FuzzCron(f *testing.F) {
	for _, s := range []string{"0 6 * * 1-5", "*/7 */5 L * fri#2", "@daily", "59 23 31 12 7", "0-59/3 1,2,3 29 2 monL", "* * * * *"} {
		f.Add(s, int64(1774746000), 0)
		f.Add(s, int64(1792886400), 1)
	}
	zones := []string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana"}
	f.Fuzz(func(t *testing.T, text string, from int64, zone int) {
		parsed, err := parseCron(text)
		if err != nil {
			return
		}
		s := &calendar{cron: parsed, zone: location(t, zones[(zone%4+4)%4])}
		at := time.Unix(from%4e9, 0).UTC()
		for range 3 {
			next := s.after(at)
			if !next.After(at) || next.Second() != 0 {
				t.Fatalf("%q: %s, and then %s", text, at, next)
			}
			if got := s.before(next); !got.Equal(next) {
				t.Fatalf("%q: before %s is %s", text, next, got)
			}
			if got := s.before(next.Add(-1)); got.After(at) {
				t.Fatalf("%q: after %s comes %s, but %s lies between", text, at, next, got)
			}
			local := next.In(s.zone)
			if zone%4 == 0 && (parsed.minute&(1<<local.Minute()) == 0 || parsed.hour&(1<<local.Hour()) == 0) {
				t.Fatalf("%q: %s", text, next)
			}
			at = next
		}
	})
}
