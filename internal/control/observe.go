package control

import (
	"penstock.dev/penstock/internal/observe/slo"
)

// Rules writes the Prometheus rules of the objectives that policies set for the flows of a checked configuration.
func (c *Checked) Rules() ([]byte, error) {
	p, err := c.selectFlows(nil)
	if err != nil {
		return nil, err
	}
	return slo.Rules(p)
}

// Dashboard writes a dashboard for Grafana of a checked configuration.
func (c *Checked) Dashboard() ([]byte, error) {
	p, err := c.selectFlows(nil)
	if err != nil {
		return nil, err
	}
	return slo.Dashboard(p)
}
