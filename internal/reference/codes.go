package reference

import (
	"strconv"

	"penstock.dev/penstock"
)

// codeDocs says of each code when it is used and what to do.
var codeDocs = map[penstock.Code]string{
	penstock.Invalid:         "The message is malformed: it can't be read, a value can't be computed from it, or it has the wrong type where an expression reads it. Look at the path in meta.dead, mend the source or the expression, and send the message again.",
	penstock.Unauthenticated: "The other side does not know who asks. Look at the credentials of the Connection.",
	penstock.Forbidden:       "The other side knows who asks and refuses, or a file may not be read or written. Look at the rights.",
	penstock.NotFound:        "What was asked for is not there. A keyed look-up that misses is not an error: it gives an absent value.",
	penstock.Conflict:        "It contradicts what is there already: a version that has moved on, a message that comes after its group was closed.",
	penstock.TooLarge:        "Over a stated limit: the size of a record, the depth of a document, the cost of an expression. The error names the limit.",
	penstock.Unprocessable:   "Well-formed, but it breaks a rule: a schema, a rule of the flow's own (fail), a loop that does not end.",
	penstock.Internal:        "A fault of this program. Please report it with the error's text.",
	penstock.Limited:         "The other side asks to slow down. Transient: it is tried again.",
	penstock.Unavailable:     "The other side can't be reached, or is not ready; a disk is full. Transient: it is tried again.",
	penstock.Timeout:         "It took longer than it may. Transient: it is tried again.",
	penstock.Cancelled:       "The caller went away, or the run was stopped. Nothing is lost: what was not settled is read again.",
	penstock.Config:          "The configuration is wrong. The program ends with exit code 2 before it reads a message.",
}

// codeFacts are the classes of a code.
func codeFacts(c penstock.Code) []Fact {
	transient := "no: the same message fails again, and goes to catch or the dead letter at once"
	if c.Transient() {
		transient = "yes: 5 tries unless retry says otherwise"
	}
	return []Fact{{"HTTP status", strconv.Itoa(c.HTTPStatus())}, {"Retried", transient}}
}
