package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
)

// Bounds of what workers may ask.
const (
	maxWait    = time.Minute
	maxTake    = 256
	maxRequest = 8 << 20 // bytes of a request
	maxHeld    = 1024    // jobs that a request speaks of
	maxError   = 16 << 10
	maxAfter   = 366 * 24 * time.Hour
)

// takeRequest asks for jobs.
type takeRequest struct {
	Max     int    `json:"max"`
	WaitMS  int64  `json:"waitMs"`
	LeaseMS int64  `json:"leaseMs"`
	Worker  string `json:"worker"`
}

// read reads it from JSON. What is larger than a bound counts as that; what is less than nothing is refused.
func (q *takeRequest) read(body []byte) error {
	if err := strict(body, q); err != nil {
		return said("", err)
	}
	for _, f := range []struct {
		name  string
		value int64
	}{{"max", int64(q.Max)}, {"waitMs", q.WaitMS}, {"leaseMs", q.LeaseMS}} {
		if f.value < 0 {
			return fmt.Errorf("`%s` is %d, and must not be less than 0", f.name, f.value)
		}
	}
	if len(q.Worker) > maxError {
		return fmt.Errorf("`worker` is longer than %d bytes", maxError)
	}
	return nil
}

// held is a job in a request of who holds it.
type held struct {
	ID    string  `json:"id"`
	Epoch *uint64 `json:"epoch"`
}

func (h held) finish() (*Finish, error) {
	switch {
	case h.ID == "":
		return nil, errors.New("`id` is missing: that of the job, as the lease says it")
	case h.Epoch == nil:
		return nil, errors.New("`epoch` is missing: that of the job, as the lease says it")
	}
	return &Finish{ID: h.ID, Epoch: *h.Epoch}, nil
}

// beating is a job whose lease is extended.
type beating struct {
	held
	LeaseMS int64 `json:"leaseMs"`
}

func (h beating) finish() (*Finish, error) {
	f, err := h.held.finish()
	if err != nil {
		return nil, err
	}
	if h.LeaseMS < 0 {
		return nil, fmt.Errorf("`leaseMs` is %d, and must not be less than 0", h.LeaseMS)
	}
	f.Extend, f.Lease = true, milliseconds(h.LeaseMS)
	return f, nil
}

// completed is a job that is done.
type completed struct {
	held
	Result json.RawMessage `json:"result"`
}

func (h completed) finish() (*Finish, error) {
	f, err := h.held.finish()
	if err == nil {
		f.Result = h.Result
	}
	return f, err
}

// released is a job that goes back.
type released struct{ held }

func (h released) finish() (*Finish, error) {
	f, err := h.held.finish()
	if err == nil {
		f.Release = true
	}
	return f, err
}

// failed is a job that could not be done.
type failed struct {
	held
	Code    string `json:"code"`
	Error   string `json:"error"`
	Final   bool   `json:"final"`
	AfterMS *int64 `json:"afterMs"`
}

func (h failed) finish() (*Finish, error) {
	f, err := h.held.finish()
	if err != nil {
		return nil, err
	}
	f.Failed, f.Final, f.Error, f.Code = true, h.Final, cut(h.Error), penstock.Code(h.Code)
	if f.Code == "" {
		f.Code = penstock.Internal
	}
	if !slices.Contains(penstock.Codes(), f.Code) {
		return nil, fmt.Errorf("`code` is %q, and must be one of %s", h.Code, codes())
	}
	if h.AfterMS != nil {
		if *h.AfterMS < 0 || *h.AfterMS > maxAfter.Milliseconds() {
			return nil, fmt.Errorf("`afterMs` is %d, and must be from 0 to %d (366 days)", *h.AfterMS, maxAfter.Milliseconds())
		}
		f.After, f.AfterOK = milliseconds(*h.AfterMS), true
	}
	return f, nil
}

// codes lists the codes of errors.
func codes() string {
	var all []string
	for _, c := range penstock.Codes() {
		all = append(all, string(c))
	}
	return strings.Join(all, ", ")
}

// cut shortens what a worker says of a failure: it is stored with the job, and read by people.
func cut(text string) string {
	if len(text) <= maxError {
		return text
	}
	at := maxError
	for !utf8.RuneStart(text[at]) {
		at--
	}
	return text[:at] + "…"
}

// milliseconds is a time of so many, or the longest that there is.
func milliseconds(ms int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(min(ms, most)) * time.Millisecond
}

// readHeld reads a request about jobs that somebody holds.
func readHeld[T interface{ finish() (*Finish, error) }](body []byte) ([]*Finish, error) {
	var q struct {
		Jobs *[]T `json:"jobs"`
	}
	if err := strict(body, &q); err != nil {
		return nil, place[T](body, err)
	}
	switch {
	case q.Jobs == nil:
		return nil, errors.New("`jobs` is missing: a list of those that the request is about")
	case len(*q.Jobs) > maxHeld:
		return nil, fmt.Errorf("`jobs` has %d, and must have no more than %d: say it in several requests", len(*q.Jobs), maxHeld)
	}
	all := make([]*Finish, 0, len(*q.Jobs))
	for i := range *q.Jobs {
		f, err := (*q.Jobs)[i].finish()
		if err != nil {
			return nil, fmt.Errorf("jobs[%d]: %w", i, err)
		}
		all = append(all, f)
	}
	return all, nil
}

// strict reads one JSON value, of which every field must be known.
func strict(body []byte, into any) error {
	if string(bytes.TrimSpace(body)) == "null" { // which Decode would take for nothing said
		return &json.UnmarshalTypeError{Value: "null"}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if !mutation.On("job-pull-lenient") {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("something follows the value, at byte %d", d.InputOffset())
	}
	return nil
}

// place says of which job it is that a request could not be read; it reads the request once more.
func place[T any](body []byte, err error) error {
	var outer struct {
		Jobs []json.RawMessage `json:"jobs"`
	}
	if strict(body, &outer) == nil {
		for i, raw := range outer.Jobs {
			var one T
			if err := strict(raw, &one); err != nil {
				return said(fmt.Sprintf("jobs[%d]: ", i), err)
			}
		}
	}
	return said("", err)
}

// said puts what encoding/json says of a request into words for who wrote it.
func said(where string, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("%sthe body is no JSON: %w (at byte %d)", where, err, syntax.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%sthe body is no JSON: it ends too early", where)
	case errors.As(err, &kind) && kind.Field == "":
		return fmt.Errorf("%sit is of kind %s, and must be an object", where, kind.Value)
	case errors.As(err, &kind):
		field := strings.TrimPrefix(kind.Field, "held.") // of the type that all have in common
		return fmt.Errorf("%s`%s` is of kind %s, and must be of kind %s", where, field, kind.Value, kind.Type)
	}
	return fmt.Errorf("%s%s", where, strings.TrimPrefix(err.Error(), "json: "))
}
