package operate

// Tried is what would become of dead letters now.
type Tried struct {
	Flows []TriedFlow `json:"flows"` // by name
}

// TriedFlow is one flow's part of a [Tried].
type TriedFlow struct {
	Flow  string `json:"flow"`
	Gone  bool   `json:"gone,omitempty"` // the configuration has no such flow: nothing was tried
	Count int64  `json:"count"`          // open dead letters
	Pass  int64  `json:"pass"`           // would reach the end of the steps, or a durable step
	// Calls counts those that came to a call, which is not made: how they end is not known.
	Calls []Reached `json:"calls"`
	// Rest are those that would fail again, by why.
	Rest []Cluster `json:"rest"`
}

// Reached counts dead letters that came to a step which is not done in a trial.
type Reached struct {
	Step  string `json:"step"`
	Count int64  `json:"count"`
}

// Tally gathers what became of the dead letters of one flow in a trial.
type Tally struct{ c *clusterer }

// NewTally makes an empty tally.
func NewTally() *Tally { return &Tally{newClusterer()} }

// Add counts a dead letter that fails again.
func (t *Tally) Add(flow, id string, r *Reason) { t.c.add(flow, id, r) }

// Clusters lists what was added, the largest cluster first.
func (t *Tally) Clusters() []Cluster { return t.c.result().Clusters }
