package plan

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

// Broker is a channel that is on a broker. Flows read and write it by endpoints of the broker's driver, which name it.
type Broker struct {
	Channel string // its name
	Tech    string // kafka
	Queue   bool
	Groups  []string // who reads it, as the broker knows them
	Type    *types.Type
	Pos     penstock.Pos
	// Connection is the resource that it refers to; "" if none. ConnectionHash is as in an Endpoint.
	Connection     string
	ConnectionHash string
	// Hash covers what Topology depends on.
	Hash string
	// Topology looks after what it needs on the broker; nil: nothing.
	Topology penstock.Topology
}

// Resource names the channel that the endpoint reads or sends to, as it is written down: on a broker, in the store or in memory; "" where it is
// none. Channel is where the engine finds it, which may be an outbox.
func (e *Endpoint) Resource() string {
	if e.Broker != "" {
		return e.Broker
	}
	return e.Channel
}
