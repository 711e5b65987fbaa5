package step

// Root says what part of a message a [Target] names.
type Root uint8

// The roots of targets. Discard is `into: none`.
const (
	Body Root = iota
	Vars
	Meta
	Key
	Discard
)

// Target is where a value goes: a compiled path (LANGUAGE.md §2). Steps lists the fields
// below the root; for Vars the first name has become Slot, for Meta it is Name.
type Target struct {
	Root  Root
	Slot  int    // of Vars
	Name  string // of Meta
	Steps []PathStep
}

// PathStep is one field name, or a list index where Name is empty.
type PathStep struct {
	Name  string
	Index int
}
