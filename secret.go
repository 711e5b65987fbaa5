package penstock

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Secret is a reference to a value that never shows itself: whatever prints, encodes or logs it gives "[redacted]". Reveal is the
// one way to its value.
//
// Copies share one cell. A value that is rotated while the program runs reaches all of them at once, so a driver keeps the Secret
// and calls Reveal at each use (each new connection, each request), and not once when it is built. The zero Secret is one
// that the configuration left out; its value is empty. A Secret is safe for concurrent use.
type Secret struct{ cell *secretCell }

// secretCell says where a value comes from. The pointers are atomic.Pointers: their values can't be seen by what prints by reflection.
type secretCell struct{ from atomic.Pointer[secretSource] }

type secretSource struct {
	values *SecretValues
	name   string
}

// NewSecret makes a secret with a value of its own, for tests and defaults.
func NewSecret(value string) Secret {
	values := NewSecretValues()
	values.Replace(map[string]string{"": value})
	s := EmptySecret()
	s.Bind(values, "")
	return s
}

// EmptySecret makes a secret whose value is to come: see Bind. Until then it reveals "".
func EmptySecret() Secret { return Secret{new(secretCell)} }

// IsZero reports that the configuration left it out.
func (s Secret) IsZero() bool { return s.cell == nil }

// Bind makes s, and all its copies, reveal what values has under name, now and after each Replace. It does nothing for the zero
// Secret. The engine binds before it builds drivers.
func (s Secret) Bind(values *SecretValues, name string) {
	if s.cell != nil {
		s.cell.from.Store(&secretSource{values, name})
	}
}

// Reveal returns the current value.
func (s Secret) Reveal() string {
	v, _ := s.source()
	return v
}

func (s Secret) source() (string, *secretSource) {
	if s.cell == nil {
		return "", nil
	}
	from := s.cell.from.Load()
	if from == nil {
		return "", nil
	}
	v, _ := from.values.Value(from.name)
	return v, from
}

// RevealAll returns the values of secrets that belong together, such as a certificate and its key: those of the same provider are
// of one moment, never one from before a rotation beside one from after it.
func RevealAll(secrets ...Secret) []string {
	out := make([]string, len(secrets))
	var seen []*SecretValues
	var at []map[string]string
	for i, s := range secrets {
		_, from := s.source()
		if from == nil {
			continue
		}
		k := slices.Index(seen, from.values)
		if k < 0 {
			k = len(seen)
			seen, at = append(seen, from.values), append(at, from.values.load())
		}
		out[i] = at[k][from.name]
	}
	return out
}

const redacted = "[redacted]"

// String hides the value.
func (Secret) String() string { return redacted }

// GoString hides the value from %#v.
func (Secret) GoString() string { return redacted }

// Format hides the value from every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText hides the value from encoders of text.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON hides the value from encoding/json.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalYAML hides the value from encoders of YAML.
func (Secret) MarshalYAML() (any, error) { return redacted, nil }

// LogValue hides the value from log/slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// SecretValues holds the current values of secrets by name. It is safe for concurrent use; a reader sees the values
// of one Replace, never parts of two. It prints as nothing but its kind.
type SecretValues struct {
	current atomic.Pointer[map[string]string]
	hide    atomic.Pointer[hider]

	mu    sync.Mutex
	known atomic.Pointer[[]string] // what was ever a value here, newest last: changed under mu
}

// NewSecretValues makes an empty set of values.
func NewSecretValues() *SecretValues { return new(SecretValues) }

func (v *SecretValues) load() map[string]string {
	if m := v.current.Load(); m != nil {
		return *m
	}
	return nil
}

// Value finds the value of name.
func (v *SecretValues) Value(name string) (string, bool) {
	s, ok := v.load()[name]
	return s, ok
}

// Replace puts new values in the place of all that there are. The map must not be changed afterwards.
func (v *SecretValues) Replace(values map[string]string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remember(values) // before anybody can leak them
	v.current.Store(&values)
}

