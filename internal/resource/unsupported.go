package resource

import "slices"

// unsupportedWords are the words of the language (LANGUAGE.md) that this version refuses, by
// the struct that they would stand in, or by the field whose values they would be. Everything that
// is neither here nor a field is unknown.
var unsupportedWords = map[string][]string{
	"kind": {"API", "Saga", "Experiment"},
	"Step": {
		"saga",
	},
	"Target":      {"api", "view", "kafka", "nats", "pulsar", "rabbitmq"},
	"Integration": {"replicas", "scaling", "rollout"},
	"Connection":  {"region"},
	"Policy":      {"auth", "residency"},
	"Schema":      {"openapi"},
	"Neighbour":   {"configMap"},
}

func isUnsupported(place, word string) bool { return slices.Contains(unsupportedWords[place], word) }
