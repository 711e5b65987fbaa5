package penstock

// Secret is a value that never shows itself: it prints as "[redacted]" in text, JSON and
// logs. Reveal is the one way to its value.
type Secret struct{ value string }

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value.
func (s Secret) Reveal() string { return s.value }

const redacted = "[redacted]"

// String hides the value.
func (Secret) String() string { return redacted }

// GoString hides the value from %#v.
func (Secret) GoString() string { return redacted }

// MarshalText hides the value from encoding/json and slog.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
