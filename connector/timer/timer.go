// Package timer is the source that makes a message at every instant of a schedule: an interval, or a cron expression with a time
// zone.
package timer

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
	"time"
	_ "time/tzdata" // zones are known on every machine

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Config is the configuration of the source. It has one of every and cron.
type Config struct {
	// The interval. It is due at the full multiples, whenever the program was started: 5m at :00, :05 and so on, 24h at midnight UTC, 7d on Mondays.
	Every penstock.Duration `json:"every" penstock:"min=1ms"`
	// A cron expression: minute, hour, day of the month, month and day of the week, as in "0 6 * * 1-5"; or @hourly, @daily, @weekly,
	// @monthly, @yearly. Fields take numbers, names (jan, mon), lists (1,15), ranges (1-5) and steps (*/10); the day of the month also L, the last; the
	// day of the week also fri#2, the second Friday of the month, and friL, the last. Where both days are restricted, one of them is
	// enough.
	Cron string `json:"cron"`
	// The time zone of cron, by its IANA name, such as Europe/Berlin. A schedule that names hours is due once for each of its times: a time that
	// comes twice, since the clocks go back, counts the first time; one that does not exist, since they go forward, when the gap ends. A schedule
	// whose hour field begins with * is due whenever the clocks show one of its times: twice in an hour that comes twice.
	Zone string `json:"zone" penstock:"default=UTC"`
	// How far a message may come behind its instant, so that not everything begins at once. How far it is depends on the flow and the
	// instant only, never beyond the next instant, and does not change what the message says.
	Jitter penstock.Duration `json:"jitter" penstock:"min=0s"`
	// What becomes of instants that were missed while the program was down, or could not be read in time: with none they are left out; with last there is one
	// message for all of them, that of the last; with all there is a message for each, in order. last and all make the run keep
	// state. What was read and not done at a crash counts as missed. Nothing is missed before the first run with this schedule.
	CatchUp string `json:"catchUp" penstock:"enum=none|last|all,default=none"`
}

const (
	catchUpNone = "none"
	catchUpAll  = "all"
)

// Register adds the driver.
func Register(r *penstock.Registry) {
	penstock.RegisterSource(r, penstock.Spec{
		Name: "timer",
		Summary: "Makes a message at every instant of a schedule: an interval, or cron with a time zone. With `--once` it makes the one that is due: the last instant " +
			"before now, or what was missed, where the run keeps state. The body has scheduled (the instant), previous (that of the message before, or of the schedule where none is known), " +
			"count (of messages, from 1; over all runs that keep state) and missed (how many instants were left out between previous and scheduled).",
		Settle: penstock.Cumulative,
		Replay: penstock.ReplayPosition,
		Output: Tick,
	}, New)
}

// Tick is the type of the messages.
var Tick = &types.Type{Kind: types.Object, Fields: []types.Field{
	{Name: "scheduled", Type: types.TimestampType, Required: true}, // the instant
	{Name: "previous", Type: types.TimestampType, Required: true},  // of the message before it, or of the schedule where that is not known
	{Name: "count", Type: types.IntType, Required: true},           // from 1; where the run keeps state, over all runs
	{Name: "missed", Type: types.IntType, Required: true},          // instants between previous and scheduled
}}

// Validate implements penstock.Resolver.
func (c *Config) Validate() []error {
	_, err := c.schedule()
	if err != nil {
		return []error{err}
	}
	if c.Every > 0 && c.Jitter >= c.Every {
		return []error{fmt.Errorf("jitter is %s, and must be less than every, %s", c.Jitter, c.Every)}
	}
	return nil
}

// NeedsState implements penstock.Stateful.
func (c *Config) NeedsState() string {
	if c.CatchUp == catchUpNone || c.CatchUp == "" {
		return ""
	}
	return "the timer catches up with what was missed"
}

// SpecFor implements penstock.Specific: what is missed is left out, unless somebody catches up with it.
func (c *Config) SpecFor(s penstock.Spec) penstock.Spec {
	if c.NeedsState() == "" {
		s.Replay = penstock.ReplayNone
	}
	return s
}

