package http

import "penstock.dev/penstock"

// Register adds the drivers: the server, and the caller with its Connection.
func Register(r *penstock.Registry) {
	RegisterServer(r)
	registerClient(r)
}
