// Package operate is what can be done with a store, and with the process that runs on it: look at flows, drain them, look into
// dead letters, redrive and drop them, follow a message, and keep the store.
//
// [Operations] has two makers: [Direct] works on a store that this process has open, and package socket asks a
// process that runs. Both give the same results, so that a command works, and prints, the same either way. Requests and
// results are plain structs with stable JSON: they are what goes over the socket and what -o json prints.
package operate
