package jobs

import (
	"penstock.dev/penstock/internal/store"
)

// Find looks for a job, wherever it stands; nil where there is none.
func (q *Queue) Find(st store.State, id string) (*Job, error) {
	j, _, _, err := q.find(st, id)
	return j, err
}

func (q *Queue) find(st store.State, id string) (j *Job, space string, key []byte, err error) {
	for _, s := range []string{q.held, q.wait, q.done} {
		e, found, err := st.Get(s, []byte(id))
		if err != nil {
			return nil, "", nil, err
		}
		if found {
			j, err := parseJob(e.Value)
			return j, s, e.Key, err
		}
	}
	for _, s := range []string{q.ready, q.block} {
		var after []byte
		for {
			page, err := st.Scan(s, after, 1000)
			if err != nil {
				return nil, "", nil, err
			}
			for _, e := range page {
				j, err := parseJob(e.Value)
				if err != nil {
					return nil, "", nil, q.damaged(s, e.Key, err)
				}
				if j.ID == id {
					return j, s, e.Key, nil
				}
			}
			if len(page) < 1000 {
				break
			}
			after = page[len(page)-1].Key
		}
	}
	return nil, "", nil, nil
}

// Look is what a queue shows of itself.
type Look struct {
	Counts
	Paused bool  `json:"paused"`
	Oldest int64 `json:"-"` // when the job became ready that is claimed next, Unix nanoseconds; 0: none is ready
}

// Look counts.
func (q *Queue) Look(st store.State) (Look, error) {
	e, _, err := st.Get(q.self, headKey)
	if err != nil {
		return Look{}, err
	}
	h, err := parseHead(e.Value)
	if err != nil {
		return Look{}, q.damaged(q.self, headKey, err)
	}
	out := Look{Counts: h.Counts, Paused: h.paused}
	first, err := st.Scan(q.ready, nil, 1)
	if err != nil || len(first) == 0 {
		return out, err
	}
	j, err := parseJob(first[0].Value)
	if err != nil {
		return out, q.damaged(q.ready, first[0].Key, err)
	}
	out.Oldest = j.At
	return out, nil
}

// List lists up to limit jobs that stand in a state, in the order in which they are claimed, or are due, or of their ids.
func (q *Queue) List(st store.State, s State, limit int) ([]*Job, error) {
	space := map[State]string{Ready: q.ready, Delayed: q.wait, Blocked: q.block, Leased: q.held, Done: q.done, Dead: q.done}[s]
	var found []store.Entry
	var err error
	switch s {
	case Delayed, Leased:
		found, err = st.Due(space, 1<<63-1, limit)
	default:
		found, err = st.Scan(space, nil, limit)
	}
	if err != nil {
		return nil, err
	}
	out := make([]*Job, 0, len(found))
	for _, e := range found {
		j, err := parseJob(e.Value)
		if err != nil {
			return nil, q.damaged(space, e.Key, err)
		}
		if j.state == s {
			out = append(out, j)
		}
	}
	return out, nil
}
