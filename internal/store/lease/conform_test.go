package lease_test

import (
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store/lease"
	"penstock.dev/penstock/internal/store/lease/conform"
	"penstock.dev/penstock/internal/store/memory"
)

// passing is a clock that stands still until it is moved.
type passing struct{ now atomic.Int64 }

func (c *passing) Now() time.Time { return time.Unix(0, c.now.Load()) }

func (c *passing) NewTimer(time.Duration) (<-chan time.Time, func()) { return nil, func() {} }

func TestConform(t *testing.T) {
	clock := &passing{}
	clock.now.Store(1)
	conform.Run(t, conform.Harness{
		Open: func(*testing.T) (a, b conform.Replica) {
			db := memory.NewParts(4)
			s := lease.InState(db, 4, clock)
			return conform.Replica{Role: s.For(), Store: db}, conform.Replica{Role: s.For(), Store: db}
		},
		Pass: func(d time.Duration) { clock.now.Add(int64(d)) },
	})
}
