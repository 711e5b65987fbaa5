// Package observe is what the engine says of itself while it runs: spans of the messages that are traced, and how long
// messages take. It imports the dictionary and the standard library only, so that the engine knows neither OpenTelemetry nor
// Prometheus: package otlp exports spans, package metrics what is counted, package health answers the probes, package logs
// writes the log, package slo makes rules and dashboards of a plan.
//
// # Traces
//
// A message carries the trace that it belongs to in its header traceparent (W3C Trace Context), wherever it goes: through split,
// channels, stages and dead letters. A message that is recorded has a [Span] from when it was read until everything made of it has
// ended, and steps, calls and sends are children of that. A [Tracer] decides once for each message, before anything is
// allocated for it; one that is not recorded and came without a header carries nothing.
package observe
