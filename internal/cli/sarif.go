package cli

import (
	"net/url"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"penstock.dev/penstock/internal/control"
)

// sarifLog is the part of SARIF 2.1.0 (OASIS standard) that findings need; names are the standard's.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	ColumnKind string        `json:"columnKind"`
	Results    []sarifResult `json:"results"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	Version        string      `json:"version,omitempty"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID string `json:"id"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	RuleIndex int             `json:"ruleIndex"`
	Level     string          `json:"level"` // error, warning
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations,omitempty"`
}

type sarifLocation struct {
	Physical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region *sarifRegion `json:"region,omitempty"`
	} `json:"physicalLocation"`
}

type sarifRegion struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn,omitempty"`
	EndColumn   int `json:"endColumn,omitempty"` // behind the last character
}

// sarifOf makes a log of what a check found: one rule for each code.
func sarifOf(c *control.Checked, version string) sarifLog {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "penstock", Version: version, InformationURI: "https://penstock.dev", Rules: []sarifRule{}}
	src := &sources{}
	for _, f := range c.Findings {
		id := f.Code
		if id == "" {
			id = "finding"
		}
		at := slices.IndexFunc(run.Tool.Driver.Rules, func(r sarifRule) bool { return r.ID == id })
		if at < 0 {
			at = len(run.Tool.Driver.Rules)
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{id})
		}
		r := sarifResult{RuleID: id, RuleIndex: at, Level: string(f.Severity), Message: sarifText{f.Message}}
		if f.Hint != "" {
			r.Message.Text += " (" + f.Hint + ")"
		}
		if f.Pos.File != "" {
			var l sarifLocation
			l.Physical.Artifact.URI = (&url.URL{Path: filepath.ToSlash(f.Pos.File)}).String()
			if f.Pos.IsValid() {
				l.Physical.Region = &sarifRegion{StartLine: f.Pos.Line, StartColumn: f.Pos.Col}
				if line, ok := src.line(f.Pos.File, f.Pos.Line); ok {
					_, _, width := window(line, f.Pos.Col, f.Text)
					l.Physical.Region.EndColumn = min(f.Pos.Col+width, utf8.RuneCountInString(line)+1)
				}
			}
			r.Locations = []sarifLocation{l}
		}
		run.Results = append(run.Results, r)
	}
	return sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}
