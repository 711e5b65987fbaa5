package resource

import (
	"net"
	"net/netip"
	"net/url"
	"slices"

	"penstock.dev/penstock"
)

// Telemetry is what an [Integration] says of its traces and metrics. The variables of OpenTelemetry's environment (OTEL_…) stand
// before it, as they belong to the place where it runs.
type Telemetry struct {
	Place
	// The name under which a tracing backend shows it. Left out, that of the Integration.
	Service string `json:"service" penstock:"nonempty"`
	// Record the ways of messages, and send them to an OpenTelemetry collector. Left out, nothing is recorded, unless OTEL_EXPORTER_OTLP_ENDPOINT is set.
	Traces *Traces `json:"traces"`
	// Upper bounds of the classic buckets in which the duration of messages is counted, beside the native ones. Thresholds of service level objectives are added. Left out, 1ms to 5m in sixteen steps.
	Buckets []penstock.Duration `json:"buckets" penstock:"nonempty"`
}

// Traces says where spans go, and how many of them there are.
type Traces struct {
	Place
	// URL of the collector, such as http://collector:4318. Left out, OpenTelemetry's default, this machine.
	Endpoint string `json:"endpoint" penstock:"nonempty"`
	// How it is spoken to.
	Protocol string `json:"protocol" penstock:"enum=http/protobuf|grpc,default=http/protobuf"`
	// Share of the messages whose way is recorded. A message that comes with a trace (the header traceparent) is recorded if that trace is.
	Sample penstock.Share `json:"sample" penstock:"default=1%"`
	// How many traces begin here at most, whatever the share says: a flow that moves millions of messages a second is not to spend its time on spans. What comes with a trace does not count.
	Limit penstock.Rate `json:"limit" penstock:"default=200/s"`
}

// Control is the port on which a running [Integration] says how it is (/metrics, /livez, /readyz, /debug/pprof), and, with a token or a
// clientCA, is operated: `penstock --server` asks there, and /v1/openapi.json describes it.
type Control struct {
	Place
	// Where it listens, such as 127.0.0.1:9090. Without token and clientCA it must be an address of this machine alone, since whoever reaches the port is then
	// let in.
	Address string `json:"address" penstock:"required,nonempty"`
	// What callers show as `Authorization: Bearer …`: {secret: name}. The probes, /livez and /readyz, answer without it.
	Token *penstock.Secret `json:"token"`
	// Makes it HTTPS. With clientCA a caller's certificate lets him in, also without the token.
	TLS *HTTPTLS `json:"tls"`
}

func (t *Telemetry) check(d *Decoder) {
	for i, b := range t.Buckets {
		if b <= 0 || slices.Contains(t.Buckets[:i], b) {
			d.errorf(t.At("buckets"), "wrong-value", b.String(), "", "the bounds of buckets are above 0, and each is there once")
		}
	}
}

func (t *Traces) check(d *Decoder) {
	if t.Endpoint == "" {
		return
	}
	if u, err := url.Parse(t.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		d.errorf(t.At("endpoint"), "wrong-value", clip(t.Endpoint), "write it as http://collector:4318", "`%s` is no URL of a collector", clip(t.Endpoint))
	}
}

func (c *Control) check(d *Decoder) {
	if c.Address == "" {
		return
	}
	if c.Token != nil || c.TLS != nil && !c.TLS.ClientCA.IsZero() {
		if _, _, err := net.SplitHostPort(c.Address); err != nil {
			d.errorf(c.At("address"), "wrong-value", clip(c.Address), "write it as 0.0.0.0:9090", "`%s` is no address of the form host:port", clip(c.Address))
		}
		if c.Token != nil && c.TLS == nil && Loopback(c.Address) != "" {
			d.Diags.Warnf(c.At("address"), "plain-token", clip(c.Address), "add `tls`", "the token goes over the network in the clear")
		}
		return
	}
	if why := Loopback(c.Address); why != "" {
		d.errorf(c.At("address"), "wrong-value", clip(c.Address), "write it as 127.0.0.1:9090", "`%s` %s", clip(c.Address), why)
	}
}

// Loopback says why an address is none that this machine alone can reach, to follow the address; "" where it is one.
func Loopback(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "is no address of the form host:port"
	}
	if host == "localhost" {
		return ""
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return "can be reached from other machines, which the control port must not be, as it lets everybody in without `token` or `tls.clientCA`"
	}
	return ""
}
