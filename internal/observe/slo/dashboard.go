package slo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock/internal/plan"
)

// The pieces of Grafana's dashboard model that are used here (schema version 38, Grafana 10 and later).
type (
	dashboard struct {
		UID           string   `json:"uid"`
		Title         string   `json:"title"`
		Description   string   `json:"description"`
		Tags          []string `json:"tags"`
		SchemaVersion int      `json:"schemaVersion"`
		Refresh       string   `json:"refresh"`
		Time          span     `json:"time"`
		Templating    struct {
			List []variable `json:"list"`
		} `json:"templating"`
		Panels []*panel `json:"panels"`
	}
	span struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	variable struct {
		Name    string `json:"name"`
		Label   string `json:"label"`
		Type    string `json:"type"`
		Query   string `json:"query"`
		Refresh int    `json:"refresh"`
	}
	source struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}
	panel struct {
		ID          int         `json:"id"`
		Type        string      `json:"type"`
		Title       string      `json:"title"`
		Description string      `json:"description,omitempty"`
		Grid        grid        `json:"gridPos"`
		Datasource  *source     `json:"datasource,omitempty"`
		Targets     []target    `json:"targets,omitempty"`
		FieldConfig *fieldSet   `json:"fieldConfig,omitempty"`
		Options     *jsonObject `json:"options,omitempty"`
		Collapsed   *bool       `json:"collapsed,omitempty"`
		Panels      []*panel    `json:"panels,omitempty"`
	}
	grid struct {
		H int `json:"h"`
		W int `json:"w"`
		X int `json:"x"`
		Y int `json:"y"`
	}
	target struct {
		RefID      string `json:"refId"`
		Datasource source `json:"datasource"`
		Expr       string `json:"expr"`
		Legend     string `json:"legendFormat"`
		Instant    bool   `json:"instant,omitempty"`
	}
	fieldSet struct {
		Defaults  defaults `json:"defaults"`
		Overrides []any    `json:"overrides"`
	}
	defaults struct {
		Unit       string      `json:"unit"`
		Min        *float64    `json:"min,omitempty"`
		Max        *float64    `json:"max,omitempty"`
		Thresholds *jsonObject `json:"thresholds,omitempty"`
	}
	jsonObject map[string]any
)

var prometheus = source{Type: "prometheus", UID: "${datasource}"}

// query is a line of a panel.
type query struct{ expr, legend string }

// builder lays panels out, two or more to a line.
type builder struct {
	id   int
	x, y int
	out  []*panel
}

func (b *builder) next() int {
	b.id++
	return b.id
}

// panel adds one of width w and height 8.
func (b *builder) panel(kind, title, unit string, w int, help string, qs ...query) *panel {
	if b.x+w > 24 {
		b.x, b.y = 0, b.y+8
	}
	zero := 0.0
	p := &panel{ID: b.next(), Type: kind, Title: title, Description: help, Grid: grid{8, w, b.x, b.y}, Datasource: &prometheus,
		FieldConfig: &fieldSet{Defaults: defaults{Unit: unit, Min: &zero}, Overrides: []any{}}}
	for i, q := range qs {
		p.Targets = append(p.Targets, target{RefID: string(rune('A' + i)), Datasource: prometheus, Expr: q.expr, Legend: q.legend, Instant: kind == "stat"})
	}
	b.x += w
	b.out = append(b.out, p)
	return p
}

// line begins a line of panels.
func (b *builder) line() {
	if b.x > 0 {
		b.x, b.y = 0, b.y+8
	}
}

// open is how many flows may be shown at once; with more their rows are closed at first.
const open = 6

// Dashboard writes a dashboard of a plan for Grafana: what all flows do, and of each flow its rates, errors and latency, its objectives, what
// waits in the channels that it reads, its dead letters, and the breakers of the connections that it uses.
func Dashboard(p *plan.Plan) ([]byte, error) {
	d := &dashboard{
		UID: "penstock-" + clip(p.Telemetry.Service), Title: "Penstock: " + p.Telemetry.Service, Tags: []string{"penstock"}, SchemaVersion: 38, Refresh: "30s", Time: span{"now-6h", "now"},
		Description: "Written by `penstock observe dashboard` from the configuration. Changes are lost when it is written again.",
	}
	d.Templating.List = []variable{{Name: "datasource", Label: "Prometheus", Type: "datasource", Query: "prometheus", Refresh: 1}}
	b := &builder{}
	row(b, "Everything", false, overview)
	for _, f := range p.Flows {
		row(b, "Flow "+f.Name, len(p.Flows) > open, func(b *builder) { flow(b, p, f) })
	}
	d.Panels = b.out
	return json.MarshalIndent(d, "", "  ")
}

