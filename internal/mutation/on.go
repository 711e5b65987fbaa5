//go:build penstock_mutate

package mutation

import "os"

// Enabled says that this build can have bugs planted.
const Enabled = true

var planted = os.Getenv("PENSTOCK_MUTATION")

// On says that the bug of this name is planted: the environment names one in PENSTOCK_MUTATION.
func On(name string) bool { return name == planted }
