// Package cli is the command line of Penstock: a face over package control. Each command
// stands in a file of its own and does three things: it reads flags, calls the service, and shows
// what came back, for people or (with -o json) for machines.
//
// What goes where: results go to standard output; progress, warnings, errors and logs go to
// standard error. The one exception is run in a flow that writes its messages to standard
// output: then the summary goes to standard error too, so that a pipe gets messages alone.
package cli
