package plan

import (
	"time"

	"penstock.dev/penstock"
)

// HTTP is the listener that a plan's servers of HTTP are mounted on.
type HTTP struct {
	Address        string // host:port
	TLS            *HTTPTLS
	Header         time.Duration // bounds of what peers may take; see the Integration
	Body           time.Duration
	Write          time.Duration
	Idle           time.Duration
	MaxHeader      int
	MaxConnections int
	Pos            penstock.Pos
}

// HTTPTLS is what an HTTPS listener shows and asks for, in PEM.
type HTTPTLS struct {
	Certificate penstock.Secret
	PrivateKey  penstock.Secret
	ClientCA    penstock.Secret
	ClientAuth  string // none, request, require; "" require with a ClientCA, else none
}

// Control is the port on which a process says how it is, and is operated.
type Control struct {
	Address string           // host:port; "": there is none
	Token   *penstock.Secret // what callers show; nil: none
	TLS     *HTTPTLS         // nil: it is HTTP
}

// Routed lists the endpoints that are reached over the listener.
func (p *Plan) Routed() []*Endpoint {
	var out []*Endpoint
	for _, f := range p.Flows {
		for _, ep := range f.Sources {
			if _, ok := ep.Config.(penstock.Routed); ok && ep.Server != nil {
				out = append(out, ep)
			}
		}
	}
	return out
}
