package jobs

import (
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
)

// bury makes a dead letter of a job that was held.
func (c *change) bury(j *Job) error {
	c.h.Dead++
	rec, err := c.letter(j)
	if err != nil {
		return err
	}
	if !mutation.On("job-dies-silently") {
		if _, err := c.tx.Append(c.q.dead, store.Bundle{N: 1, Data: store.AppendFrame(nil, rec), MinTime: c.now, MaxTime: c.now}); err != nil {
			return err
		}
	}
	if err := c.over(j, Dead); err != nil {
		return err
	}
	return c.left(j)
}

// letter is the dead letter of a job: its message, with why and after how many tries.
func (c *change) letter(j *Job) ([]byte, error) {
	v, err := record.Parse(j.Record)
	if err != nil {
		return nil, c.q.damaged("job", []byte(j.ID), err)
	}
	str := penstock.StringValue
	d := v.Draft()
	d.Time = c.now
	d.Meta = append(d.Meta,
		penstock.MetaEntry{Name: "dead", Value: penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{
			{Key: str("code"), Value: str(j.Code)},
			{Key: str("message"), Value: str(j.Error)},
			{Key: str("step"), Value: str("job")},
			{Key: str("path"), Value: str("")},
			{Key: str("attempts"), Value: penstock.IntValue(int64(j.Attempts))},
			{Key: str("flow"), Value: str(c.q.Name)},
			{Key: str("origin"), Value: str(v.Origin())},
			{Key: str("entry"), Value: str("")},
			{Key: str("time"), Value: str(time.Unix(0, c.now).UTC().Format(time.RFC3339Nano))},
		}})},
		penstock.MetaEntry{Name: MetaJob, Value: penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{
			{Key: str("id"), Value: str(j.ID)},
			{Key: str("queue"), Value: str(c.q.Name)},
			{Key: str("priority"), Value: penstock.IntValue(int64(j.Priority))},
			{Key: str("attempt"), Value: penstock.IntValue(int64(j.Attempts))},
			{Key: str("worker"), Value: str(j.Worker)},
		}})})
	return d.Append(nil), nil
}

// MetaJob is the header in which a message that is a job says which one.
const MetaJob = "job"
