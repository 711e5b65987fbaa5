package run

import (
	"time"

	"penstock.dev/penstock/internal/store/channel"
)

// From says where a run that keeps state begins to read: the zero From is where it stopped.
type From struct {
	// Start begins anew: channels with the oldest message that they hold, sources without any position.
	Start bool
	// Time begins with what came at that time or later, in channels; other sources go on where they stopped.
	Time time.Time
	// Position begins at a position, in channels.
	Position *int64
}

// anew says that the positions of sources don't count.
func (f From) anew() bool { return f.Start }

// start is the same for channels.
func (f From) start() channel.Start {
	switch {
	case f.Start:
		return channel.Beginning()
	case !f.Time.IsZero():
		return channel.At(f.Time)
	case f.Position != nil:
		return channel.Position(*f.Position)
	}
	return channel.Stored()
}
