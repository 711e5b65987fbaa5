// Package metrics gives what a run counts to Prometheus. Nothing is counted here: at each scrape the engine's and the store's own
// counters are read, so that messages pay nothing for being measured.
//
// The values of labels come from the configuration (names of flows, steps, endpoints, channels, connections) and from closed sets (codes,
// outcomes, states), never from messages. So the number of series is bounded by the configuration.
package metrics
