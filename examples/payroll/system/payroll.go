// Command system is a payroll system for examples/payroll: what one would have to speak to. It keeps people in memory.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"penstock.dev/penstock/examples/payroll/hrdata"
)

// employee is what the payroll system keeps of a person.
type employee struct {
	ID         int    `json:"id"`
	NationalID string `json:"nationalId"`
	Title      string `json:"title"`
	Department string `json:"department"`
	Rate       string `json:"rate"` // dollars an hour, with up to four places
}

// payroll keeps people in memory. It is safe for concurrent use.
type payroll struct {
	mu     sync.Mutex
	people map[int]employee
	keys   map[string]employee // requests that were done, by their Idempotency-Key
	asked  int                 // requests that changed something, or wanted to
}

func newPayroll() *payroll { return &payroll{people: map[int]employee{}, keys: map[string]employee{}} }

// handler serves POST /employees, PUT and DELETE /employees/{id}, and GET /totals.
func (p *payroll) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /employees", p.join)
	mux.HandleFunc("PUT /employees/{id}", p.change)
	mux.HandleFunc("DELETE /employees/{id}", p.leave)
	mux.HandleFunc("GET /totals", p.totals)
	return mux
}

// join takes somebody on. The same request with the same Idempotency-Key is done once.
func (p *payroll) join(w http.ResponseWriter, r *http.Request) {
	e, ok := read(w, r)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	key := r.Header.Get("Idempotency-Key")
	if before, done := p.keys[key]; done && key != "" {
		if before != e {
			problem(w, http.StatusUnprocessableEntity, "the key was used for another request")
			return
		}
		w.WriteHeader(http.StatusCreated)
		return
	}
	if _, there := p.people[e.ID]; there {
		problem(w, http.StatusConflict, fmt.Sprintf("%d is there already", e.ID))
		return
	}
	p.people[e.ID] = e
	if key != "" {
		p.keys[key] = e
	}
	w.WriteHeader(http.StatusCreated)
}

func (p *payroll) change(w http.ResponseWriter, r *http.Request) {
	e, ok := read(w, r)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if id, err := strconv.Atoi(r.PathValue("id")); err != nil || id != e.ID {
		problem(w, http.StatusBadRequest, "the path names somebody else")
		return
	}
	if _, there := p.people[e.ID]; !there {
		problem(w, http.StatusNotFound, fmt.Sprintf("%d is not there", e.ID))
		return
	}
	p.people[e.ID] = e
	w.WriteHeader(http.StatusNoContent)
}

// leave lets somebody go; who is gone already is no error.
func (p *payroll) leave(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		problem(w, http.StatusBadRequest, "the id is a number")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	delete(p.people, id)
	w.WriteHeader(http.StatusNoContent)
}

func (p *payroll) totals(w http.ResponseWriter, _ *http.Request) {
	n, sum := p.sum()
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"headcount":%d,"hourly":"%s"}`, n, hrdata.Rate(sum)) // who asked may have gone
}

func (p *payroll) sum() (n int, rates int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.people {
		r, _ := rate(e.Rate) // it was read before
		rates += r
	}
	return len(p.people), rates
}

func read(w http.ResponseWriter, r *http.Request) (employee, bool) {
	var e employee
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	d.DisallowUnknownFields()
	err := d.Decode(&e)
	if err == nil {
		_, err = rate(e.Rate)
	}
	if err == nil && (e.ID <= 0 || e.NationalID == "" || e.Title == "" || e.Department == "") {
		err = errors.New("id, nationalId, title and department must be there")
	}
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return e, false
	}
	return e, true
}

// rate reads dollars with up to four places as ten-thousandths.
func rate(s string) (int64, error) {
	whole, part, _ := strings.Cut(s, ".")
	if len(part) > 4 || whole == "" {
		return 0, fmt.Errorf("%q is no rate", s)
	}
	n, err := strconv.ParseInt(whole+part+strings.Repeat("0", 4-len(part)), 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is no rate", s)
	}
	return n, nil
}

// problem answers as RFC 9457 has it.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail}) // who asked may have gone
}
