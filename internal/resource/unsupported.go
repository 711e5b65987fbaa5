package resource

import "slices"

// unsupportedWords are the words of the language (LANGUAGE.md) that this version refuses, by
// the struct that they would stand in, or by the field whose values they would be. Everything that
// is neither here nor a field is unknown.
var unsupportedWords = map[string][]string{
	"kind": {"API", "Saga", "Entity", "View", "JobQueue", "Policy", "Experiment"},
	"Step": {
		"query", "command", "saga", "job", "script", "redrive", "loadBalance", "partial", "cache",
	},
	"Target":      {"cache", "paginate", "api", "view", "entity", "queue", "jobQueue", "http", "kafka", "nats", "pulsar", "rabbitmq"},
	"Integration": {"secrets", "replicas", "scaling", "rollout"},
	"Connection":  {"region", "breaker", "rateLimit", "bulkhead", "hedge"},
	"Channel":     {"broker"},
	"Schema":      {"avro", "protobuf", "openapi"},
	"Neighbour":   {"configMap"},
	"Retry":       {"budget"},
}

func isUnsupported(place, word string) bool { return slices.Contains(unsupportedWords[place], word) }
