// Package otlp records spans with OpenTelemetry's SDK, and exports them by its protocol (OTLP). What OpenTelemetry's environment
// variables say stands before what the configuration says: they belong to the place where a process runs.
//
// Exporting never holds a message up: ended spans go to a bounded queue, and what it has no room for is dropped and counted.
package otlp