func (c *Config) schedule() (schedule, error) {
	switch {
	case c.Every > 0 && c.Cron != "":
		return nil, errors.New("it has both every and cron: keep one of them")
	case c.Every > 0:
		if c.Zone != "" && c.Zone != "UTC" {
			return nil, errors.New("zone belongs to cron: an interval is the same everywhere")
		}
		return interval(c.Every.Std()), nil
	case c.Cron == "":
		return nil, errors.New("it wants `every: 5m`, or `cron: \"0 6 * * *\"`")
	}
	parsed, err := parseCron(c.Cron)
	if err != nil {
		return nil, fmt.Errorf("cron: `%s`: %w", c.Cron, err)
	}
	if c.Zone == "Local" {
		return nil, errors.New("zone: Local is another one on every machine: name it, as in Europe/Berlin")
	}
	zone, err := time.LoadLocation(c.Zone)
	if err != nil {
		return nil, fmt.Errorf("zone: `%s` is no time zone: write its IANA name, as in Europe/Berlin", c.Zone)
	}
	return &calendar{cron: parsed, zone: zone}, nil
}

// New makes the source.
func New(c Config, env penstock.Env) (penstock.Source, error) {
	s, err := c.schedule()
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "timer", Err: err}
	}
	return &source{config: c, env: env, schedule: s}, nil
}

// stream is the Position.Stream of the messages: their offsets are nanoseconds since 1970.
const stream = "timer"

// batchSize is how many messages a Read makes at most.
const batchSize = 128

type source struct {
	config   Config
	env      penstock.Env
	schedule schedule

	since  time.Time // when this schedule was first read, where it catches up and made no message yet; else zero
	begun  time.Time // when reading began; zero before
	last   time.Time // the instant of the message before; zero if there is none
	prior  time.Time // the instant of the schedule before the first of this reading
	count  int64
	next   time.Time // the instant of the next message
	missed int64     // between last and next
	ended  bool      // with Env.Once
}

var (
	_ penstock.Source     = (*source)(nil)
	_ penstock.Positioned = (*source)(nil)
)

// Open implements penstock.Source. Before there is any message, nothing but an entry of its own tells a run that the schedule is older than itself.
func (s *source) Open(ctx context.Context) error {
	if s.config.NeedsState() == "" || !s.last.IsZero() || !s.since.IsZero() || s.env.State == nil || !s.env.Resumes {
		return nil
	}
	key := "since " + s.config.Every.String() + " " + s.config.Cron + " " + s.config.Zone
	known, err := s.env.State.Get(ctx, key)
	if err != nil {
		return err
	}
	if known != nil && !s.env.Anew {
		at, err := strconv.ParseInt(string(known), 10, 64)
		if err != nil {
			return &penstock.Error{Code: penstock.Internal, Op: "timer", Path: key, Err: err, Hint: "`penstock store check` says what else is damaged"}
		}
		s.since = time.Unix(0, at).UTC()
		return nil
	}
	now := s.env.Clock.Now()
	if _, err := s.env.State.CompareAndSet(ctx, key, known, strconv.AppendInt(nil, now.UnixNano(), 10), 0); err != nil {
		return err
	}
	s.since = now
	return nil
}

// Resume implements penstock.Positioned.
func (s *source) Resume(_ context.Context, from []penstock.Position) error {
	for _, p := range from {
		if p.Stream == stream {
			s.last, s.count = time.Unix(0, p.Offset).UTC(), int64(p.Tag) //nolint:gosec // a count
		}
	}
	return nil
}

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := s.env.Clock.Now()
	if s.begun.IsZero() {
		s.begin(now)
	}
	if s.env.Once {
		now = s.begun // what becomes due meanwhile is for the next run
	}
	for !s.ended {
		if s.config.CatchUp != catchUpAll {
			s.skip(now)
		}
		made := 0
		for ; made < batchSize && !s.ended && !s.due().After(now); made++ {
			s.make(into)
			s.advance()
			if s.config.CatchUp != catchUpAll {
				s.skip(now)
			}
		}
		if made > 0 {
			return nil
		}
		if s.env.Once {
			break
		}
		if err := s.wait(ctx, s.due().Sub(now)); err != nil {
			return err
		}
		now = s.env.Clock.Now()
	}
	s.ended = true
	return io.EOF
}

