package flowtest_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/flowtest"
)

func sample() *flowtest.Report {
	return &flowtest.Report{
		Elapsed: 1500 * time.Millisecond, Updated: []string{"x.jsonl"},
		Cases: []flowtest.Case{
			{Name: "good", Flow: "a", Pos: penstock.Pos{File: "t.yaml", Line: 3, Col: 1}, Passed: true, Elapsed: 2 * time.Millisecond},
			{Name: "bad", Flow: "a", Pos: penstock.Pos{File: "t.yaml", Line: 9, Col: 1}, Failures: []flowtest.Failure{
				{Pos: penstock.Pos{File: "t.yaml", Line: 12, Col: 7}, Message: "channel x: <wrong> & \"worse\"", Diff: "a: expected 1, found 2\nb\n"},
				{Pos: penstock.Pos{File: "t.yaml", Line: 13, Col: 7}, Message: "second"},
			}},
			{Name: "other", Flow: "b", Passed: true},
		},
	}
}

func TestWriteText(t *testing.T) {
	var b strings.Builder
	if err := sample().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := `ok    good (a)
FAIL  bad (a)
      t.yaml:12:7: channel x: <wrong> & "worse"
          a: expected 1, found 2
          b
      t.yaml:13:7: second
ok    other (b)
updated x.jsonl
1 of 3 tests failed
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
	b.Reset()
	if err := (&flowtest.Report{}).WriteText(&b); err != nil || b.String() != "no tests\n" {
		t.Errorf("%q %v", b.String(), err)
	}
}

func TestWriteJSON(t *testing.T) {
	var b strings.Builder
	if err := sample().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Tests []struct {
			Name, Flow string
			Passed     bool
			Elapsed    float64
			Position   penstock.Pos
			Failures   []struct {
				Position      penstock.Pos
				Message, Diff string
			}
		}
		Passed, Failed int
		Elapsed        float64
		Updated        []string
	}
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatal(err)
	}
	if got.Passed != 2 || got.Failed != 1 || got.Elapsed != 1.5 || len(got.Tests) != 3 || got.Updated[0] != "x.jsonl" {
		t.Errorf("%+v", got)
	}
	if c := got.Tests[0]; c.Name != "good" || c.Elapsed != 0.002 || c.Position.Line != 3 {
		t.Errorf("%+v", c)
	}
	if f := got.Tests[1].Failures[0]; f.Position.Line != 12 || f.Message != `channel x: <wrong> & "worse"` || f.Diff == "" {
		t.Errorf("%+v", f)
	}
	b.Reset()
	if err := (&flowtest.Report{}).WriteJSON(&b); err != nil || !strings.Contains(b.String(), `"tests": []`) {
		t.Errorf("%s %v", b.String(), err)
	}
}

func TestWriteJUnit(t *testing.T) {
	var b strings.Builder
	if err := sample().WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		XMLName  xml.Name `xml:"testsuites"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Suites   []struct {
			Name     string `xml:"name,attr"`
			Tests    int    `xml:"tests,attr"`
			Failures int    `xml:"failures,attr"`
			Time     string `xml:"time,attr"`
			Cases    []struct {
				Name     string `xml:"name,attr"`
				Class    string `xml:"classname,attr"`
				Line     int    `xml:"line,attr"`
				Failures []struct {
					Message string `xml:"message,attr"`
					Text    string `xml:",chardata"`
				} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 3 || got.Failures != 1 || len(got.Suites) != 2 || got.Suites[0].Tests != 2 || got.Suites[0].Failures != 1 || got.Suites[0].Time != "0.002" {
		t.Errorf("%+v", got)
	}
	bad := got.Suites[0].Cases[1]
	if bad.Name != "bad" || bad.Class != "a" || bad.Line != 9 || len(bad.Failures) != 1 || bad.Failures[0].Message != `channel x: <wrong> & "worse"` ||
		!strings.Contains(bad.Failures[0].Text, "a: expected 1, found 2") || !strings.Contains(bad.Failures[0].Text, "t.yaml:13:7: second") {
		t.Errorf("%+v", bad)
	}
}

func TestWrongConfigurationIsAnError(t *testing.T) {
	dir := folder(t, map[string]string{"x.yaml": "apiVersion: penstock.dev/v1alpha1\nkind: Flow\nmetadata: { name: a }\nspec: { from: { nosuch: {} } }\n"})
	_, err := flowtest.Run(context.Background(), flowtest.Options{Paths: []string{dir}, Registry: registry()})
	var invalid *flowtest.Invalid
	if !errors.As(err, &invalid) || penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("%v", err)
	}
}

func TestStoppedTestsFail(t *testing.T) {
	files, _ := archive(t, "testdata/passing.txtar")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r, err := flowtest.Run(ctx, flowtest.Options{Paths: []string{folder(t, files)}, Registry: registry()})
	if err != nil || r.Passed() || !strings.Contains(r.Cases[0].Failures[0].Message, "stopped") {
		t.Errorf("%+v %v", r, err)
	}
}
