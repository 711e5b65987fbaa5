// Package load holds what the measured programs of the store's cases have in common: how they publish, and how they tell what
// they saw.
package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// MessageBytes is the size of a message's body.
const MessageBytes = 300

// Body is the body of message i: JSON of [MessageBytes] bytes, with its number as `id`.
func Body(dst []byte, i int64) []byte {
	const filler = "white hanging heart lantern, set of 3 red spotty cake tins, vintage mug and gift wrap, small; "
	from := len(dst)
	dst = fmt.Appendf(dst, `{"id":"k%d","country":"DE","amount":175.53,"note":"`, i)
	for len(dst)-from < MessageBytes-2 {
		dst = append(dst, filler[:min(len(filler), MessageBytes-2-(len(dst)-from))]...)
	}
	return append(dst, `"}`...)
}

// Figure is one thing that was measured.
type Figure struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
}

// Result is what a measured program prints, as one line of JSON.
type Result struct {
	Figures []Figure `json:"figures"`
}

// Add adds a figure.
func (r *Result) Add(name, unit string, value float64) {
	r.Figures = append(r.Figures, Figure{name, unit, value})
}

// Print writes the result.
func (r *Result) Print(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// CPU is the user and system time that this process has used.
func CPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Publishing is what publishers did.
type Publishing struct {
	Took  []time.Duration // of each message, from before it was sent to when it was acknowledged; sorted
	Wall  time.Duration
	CPU   time.Duration // of this process
	First int64         // number of the first message
}

// Next is the number behind the last message.
func (p Publishing) Next() int64 { return p.First + int64(len(p.Took)) }

// Rate is messages acknowledged a second.
func (p Publishing) Rate() float64 { return float64(len(p.Took)) / p.Wall.Seconds() }

// Quantile is how long a share of the messages took at most, in milliseconds.
func (p Publishing) Quantile(q float64) float64 {
	if len(p.Took) == 0 {
		return 0
	}
	return float64(p.Took[min(int(float64(len(p.Took))*q), len(p.Took)-1)].Microseconds()) / 1000
}

// ErrOver is what a sender returns when there is no need for more messages; the one it was for does not count.
var ErrOver = errors.New("no more messages are needed")

// Publish has n publishers send messages for a while, each one after the other: the next when the last is acknowledged, and with a
// pace no sooner than that (messages a second over all of them; 0: as fast as it goes). Messages have consecutive numbers from first.
// A publisher ends when send returns [ErrOver], or any other error, which Publish returns.
func Publish(n int, first int64, lasts time.Duration, pace float64, send func(publisher int, message int64) error) (Publishing, error) {
	var (
		number atomic.Int64
		wg     sync.WaitGroup
		took   = make([][]time.Duration, n)
		errs   = make([]error, n)
	)
	number.Store(first)
	p := Publishing{First: first}
	cpu, began := CPU(), time.Now()
	for w := range n {
		wg.Go(func() {
			var every time.Duration
			due := began
			if pace > 0 {
				every = time.Duration(float64(n) / pace * float64(time.Second))
				due = due.Add(rand.N(every))
			}
			for {
				now := time.Now()
				if wait := due.Sub(now); wait > 0 {
					time.Sleep(wait) //nolint:forbidigo // a rate is kept by the clock of the machine
					now = time.Now()
				}
				if now.Sub(began) >= lasts {
					return
				}
				if errs[w] = send(w, number.Add(1)-1); errs[w] != nil {
					return
				}
				// With a pace a message's time begins when it was due: what a slow one holds up counts, too.
				from := now
				if every > 0 {
					from = due
					due = due.Add(every)
				}
				took[w] = append(took[w], time.Since(from))
			}
		})
	}
	wg.Wait()
	p.Wall, p.CPU = time.Since(began), CPU()-cpu
	for _, err := range errs {
		if err != nil && !errors.Is(err, ErrOver) {
			return p, err
		}
	}
	p.Took = slices.Concat(took...)
	slices.Sort(p.Took)
	return p, nil
}
