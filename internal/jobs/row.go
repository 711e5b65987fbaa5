package jobs

import (
	"encoding/binary"
	"errors"

	"penstock.dev/penstock/internal/record"
)

// State is where a job stands.
type State string

// The states of a job.
const (
	Ready   State = "ready"   // may be claimed
	Delayed State = "delayed" // for a time, or until its next try
	Blocked State = "blocked" // behind the limits of its key
	Leased  State = "leased"  // with a worker
	Done    State = "done"    // completed; kept for a while
	Dead    State = "dead"    // failed for good; kept for a while, and a message of the queue's dead letters
)

// Job is a job as it is stored. Times are Unix nanoseconds.
type Job struct {
	ID       string
	Number   uint64 // of the queue's, in the order of enqueuing: what makes it this job, and no later one of the same id
	Priority int    // from -100 to 100; higher goes first
	Key      string
	Unique   string // what it is unique by; "": nothing
	Created  int64
	At       int64 // when it became ready, or may run; of one that is leased, since when
	Attempts int   // claims so far
	Epoch    uint64
	Lease    int64  // until when it is held
	Worker   string // who holds it, or was the last to
	Error    string // of the try before
	Code     string // … and its code
	Record   []byte // the message, as package record has it
	Result   []byte // JSON, of a job that is done

	state  State
	turn   uint64 // in ready
	waited int64  // of one that was just claimed, since it was ready: nanoseconds; not stored
	admits bool   // counts as active of its key
}

// State is where the job stands.
func (j *Job) State() State { return j.state }

// jobVersion is the first byte of a stored job.
const jobVersion = 1

var errDamaged = errors.New("the stored job is damaged")

// bytes are the job as it is stored.
func (j *Job) bytes() []byte {
	dst := append(make([]byte, 0, 128+len(j.Record)), jobVersion)
	dst = text(dst, j.ID)
	dst = binary.AppendUvarint(dst, j.Number)
	dst = binary.AppendVarint(dst, int64(j.Priority))
	dst = text(dst, j.Key)
	dst = text(dst, j.Unique)
	dst = binary.AppendVarint(dst, j.Created)
	dst = binary.AppendVarint(dst, j.At)
	dst = binary.AppendUvarint(dst, uint64(j.Attempts)) //nolint:gosec // a count
	dst = binary.AppendUvarint(dst, j.Epoch)
	dst = binary.AppendVarint(dst, j.Lease)
	dst = text(dst, j.Worker)
	dst = text(dst, j.Error)
	dst = text(dst, j.Code)
	dst = text(dst, string(j.state))
	dst = binary.AppendUvarint(dst, j.turn)
	dst = binary.AppendUvarint(dst, uint64(len(j.Result)))
	dst = append(dst, j.Result...)
	return append(dst, j.Record...)
}

// parseJob reads what bytes wrote. Record and Result alias b.
func parseJob(b []byte) (*Job, error) {
	if len(b) == 0 || b[0] != jobVersion {
		return nil, errDamaged
	}
	r := reader{record.Fields{Rest: b[1:]}}
	j := &Job{}
	j.ID = r.text()
	j.Number = r.Uvarint()
	j.Priority = int(r.Varint())
	j.Key = r.text()
	j.Unique = r.text()
	j.Created = r.Varint()
	j.At = r.Varint()
	j.Attempts = int(r.Uvarint()) //nolint:gosec // a count
	j.Epoch = r.Uvarint()
	j.Lease = r.Varint()
	j.Worker = r.text()
	j.Error = r.text()
	j.Code = r.text()
	j.state = State(r.text())
	j.turn = r.Uvarint()
	j.Result = r.bytes()
	if r.Bad {
		return nil, errDamaged
	}
	j.Record = r.Rest
	return j, nil
}

