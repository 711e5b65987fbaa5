package flowtest

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteText writes the report for people: a line for each test, what is wrong below it, and a
// line that counts. It holds no times, so that the same result gives the same text.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for i := range r.Cases {
		c := &r.Cases[i]
		word := "ok  "
		if !c.Passed {
			word = "FAIL"
		}
		fmt.Fprintf(&b, "%s  %s (%s)\n", word, c.Name, c.Flow)
		for _, f := range c.Failures {
			fmt.Fprintf(&b, "      %s: %s\n", f.Pos, f.Message)
			indent(&b, f.Diff, "          ")
		}
		c.Crashes.write(&b)
	}
	for i := range r.Coverage {
		r.Coverage[i].write(&b)
	}
	for _, f := range r.Updated {
		fmt.Fprintf(&b, "updated %s\n", f)
	}
	switch failed := r.Failed(); {
	case len(r.Cases) == 0:
		b.WriteString("no tests\n")
	case failed == 0:
		fmt.Fprintf(&b, "%s passed\n", plural(len(r.Cases), "test"))
	default:
		fmt.Fprintf(&b, "%d of %s failed\n", failed, plural(len(r.Cases), "test"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// write says what came of the mishaps.
func (c *Crashes) write(b *strings.Builder) {
	switch {
	case c == nil:
		return
	case c.Skipped != "":
		fmt.Fprintf(b, "      no mishaps were tried: %s\n", c.Skipped)
		return
	}
	fmt.Fprintf(b, "      %s, held to %s\n", plural(c.Runs, "mishap"), c.Delivery)
	for _, s := range c.Twice {
		fmt.Fprintf(b, "      may happen twice: %s\n", s)
	}
	for _, s := range c.Lost {
		fmt.Fprintf(b, "      may be lost: %s\n", s)
	}
}

// write says how much was reached, and what not.
func (c *Coverage) write(b *strings.Builder) {
	fmt.Fprintf(b, "cover %s: steps %s, branches %s, expressions %s\n", c.Flow, c.Steps, c.Branches, c.Expressions)
	for _, m := range c.Missed {
		what := "no test comes to the step " + m.Text
		switch {
		case m.Want != "":
			what = fmt.Sprintf("never %s: %s", m.Want, m.Text)
		case m.What == "expression":
			what = "never evaluated: " + m.Text
		}
		fmt.Fprintf(b, "      %s: %s\n", m.Pos, what)
	}
}

// String is like "3 of 4 (75%)".
func (s Share) String() string {
	return fmt.Sprintf("%d of %d (%d%%)", s.Reached, s.Total, s.Percent())
}

func indent(b *strings.Builder, text, by string) {
	for line := range strings.Lines(text) {
		b.WriteString(by)
		b.WriteString(strings.TrimSuffix(line, "\n"))
		b.WriteByte('\n')
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// WriteJSON writes the report as one JSON document: {tests, elapsed, passed, failed, updated}, times
// in seconds.
func (r *Report) WriteJSON(w io.Writer) error {
	type jsonCase struct {
		Case
		Elapsed float64 `json:"elapsed"`
	}
	out := struct {
		Tests    []jsonCase `json:"tests"`
		Coverage []Coverage `json:"coverage,omitempty"`
		Passed   int        `json:"passed"`
		Failed   int        `json:"failed"`
		Elapsed  float64    `json:"elapsed"`
		Updated  []string   `json:"updated,omitempty"`
	}{Tests: []jsonCase{}, Passed: len(r.Cases) - r.Failed(), Failed: r.Failed(), Elapsed: r.Elapsed.Seconds(), Updated: r.Updated, Coverage: r.Coverage}
	for _, c := range r.Cases {
		out.Tests = append(out.Tests, jsonCase{c, c.Elapsed.Seconds()})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
	elapsed  time.Duration
}

type junitCase struct {
	Name     string         `xml:"name,attr"`
	Class    string         `xml:"classname,attr"`
	File     string         `xml:"file,attr,omitempty"`
	Line     int            `xml:"line,attr,omitempty"`
	Time     string         `xml:"time,attr"`
	Failures []junitFailure `xml:"failure"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as JUnit XML, a test suite for each flow, as CI systems read it.
func (r *Report) WriteJUnit(w io.Writer) error {
	out := junitSuites{Tests: len(r.Cases), Failures: r.Failed(), Time: seconds(r.Elapsed)}
	at := map[string]int{}
	for i := range r.Cases {
		c := &r.Cases[i]
		n, ok := at[c.Flow]
		if !ok {
			n = len(out.Suites)
			at[c.Flow] = n
			out.Suites = append(out.Suites, junitSuite{Name: c.Flow})
		}
		s := &out.Suites[n]
		s.Tests++
		s.elapsed += c.Elapsed
		jc := junitCase{Name: c.Name, Class: c.Flow, File: c.Pos.File, Line: c.Pos.Line, Time: seconds(c.Elapsed)}
		if !c.Passed {
			s.Failures++
			var text strings.Builder
			for _, f := range c.Failures {
				fmt.Fprintf(&text, "%s: %s\n", f.Pos, f.Message)
				indent(&text, f.Diff, "    ")
			}
			jc.Failures = []junitFailure{{Message: c.Failures[0].Message, Text: text.String()}}
		}
		s.Cases = append(s.Cases, jc)
	}
	for i := range out.Suites {
		out.Suites[i].Time = seconds(out.Suites[i].elapsed)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