// Bounds of what [SecretValues.Redact] looks for.
const (
	shortestHidden = 4   // bytes; a shorter value stands within every text by chance
	shortestAlone  = 2   // bytes; one that is shorter than shortestHidden is hidden where it stands by itself
	longestMemory  = 256 // values; those before the last so many are forgotten
)

func (v *SecretValues) remember(values map[string]string) {
	var known []string
	if k := v.known.Load(); k != nil {
		known = slices.Clone(*k)
	}
	for _, s := range values {
		if len(s) < shortestAlone {
			continue
		}
		if i := slices.Index(known, s); i >= 0 {
			known = slices.Delete(known, i, i+1)
		}
		known = append(known, s)
	}
	if n := len(known) - max(longestMemory, len(values)); n > 0 {
		known = slices.Delete(known, 0, n)
	}
	v.known.Store(&known)
	v.hide.Store(newHider(known))
}

// Redact gives text with "[redacted]" in the place of every value that is held, or was held before it was rotated, also where it is
// encoded: in a URL, as JSON, in base64 (also within a longer text), or a line of a value with several lines; and where the text was cut off within it,
// with "…" or "..." behind. Values of 2 and 3 bytes are hidden where they stand by themselves, between what is no letter, digit or _; one byte is not
// looked for. It is for text that goes out by accident, such as another program's error message.
func (v *SecretValues) Redact(text string) string {
	if v == nil {
		return text
	}
	h := v.hide.Load()
	if h == nil {
		return text
	}
	text = hideCut(h.whole.Replace(text), h.forms)
	for _, s := range h.alone {
		text = hideAlone(text, s)
	}
	return text
}

// Hides reports whether Redact has anything to look for.
func (v *SecretValues) Hides() bool { return v != nil && v.hide.Load() != nil }

// Short lists the names of values that are so short that Redact finds them only where they stand by themselves, or not at all; sorted.
func (v *SecretValues) Short() []string {
	var out []string
	for name, s := range v.load() {
		if len(s) > 0 && len(s) < shortestHidden {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// String tells nothing of the values.
func (*SecretValues) String() string { return "secrets" }

// GoString tells nothing of the values.
func (*SecretValues) GoString() string { return "secrets" }

// hider replaces values in a text.
type hider struct {
	whole *strings.Replacer
	forms []string // what it looks for
	alone []string // what it looks for by itself, as whole words
}

// newHider makes what replaces values in a text; nil where there is nothing to hide.
func newHider(values []string) *hider {
	var pairs, all, alone []string
	seen := map[string]bool{"": true}
	add := func(s string) {
		if len(s) >= shortestHidden && !seen[s] {
			seen[s] = true
			pairs, all = append(pairs, s, redacted), append(all, s)
		}
	}
	// The replacer prefers what comes first where two begin at the same place: the longest.
	ordered := slices.Clone(values)
	slices.SortStableFunc(ordered, func(a, b string) int { return len(b) - len(a) })
	for _, s := range ordered {
		for _, form := range forms(s) {
			switch {
			case len(s) >= shortestHidden:
				add(form)
			case !seen[form]:
				seen[form] = true
				alone = append(alone, form)
			}
		}
	}
	for _, s := range ordered {
		for _, line := range strings.Split(s, "\n") {
			line = strings.TrimSpace(line)
			if line != s && len(line) >= 16 && !strings.HasPrefix(line, "-----") { // PEM's frame is no secret
				add(line)
			}
		}
	}
	if len(pairs)+len(alone) == 0 {
		return nil
	}
	return &hider{strings.NewReplacer(pairs...), all, alone}
}

// forms are the ways in which a value is written by those who leak it.
func forms(s string) []string {
	out := []string{s}
	if quoted, err := json.Marshal(s); err == nil {
		out = append(out, string(quoted[1:len(quoted)-1]))
	}
	return append(out, encodedForms(s)...)
}
