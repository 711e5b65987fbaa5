package penstock

import "context"

// SecretProvider knows the values of secrets: the environment, a folder, a vault. It is chosen by an Integration's `secrets`, and
// registered with [RegisterSecrets]. It is safe for concurrent use.
//
// A value never appears in an error or a log line of a provider.
type SecretProvider interface {
	// Read looks names up, all at one moment where the provider can: a certificate and its key belong together. The result has
	// an entry for each name that the provider has; one whose value can't be read has an error there. An error returned speaks
	// of all names: the provider itself can't be asked.
	Read(ctx context.Context, names []string) (map[string]SecretReading, error)
	// Watch calls changed whenever what Read gives may have changed, until ctx ends, which is no error; calling it in vain does
	// no harm. It calls from one goroutine at a time, and returns when no call is under way. A provider whose values are
	// fixed while the program runs returns nil at once.
	Watch(ctx context.Context, changed func()) error
	// Where says where name would have to be, for the one who has to put it there: "the environment variable X", "the file X".
	Where(name string) string
	// Close releases everything. It is called once, after Watch has returned.
	Close() error
}

// SecretReading is what a [SecretProvider] found under a name.
type SecretReading struct {
	Value string // not empty: an empty value is an error
	Err   error  // why there is no value though there should be one; Code tells whether it may pass
}

// KindOfSecrets is the kind of secret providers in a [Registry].
const KindOfSecrets = "secrets provider"

// RegisterSecrets adds a provider of secrets whose configuration is the struct C.
func RegisterSecrets[C any](r *Registry, s Spec, build func(C, Env) (SecretProvider, error)) {
	register(r, KindOfSecrets, s, build)
}