// row adds a row with its panels; a closed one holds them.
func row(b *builder, title string, closed bool, fill func(*builder)) {
	b.line()
	r := &panel{ID: b.next(), Type: "row", Title: title, Grid: grid{1, 24, 0, b.y}, Collapsed: &closed, Panels: []*panel{}}
	b.out = append(b.out, r)
	b.y++
	inner := &builder{id: b.id, y: b.y}
	fill(inner)
	inner.line()
	b.id, b.x = inner.id, 0
	if closed {
		r.Panels = inner.out
		return
	}
	b.y = inner.y
	b.out = append(b.out, inner.out...)
}

const window = "[$__rate_interval]"

func overview(b *builder) {
	b.panel("timeseries", "Messages", "mps", 8, "Messages that ended, by flow.", query{"sum by (flow) (rate(penstock_messages_processed_total" + window + "))", "{{flow}}"})
	b.panel("timeseries", "Failures", "mps", 8, "Messages that were dead-lettered, or answered with an error.", query{"sum by (flow, code) (rate(penstock_messages_failed_total" + window + ")) > 0", "{{flow}} {{code}}"})
	b.panel("timeseries", "In flight", "short", 8, "Messages that were read, and are not settled.", query{"sum by (flow) (penstock_messages_in_flight)", "{{flow}}"})
	b.line()
	b.panel("timeseries", "Lag", "short", 8, "Messages in channels that their readers have not done.", query{"sum by (channel, group) (penstock_channel_lag_messages)", "{{channel}} → {{group}}"})
	b.panel("timeseries", "Dead letters", "short", 8, "Open dead letters.", query{"sum by (flow) (penstock_dead_letters)", "{{flow}}"})
	b.panel("timeseries", "Commits", "s", 8, "How long the store takes to make messages durable.", quantiles("penstock_store_commit_duration_seconds", "")...)
	b.line()
	b.panel("timeseries", "Store", "bytes", 8, "", query{"sum(penstock_store_size_bytes)", "file"}, query{"sum(penstock_store_wal_bytes)", "write-ahead log"}, query{"min(penstock_store_disk_free_bytes)", "free on the disk"})
	b.panel("timeseries", "Memory and goroutines", "short", 8, "", query{"sum(process_resident_memory_bytes)", "resident bytes"}, query{"sum(go_goroutines)", "goroutines"})
	b.panel("timeseries", "Spans", "cps", 8, "", query{"sum(rate(penstock_spans_exported_total" + window + "))", "exported"}, query{"sum by (reason) (rate(penstock_spans_dropped_total" + window + "))", "dropped: {{reason}}"})
}

// quantiles asks for those of a histogram; labels are a selector's inside.
func quantiles(name, labels string) []query {
	var out []query
	for _, q := range []string{"0.5", "0.95", "0.99"} {
		// Classic buckets where there are some, else the native ones.
		out = append(out, query{fmt.Sprintf("histogram_quantile(%s, sum by (le) (rate(%s_bucket{%s}%s))) or histogram_quantile(%s, sum(rate(%s{%s}%s)))", q, name, labels, window, q, name, labels, window), "p" + strings.TrimPrefix(q, "0.")})
	}
	return out
}

