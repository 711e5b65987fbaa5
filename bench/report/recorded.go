package report

// Recorded is a figure of the peer that was measured at another time, shown where the peer is
// not run beside ours. A ratio with it is no proof: it is labelled "not paired".
type Recorded struct {
	PerSecond float64 // messages
	CPU       string  // microseconds a message
}

// RecordedOn says where the recorded figures come from.
const RecordedOn = "Redpanda Connect (Benthos core), an earlier session on a machine of this kind (2 cores)"

// recorded is by the name of the case.
var recorded = map[string]Recorded{
	"file-json": {34_700, "33–38"},
	"generate":  {74_500, "12.6–16"},
}
