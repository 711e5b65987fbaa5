package report

// Recorded is a figure of the peer that was measured at another time, shown where the peer is
// not run beside ours. A ratio with it is no proof: it is labelled "not paired".
type Recorded struct {
	From      string  // which session
	PerSecond float64 // messages
	CPU       string  // microseconds a message
}

const (
	early = "early record"
	best  = "record with its best settings"
)

// RecordedOn says where the recorded figures come from.
const RecordedOn = early + ": Redpanda Connect on a machine of this kind, configuration not known. " +
	best + ": Benthos v4.76.0, AMD EPYC, 2 cores, Go 1.26.8, configurations in cases/peer, see README.md"

// recorded is by the name of the case.
var recorded = map[string][]Recorded{
	"file-json": {{early, 34_700, "33–38"}, {best, 80_699, "20.5"}},
	"file-csv":  {{best, 245_158, "6.9"}},
	"generate":  {{early, 74_500, "12.6–16"}, {best, 235_394, "7.5"}},
}
