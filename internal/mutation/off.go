//go:build !penstock_mutate

package mutation

// Enabled says that this build can have bugs planted.
const Enabled = false

// On says that the bug of this name is planted: never, in this build.
func On(string) bool { return false }
