package plan

import (
	"fmt"
	"strings"
	"time"

	"penstock.dev/penstock"
)

// Telemetry is what is recorded of messages, and where it goes.
type Telemetry struct {
	Service string          // the name that a tracing backend shows
	Traces  *Traces         // nil: the configuration does not ask for any
	Buckets []time.Duration // bounds of classic buckets; nil: the usual ones. Those of objectives are not among them
}

// Traces says where spans go.
type Traces struct {
	Endpoint string  // URL; "": OpenTelemetry's default
	Protocol string  // http/protobuf or grpc
	Ratio    float64 // of the messages, 0 to 1
	Limit    float64 // traces a second that begin here at most
}

// SLO is a service level objective.
type SLO struct {
	Policy    string          // that says it
	Objective float64         // share of the messages that go well, 0 to 1
	Window    time.Duration   // over which
	Codes     []penstock.Code // of the errors that count
	Threshold time.Duration   // of the latency; 0: none
	InTime    float64         // share of the messages that are within it
}

// String says the objective in one line.
func (s *SLO) String() string {
	codes := make([]string, len(s.Codes))
	for i, c := range s.Codes {
		codes[i] = string(c)
	}
	out := fmt.Sprintf("%s without %s in %s", penstock.Share(s.Objective), strings.Join(codes, " "), s.Window)
	if s.Threshold > 0 {
		out += fmt.Sprintf(", %s within %s", penstock.Share(s.InTime), s.Threshold)
	}
	return out + " [policy " + s.Policy + "]"
}
