package compile

import (
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// observe says what is recorded of messages, and what is expected of flows.
func (c *compiler) observe() {
	t := &plan.Telemetry{Service: "penstock"}
	c.plan.Telemetry = t
	if in := c.set.Integration(); in != nil {
		t.Service = in.Telemetry.Service
		for _, r := range c.set.Of(resource.KindIntegration) {
			if t.Service == "" && r.Spec == any(in) {
				t.Service = r.Name()
			}
		}
		for _, b := range in.Telemetry.Buckets {
			t.Buckets = append(t.Buckets, b.Std())
		}
		if tr := in.Telemetry.Traces; tr != nil {
			t.Traces = &plan.Traces{Endpoint: tr.Endpoint, Protocol: tr.Protocol, Ratio: float64(tr.Sample), Limit: tr.Limit.PerSecond()}
		}
		if in.Control != nil {
			c.plan.Control = plan.Control{Address: in.Control.Address, Token: in.Control.Token}
			if in.Control.Token != nil {
				c.wants(*in.Control.Token)
			}
			if t := in.Control.TLS; t != nil {
				c.wants(t.Certificate, t.PrivateKey, t.ClientCA)
				c.plan.Control.TLS = &plan.HTTPTLS{Certificate: t.Certificate, PrivateKey: t.PrivateKey, ClientCA: t.ClientCA, ClientAuth: t.ClientAuth}
			}
		}
	}
	for _, r := range c.set.Of(resource.KindFlow) {
		if f := c.plan.Flow(r.Name()); f != nil {
			f.SLO = c.objective(r, f)
		}
	}
}

// objective is what policies expect of a flow.
func (c *compiler) objective(r *resource.Resource, f *plan.Flow) *plan.SLO {
	p := c.prevailing("slo", r, c.policiesFor(r))
	if p == nil || p.policy.SLO == nil {
		return nil
	}
	s := p.policy.SLO
	out := &plan.SLO{Policy: p.from.Name(), Objective: float64(s.Objective), Window: s.Window.Std(), Codes: countedErrors(f)}
	if s.Errors != nil {
		out.Codes = nil
		for _, code := range s.Errors.Codes {
			out.Codes = append(out.Codes, penstock.Code(code))
		}
	}
	if l := s.Latency; l != nil {
		out.Threshold, out.InTime = l.Threshold.Std(), out.Objective
		if l.Has("objective") {
			out.InTime = float64(l.Objective)
		}
		if out.Threshold > longest {
			c.diags.Errorf(l.At("threshold"), "out-of-range", l.Threshold.String(), "", "durations are told apart up to %s", longest)
		}
	}
	return out
}

// longest is the longest duration that metrics tell apart from longer ones.
const longest = time.Hour

// countedErrors are the errors that count where nobody says which. Those of a caller are not the flow's.
func countedErrors(f *plan.Flow) []penstock.Code {
	serves := slices.ContainsFunc(f.Sources, func(s *plan.Endpoint) bool { return s.Server != nil })
	var out []penstock.Code
	for _, code := range penstock.Codes() {
		switch code {
		case penstock.Internal, penstock.Limited, penstock.Unavailable, penstock.Timeout:
			out = append(out, code)
		case penstock.Cancelled, penstock.Config: // the caller went away; no message fails with the other
		default:
			if !serves {
				out = append(out, code)
			}
		}
	}
	return out
}