// begin finds the first instant.
func (s *source) begin(now time.Time) {
	s.begun = now
	switch known := !s.last.IsZero(); {
	case known && (s.config.CatchUp != catchUpNone || s.env.Once):
		s.next = s.schedule.after(s.last) // what is not wanted of it is skipped
	case known && s.last.After(now): // the clock went back
		s.next = s.schedule.after(s.last)
	case known:
		s.next = s.schedule.after(now)
		s.missed = s.schedule.between(s.last, s.next)
	case s.env.Once:
		s.next = s.schedule.before(now)
		if first := s.schedule.after(s.since.Add(-1)); !s.since.IsZero() && first.Before(s.next) {
			s.next = first
		}
	case !s.since.IsZero() && s.since.Before(now):
		s.next = s.schedule.after(s.since.Add(-1)) // as for now
	default:
		s.next = s.schedule.after(now.Add(-1)) // now counts
	}
	s.prior = s.schedule.before(s.next.Add(-1))
}

// skip leaves out what is behind the last instant before now.
func (s *source) skip(now time.Time) {
	if latest := s.schedule.before(now); latest.After(s.next) {
		s.missed += s.schedule.between(s.next, latest) + 1
		s.next = latest
	}
}

// advance goes on to the instant behind next.
func (s *source) advance() {
	s.last, s.missed = s.next, 0
	s.next = s.schedule.after(s.last)
}

// due is when the next message is made: at its instant, or as much later as the jitter says. What is late already waits no longer.
func (s *source) due() time.Time {
	if s.config.Jitter <= 0 || s.env.Once || s.next.Before(s.begun) {
		return s.next
	}
	h := fnv.New64a()
	_, _ = h.Write(strconv.AppendInt([]byte(s.env.Name+" "), s.next.UnixNano(), 10))
	x := h.Sum64()
	x ^= x >> 33 // the low bits of FNV know little of the last digits
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	span := min(s.config.Jitter.Std(), s.schedule.after(s.next).Sub(s.next)) // it gives way to the next
	return s.next.Add(time.Duration(float64(x>>11) / (1 << 53) * float64(span)))
}

// look is how often the machine's clock is looked at: it may be set, or have stood still while the machine slept.
const look = 30 * time.Second

func (s *source) wait(ctx context.Context, d time.Duration) error {
	if _, real := s.env.Clock.(penstock.SystemClock); real {
		d = min(d, look)
	}
	timer, stop := s.env.Clock.NewTimer(d)
	select {
	case <-timer:
		return nil
	case <-ctx.Done():
		stop()
		return ctx.Err()
	}
}

// make appends the message of next.
func (s *source) make(into *penstock.Batch) {
	s.count++
	at, previous := s.next.UnixNano(), s.last
	if previous.IsZero() {
		previous = s.prior
	}
	m := into.Append()
	m.Pos = penstock.Position{Stream: stream, Offset: at, Next: at + 1, Tag: uint64(s.count)} //nolint:gosec // a count
	m.Time = s.next
	body := make([]byte, 0, 128)
	body = append(body, `{"scheduled":"`...)
	body = s.next.UTC().AppendFormat(body, time.RFC3339Nano)
	body = append(body, `","previous":"`...)
	body = previous.UTC().AppendFormat(body, time.RFC3339Nano)
	body = append(body, `","count":`...)
	body = strconv.AppendInt(body, s.count, 10)
	body = append(body, `,"missed":`...)
	body = strconv.AppendInt(body, s.missed, 10)
	body = append(body, '}')
	m.Body.Reset(jsonview.JSON, into.Arena().Copy(body))
}

// Settle implements penstock.Source: the engine keeps the position.
func (*source) Settle(context.Context, []penstock.Outcome) error { return nil }

// Close implements penstock.Source.
func (*source) Close(context.Context) error { return nil }