func flow(b *builder, p *plan.Plan, f *plan.Flow) {
	of := fmt.Sprintf("flow=%q", f.Name)
	b.panel("timeseries", "Rates", "mps", 8, "", query{fmt.Sprintf("sum(rate(penstock_messages_read_total{%s}%s))", of, window), "read"}, query{fmt.Sprintf("sum by (outcome) (rate(penstock_messages_processed_total{%s}%s))", of, window), "{{outcome}}"})
	b.panel("timeseries", "Latency", "s", 8, "From when a message was read until everything made of it had ended.", quantiles("penstock_message_duration_seconds", of)...)
	b.panel("timeseries", "Errors by step", "cps", 8, "Tries that failed, whatever became of the message.", query{fmt.Sprintf("sum by (step, code) (rate(penstock_step_errors_total{%s}%s))", of, window), "{{step}} {{code}}"}, query{fmt.Sprintf("sum by (step) (rate(penstock_retries_total{%s}%s)) > 0", of, window), "{{step}} retries"})
	b.line()
	if f.SLO != nil {
		objective(b, f)
		b.line()
	}
	if names := channels(p, f); len(names) > 0 {
		sel := fmt.Sprintf("channel=~%q", strings.Join(names, "|"))
		b.panel("timeseries", "Lag", "short", 8, "", query{fmt.Sprintf("sum by (channel, group) (penstock_channel_lag_messages{%s})", sel), "{{channel}} → {{group}}"})
		b.panel("timeseries", "Age of the oldest message", "s", 8, "", query{fmt.Sprintf("max by (channel, group) (penstock_channel_oldest_message_age_seconds{%s})", sel), "{{channel}} → {{group}}"})
	}
	b.panel("timeseries", "Dead letters", "short", 8, "", query{fmt.Sprintf("sum(penstock_dead_letters{%s})", of), "open"})
	if names := connections(f); len(names) > 0 {
		sel := fmt.Sprintf("connection=~%q", strings.Join(names, "|"))
		b.panel("timeseries", "Breakers", "short", 8, "1 while a breaker is open, or lets probes through.",
			query{fmt.Sprintf(`max by (connection) (penstock_breaker_state{%s, state="open"})`, sel), "{{connection}} open"}, query{fmt.Sprintf(`max by (connection) (penstock_breaker_state{%s, state="halfOpen"})`, sel), "{{connection}} half open"})
		b.panel("timeseries", "Connections", "cps", 8, "", query{fmt.Sprintf("sum by (connection) (rate(penstock_connection_tries_total{%s}%s))", sel, window), "{{connection}} tries"}, query{fmt.Sprintf("sum by (connection, by) (rate(penstock_connection_refused_total{%s}%s)) > 0", sel, window), "{{connection}} refused by {{by}}"})
	}
	b.panel("timeseries", "Budget", "percentunit", 8, "How full the memory is that the flow may take; at 100 % its sources wait.", query{fmt.Sprintf("max(penstock_budget_messages{%s} / penstock_budget_messages_limit{%s})", of, of), "messages"}, query{fmt.Sprintf("max(penstock_budget_bytes{%s} / penstock_budget_limit_bytes{%s})", of, of), "bytes"})
}

// objective adds what is left of an error budget, and how fast it is used up.
func objective(b *builder, f *plan.Flow) {
	for _, in := range indicators(f) {
		w := duration(f.SLO.Window)
		p := b.panel("stat", "Error budget left: "+in.name, "percentunit", 6, fmt.Sprintf("%s of the messages may go wrong in %s.", percent(in.budget), days(f.SLO.Window)), query{fmt.Sprintf("1 - (%s) / %s", strings.Join(strings.Fields(in.bad(w)), " "), number(in.budget)), "left"})
		p.FieldConfig.Defaults.Min = nil
		p.FieldConfig.Defaults.Thresholds = &jsonObject{"mode": "absolute", "steps": []jsonObject{{"color": "red", "value": nil}, {"color": "orange", "value": 0}, {"color": "green", "value": .25}}}
		var qs []query
		for _, u := range burns {
			if acts(u, f.SLO, in) {
				qs = append(qs, query{fmt.Sprintf("max(%s%s{flow=%q, slo=%q, sli=%q}) / %s", Bad, duration(u.long), f.Name, f.SLO.Policy, in.name, number(in.budget)), fmt.Sprintf("over %s (%s at %s×)", duration(u.long), u.severity, number(u.factor(f.SLO.Window)))})
			}
		}
		if len(qs) > 0 {
			b.panel("timeseries", "Burn rate: "+in.name, "short", 6, "How many times as fast as it may be the budget is used up. It needs the rules that `penstock observe rules` writes.", qs...)
		}
	}
}

// channels are the durable ones that a flow reads, and those behind its durable steps.
func channels(p *plan.Plan, f *plan.Flow) []string {
	var out []string
	for _, s := range f.Sources {
		i := slices.IndexFunc(p.Channels, func(c *plan.Channel) bool { return c.Name == s.Channel })
		if i >= 0 && p.Channels[i].Durable {
			out = append(out, s.Channel)
		}
	}
	if !p.Durable {
		return out
	}
	for i := range f.Nodes {
		switch f.Nodes[i].Op.(type) {
		case *plan.Stage, *plan.Group:
			out = append(out, f.Name+"/"+f.Nodes[i].Name)
		}
	}
	return out
}

// connections are those with a guard that a flow uses.
func connections(f *plan.Flow) []string {
	var out []string
	plan.Walk(f.Nodes, func(n *plan.Node) {
		var ep *plan.Endpoint
		switch op := n.Op.(type) {
		case *plan.Call:
			ep = op.Endpoint
		case *plan.Send:
			ep = op.Endpoint
		}
		if ep != nil && ep.Policy != nil && !slices.Contains(out, ep.Policy.Name) {
			out = append(out, ep.Policy.Name)
		}
	})
	return out
}

// clip makes a name short enough for an identity of Grafana's.
func clip(s string) string { return s[:min(len(s), 30)] }
