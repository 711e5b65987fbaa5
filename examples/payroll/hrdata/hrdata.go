// Package hrdata makes extracts of a personnel system: the same people as of two days, some of whom have joined, left, or have
// another job, department or pay in between.
package hrdata

import (
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
)

// Employee is a row of an extract. Rate is in ten-thousandths of a dollar an hour.
type Employee struct {
	ID         int
	NationalID string
	Title      string
	Department string
	HireDate   string // 2006-01-02
	Rate       int64
	Frequency  int // 1 monthly, 2 every two weeks
}

// Header names the columns of an extract.
var Header = []string{"EmployeeID", "NationalID", "JobTitle", "Department", "HireDate", "Rate", "PayFrequency"}

// Write writes an extract as CSV.
func Write(w io.Writer, people []Employee) error {
	c := csv.NewWriter(w)
	if err := c.Write(Header); err != nil {
		return err
	}
	for _, e := range people {
		if err := c.Write([]string{strconv.Itoa(e.ID), e.NationalID, e.Title, e.Department, e.HireDate, Rate(e.Rate), strconv.Itoa(e.Frequency)}); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// Rate writes an amount of ten-thousandths: 45.0000.
func Rate(r int64) string { return fmt.Sprintf("%d.%04d", r/10000, r%10000) }

// Total is the sum of all rates.
func Total(people []Employee) int64 {
	var sum int64
	for _, e := range people {
		sum += e.Rate
	}
	return sum
}

// Compare counts what is different in the second extract.
func Compare(first, second []Employee) (joined, left, changed int) {
	before := map[int]Employee{}
	for _, e := range first {
		before[e.ID] = e
	}
	for _, e := range second {
		switch old, ok := before[e.ID]; {
		case !ok:
			joined++
		case old != e:
			changed++
		}
		delete(before, e.ID)
	}
	return joined, len(before), changed
}

var titles = []struct {
	title, department string
	rate              int64
}{
	{"Design Engineer", "Engineering", 32_6923}, {"Tool Designer", "Tool Design", 25_0000}, {"Buyer", "Purchasing", 18_2692},
	{"Marketing Assistant", "Marketing", 13_4615}, {"Production Technician", "Production", 12_4500}, {"Stocker", "Shipping and Receiving", 9_0000},
	{"Accountant", "Finance", 26_4423}, {"Recruiter", "Human Resources", 18_2692},
}

// Extracts makes the extracts of two days; the same seed gives the same. n is how many people are in the first; about
// one in twenty-five leaves, one in ten changes, and as many join as leave, and a few more.
func Extracts(seed uint64, n int) (first, second []Employee) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	person := func(id int, year int) Employee {
		t := titles[rnd.IntN(len(titles))]
		return Employee{ID: id, NationalID: fmt.Sprintf("%09d", 100_000_000+rnd.IntN(900_000_000)), Title: t.title, Department: t.department,
			HireDate: fmt.Sprintf("%d-%02d-%02d", year, 1+rnd.IntN(12), 1+rnd.IntN(28)), Rate: t.rate + int64(rnd.IntN(50))*1000, Frequency: 1 + rnd.IntN(2)}
	}
	for id := 1; id <= n; id++ {
		first = append(first, person(id, 2010+rnd.IntN(14)))
	}
	for _, e := range first {
		switch roll := rnd.IntN(100); {
		case roll < 4:
			continue
		case roll < 10:
			e.Rate += e.Rate / 20
		case roll < 14:
			t := titles[rnd.IntN(len(titles))]
			e.Title, e.Department = t.title, t.department
		}
		second = append(second, e)
	}
	for id := n + 1; id <= n+n/20+1; id++ {
		second = append(second, person(id, 2025))
	}
	return first, second
}