func text(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// reader reads the fields of a row.
type reader struct{ record.Fields }

// bytes reads bytes; none are nil.
func (r *reader) bytes() []byte {
	if b := r.Bytes(); len(b) > 0 {
		return b
	}
	return nil
}

func (r *reader) text() string { return string(r.bytes()) }

// Counts are how many jobs of a queue stand where, and what became of those before.
type Counts struct {
	Ready     int64 `json:"ready"`
	Delayed   int64 `json:"delayed"`
	Blocked   int64 `json:"blocked"`
	Leased    int64 `json:"leased"`
	Enqueued  int64 `json:"enqueued"`  // ever
	Claimed   int64 `json:"claimed"`   // ever: tries
	Completed int64 `json:"completed"` // ever
	Failed    int64 `json:"failed"`    // ever: tries that failed, leases that ran out included
	Expired   int64 `json:"expired"`   // ever: leases that ran out
	Dead      int64 `json:"dead"`      // ever
	Cancelled int64 `json:"cancelled"` // ever
	Twins     int64 `json:"twins"`     // ever: not enqueued, for one that is the same was there
	Stale     int64 `json:"stale"`     // ever: refused, for the job had another holder by then, or none
}

// Unfinished is how many jobs are not over.
func (c *Counts) Unfinished() int64 { return c.Ready + c.Delayed + c.Blocked + c.Leased }

func (c *Counts) fields() []*int64 {
	return []*int64{&c.Ready, &c.Delayed, &c.Blocked, &c.Leased, &c.Enqueued, &c.Claimed, &c.Completed, &c.Failed, &c.Expired, &c.Dead, &c.Cancelled, &c.Twins, &c.Stale}
}

// head is what a queue knows of itself.
type head struct {
	Counts
	number uint64 // of the last job
	epoch  uint64 // of the last claim
	clock  int64  // of the last transaction that moved time
	due    int64  // nothing is due before; 0: nothing is due at all
	rate   int64  // the clock of the queue's rate
	paused bool
	turns  turns // by priority: that of the last claim
}

// turns are turns by priority, few enough for a list.
type turns []struct {
	priority int
	turn     uint64
}

func (t *turns) get(priority int) uint64 {
	for _, e := range *t {
		if e.priority == priority {
			return e.turn
		}
	}
	return 0
}

func (t *turns) set(priority int, turn uint64) {
	for i := range *t {
		if (*t)[i].priority == priority {
			(*t)[i].turn = turn
			return
		}
	}
	*t = append(*t, struct {
		priority int
		turn     uint64
	}{priority, turn})
}

func (t turns) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(t)))
	for _, e := range t {
		dst = binary.AppendVarint(dst, int64(e.priority))
		dst = binary.AppendUvarint(dst, e.turn)
	}
	return dst
}

func (r *reader) turns() (t turns) {
	n := r.Uvarint()
	r.Bad = r.Bad || n > 2*MaxPriority+1 // more than there are priorities
	for ; n > 0 && !r.Bad; n-- {
		t.set(int(r.Varint()), r.Uvarint())
	}
	return t
}

func (h *head) append(dst []byte) []byte {
	dst = append(dst, jobVersion)
	counts := h.fields()
	dst = binary.AppendUvarint(dst, uint64(len(counts)))
	for _, c := range counts {
		dst = binary.AppendVarint(dst, *c)
	}
	dst = binary.AppendUvarint(dst, h.number)
	dst = binary.AppendUvarint(dst, h.epoch)
	dst = binary.AppendVarint(dst, h.clock)
	dst = binary.AppendVarint(dst, h.due)
	dst = binary.AppendVarint(dst, h.rate)
	if h.paused {
		dst = append(dst, 1)
	} else {
		dst = append(dst, 0)
	}
	return h.turns.append(dst)
}

func parseHead(b []byte) (*head, error) {
	h := &head{}
	if len(b) == 0 {
		return h, nil
	}
	if b[0] != jobVersion {
		return nil, errDamaged
	}
	r := reader{record.Fields{Rest: b[1:]}}
	counts := h.fields()
	for i := range r.Uvarint() {
		if v := r.Varint(); i < uint64(len(counts)) {
			*counts[i] = v
		}
	}
	h.number, h.epoch = r.Uvarint(), r.Uvarint()
	h.clock, h.due, h.rate = r.Varint(), r.Varint(), r.Varint()
	h.paused = r.Uvarint() == 1
	h.turns = r.turns()
	if r.Bad {
		return nil, errDamaged
	}
	return h, nil
}

// lane is what a queue knows of a key that has unfinished jobs.
type lane struct {
	unfinished int64
	active     int64 // ready or held
	blocked    int64
	rate       int64 // the clock of the key's rate
	gated      bool  // an entry of gate lets the next one through
	turns      turns // by priority: that of its last job that is ready
}

func (l *lane) append(dst []byte) []byte {
	dst = append(dst, jobVersion)
	dst = binary.AppendVarint(dst, l.unfinished)
	dst = binary.AppendVarint(dst, l.active)
	dst = binary.AppendVarint(dst, l.blocked)
	dst = binary.AppendVarint(dst, l.rate)
	if l.gated {
		dst = append(dst, 1)
	} else {
		dst = append(dst, 0)
	}
	return l.turns.append(dst)
}

func parseLane(b []byte) (*lane, error) {
	if len(b) == 0 || b[0] != jobVersion {
		return nil, errDamaged
	}
	r := reader{record.Fields{Rest: b[1:]}}
	l := &lane{unfinished: r.Varint(), active: r.Varint(), blocked: r.Varint(), rate: r.Varint(), gated: r.Uvarint() == 1}
	l.turns = r.turns()
	if r.Bad {
		return nil, errDamaged
	}
	return l, nil
}
