package sqlite

import "errors"

// ErrLocked says that another process has the store open; one at a time can. The error that wraps it names its pid.
var ErrLocked = errors.New("another process has it open")
