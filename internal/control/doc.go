// Package control is the one use-case service: what can be done with a configuration,
// whoever asks. The command line is a face over it, and later the console, the admin
// interface and the operator are others: they call a [Service] and show its results, and
// nothing else of the program.
//
// Results are plain structs that marshal to stable JSON. A configuration that is wrong is
// no error of a call: it is a [Checked] with findings. Errors are *penstock.Error, alone or
// joined.
package control
