package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/samples"
	"penstock.dev/penstock/internal/flowtest"
)

// TestDraft is a test that was made of messages that were seen.
type TestDraft = flowtest.Drafted

// DraftTest makes a Test of messages that [Service.Dev] has kept. Each is named by the id of its sample (orders#17), or by that of the message
// (orders.csv:17), of which the newest sample is taken; all must be of one flow. They are sent in the order of ids. The test is meant for a
// file at path; it passes. The error is an *[InvalidConfig] where the configuration is wrong.
func (s *Service) DraftTest(ctx context.Context, p Project, ids []string, path string) (*TestDraft, error) {
	d := flowtest.Draft{Path: path}
	for _, id := range ids {
		sample, err := s.sampleOf(id)
		if err != nil {
			return nil, err
		}
		if d.Flow == "" {
			_, n, _ := strings.Cut(sample.ID, "#")
			d.Flow, d.Name = sample.Flow, sample.Flow+"-"+n
		}
		if sample.Flow != d.Flow {
			return nil, &penstock.Error{Code: penstock.Invalid, Op: "test", Path: id, Err: fmt.Errorf("it was seen in flow %s, and %s in flow %s", sample.Flow, ids[0], d.Flow), Hint: "a test is about one flow"}
		}
		seen, err := seenOf(sample)
		if err != nil {
			return nil, err
		}
		d.Seen = append(d.Seen, seen)
		d.Comment = append(d.Comment, commentOf(sample))
	}
	out, err := d.Write(ctx, flowtest.Options{
		Paths: p.paths(), Overlay: p.Overlay, FS: s.FS, Registry: s.Registry, Params: p.Params, ParamFiles: p.ParamFiles, Integration: p.Integration, AllowExec: p.AllowExec,
	})
	var invalid *flowtest.Invalid
	if errors.As(err, &invalid) {
		e := &InvalidConfig{Findings: distinct(invalid.Findings.Sorted())}
		e.Errors, e.Warnings = tally(e.Findings)
		return nil, e
	}
	return out, err
}

// sampleOf finds a sample by its id, or by that of its message.
func (s *Service) sampleOf(id string) (*Sample, error) {
	if flow, n, ok := strings.Cut(id, "#"); ok && flow != "" {
		if _, err := strconv.Atoi(n); err == nil {
			return s.Sample(id)
		}
	}
	all, err := s.Samples("")
	if err != nil {
		return nil, err
	}
	var flows []string
	var found *Sample
	for i := range all { // the oldest first
		if all[i].Message == id {
			found = &all[i]
			if !slices.Contains(flows, found.Flow) {
				flows = append(flows, found.Flow)
			}
		}
	}
	switch {
	case found == nil:
		return nil, &penstock.Error{Code: penstock.NotFound, Op: "test", Path: id, Err: errors.New("no message of this id was kept"), Hint: "penstock samples lists those that were; penstock dev keeps some"}
	case len(flows) > 1:
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "test", Path: id, Err: fmt.Errorf("the message was seen in %s", strings.Join(flows, " and ")), Hint: "give the id of a sample, as penstock samples lists them"}
	}
	return found, nil
}

// seenOf is a sample as a test is made of it.
func seenOf(s *Sample) (flowtest.Seen, error) {
	unfit := func(what, hint string) error {
		return &penstock.Error{Code: penstock.Unprocessable, Op: "test", Path: s.ID, Err: errors.New(what), Hint: hint}
	}
	switch {
	case s.Input == nil || s.Source == 0:
		return flowtest.Seen{}, unfit("a step of the flow made the message of others", "make the test of those that came into the flow: penstock samples "+s.Flow)
	case s.Input.Cut:
		return flowtest.Seen{}, unfit("its body was too large to be kept", "write a test that sends a file")
	}
	out := flowtest.Seen{ID: s.ID, Source: s.Source, Body: s.Input.Body, Meta: s.Input.Meta, Request: s.Request}
	for _, a := range s.Answers {
		own := flowtest.SeenAnswer{Step: a.Step, Asked: a.Asked, Text: a.Text}
		switch {
		case a.Error != nil:
			own.Code = *a.Error
		case !a.Cut:
			own.Reply = a.Body
		}
		out.Answers = append(out.Answers, own)
	}
	for _, e := range s.Ends {
		out.Grouped = out.Grouped || e.What == "grouped"
		if (e.What == "dead" || e.What == "refused") && e.Error != nil {
			out.Failed, out.Step, out.Code = true, e.Step, *e.Error
		}
	}
	return out, nil
}

// commentOf says where a test came from.
func commentOf(s *samples.Sample) string {
	line := fmt.Sprintf("Sample %s: message %s, seen %s", s.ID, s.Message, s.Time.UTC().Format(time.RFC3339))
	for _, e := range s.Ends {
		if e.Error != nil {
			return line + "; it failed then: " + strings.Join(strings.Fields(e.Text), " ")
		}
	}
	return line + "."
}
