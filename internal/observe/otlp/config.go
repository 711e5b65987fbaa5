package otlp

import (
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
)

// The protocols, as OTEL_EXPORTER_OTLP_PROTOCOL has them.
const (
	HTTP = "http/protobuf"
	GRPC = "grpc"
)

// DefaultRatio is the share of messages that is recorded where nobody says another. OpenTelemetry's own default is all of them, which is
// meant for requests, and not for millions of messages a second.
const DefaultRatio = 0.01

// DefaultLimit is how many traces begin a second at most where nobody says another number.
const DefaultLimit = 200

// Config says where spans go. What the environment says stands before it.
type Config struct {
	// On says that the configuration asks for traces; else only the environment may.
	On bool
	// Endpoint is the collector's URL: http://collector:4318, to which http/protobuf adds /v1/traces. "": OpenTelemetry's default,
	// localhost.
	Endpoint string
	// Protocol is [HTTP] or [GRPC]; "" is HTTP.
	Protocol string
	// Ratio of the messages that begin a trace here and are recorded, 0 to 1; negative: [DefaultRatio].
	Ratio float64
	// Limit is how many traces begin here a second at most; 0 is [DefaultLimit].
	Limit float64
	// Service is the name under which spans are found; "" is penstock. Version is of the program, Instance of the process.
	Service, Version, Instance string
	// Logger is told when exporting fails, and when it works again; nil: nobody is.
	Logger *slog.Logger
	// Getenv reads the environment for what is decided here. What OpenTelemetry's exporters read themselves (endpoints, headers,
	// certificates, time-outs) comes from the process's environment.
	Getenv func(string) string
}

func (c *Config) env(names ...string) string {
	for _, n := range names {
		if v := strings.TrimSpace(c.Getenv(n)); v != "" {
			return v
		}
	}
	return ""
}

// Wanted reports whether spans are to be recorded: the configuration or the environment asks for it, and the environment doesn't
// forbid it (OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER=none).
func (c *Config) Wanted() bool {
	exporter := c.env("OTEL_TRACES_EXPORTER")
	switch {
	case strings.EqualFold(c.env("OTEL_SDK_DISABLED"), "true"), exporter == "none":
		return false
	case c.On, exporter == "otlp":
		return true
	}
	return c.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") != ""
}

func (c *Config) protocol() (string, error) {
	p := c.env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	if p == "" {
		p = c.Protocol
	}
	switch p {
	case "", HTTP:
		return HTTP, nil
	case GRPC:
		return GRPC, nil
	}
	return "", &penstock.Error{Code: penstock.Config, Op: "telemetry", Err: fmt.Errorf("the protocol %q is not spoken", p), Hint: "OTEL_EXPORTER_OTLP_PROTOCOL is http/protobuf or grpc"}
}

// endpoint is the URL to export to; "" where the environment, or nobody, names one.
func (c *Config) endpoint(protocol string) (string, error) {
	if c.Endpoint == "" || c.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") != "" {
		return "", nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", &penstock.Error{Code: penstock.Config, Op: "telemetry", Err: fmt.Errorf("%q is no URL of a collector", c.Endpoint), Hint: "write it as http://collector:4318"}
	}
	if protocol == HTTP && strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// Sampling is what is recorded: by OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG, else by the ratio of the configuration, and as
// the caller does where there is one. A sampler that is not known is logged, and passed over.
func (c *Config) Sampling() observe.Sampling {
	s := observe.Sampling{Ratio: c.Ratio, Limit: c.Limit}
	if s.Limit == 0 {
		s.Limit = DefaultLimit
	}
	if c.Ratio < 0 {
		s.Ratio = DefaultRatio
	}
	name := strings.ToLower(c.env("OTEL_TRACES_SAMPLER"))
	kind, parent := strings.CutPrefix(name, "parentbased_")
	if name == "" {
		return s
	}
	s.Always = !parent
	switch kind {
	case "always_on":
		s.Ratio = 1
	case "always_off":
		s.Ratio = 0
	case "traceidratio":
		s.Ratio = 1
		if arg := c.env("OTEL_TRACES_SAMPLER_ARG"); arg != "" {
			r, err := strconv.ParseFloat(arg, 64)
			if err != nil || !(r >= 0 && r <= 1) {
				c.warn("OTEL_TRACES_SAMPLER_ARG is no number from 0 to 1: everything is recorded", "value", arg)
			} else {
				s.Ratio = r
			}
		}
	default:
		c.warn("OTEL_TRACES_SAMPLER names a sampler that is not there; the configuration's is used", "value", name)
		s.Always = false
	}
	return s
}

func (c *Config) warn(msg string, args ...any) {
	if c.Logger != nil {
		c.Logger.Warn(msg, args...)
	}
}

// number reads a variable that is a whole number above 0.
func (c *Config) number(name string, or int) int {
	v := c.env(name)
	if v == "" {
		return or
	}
	n, err := strconv.Atoi(v)
	if err != nil || n <= 0 {
		c.warn(name+" is no number above 0; the default is used", "value", v, "default", or)
		return or
	}
	return n
}

// millis reads a variable that is a number of milliseconds.
func (c *Config) millis(name string, or time.Duration) time.Duration {
	return time.Duration(c.number(name, int(or/time.Millisecond))) * time.Millisecond
}
