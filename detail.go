package penstock

// Detail is one thing that is wrong with a message.
type Detail struct {
	Path    string // where: body.lines[0].price
	Message string // what: "is a string, not a number"
}

// Detailed is implemented by errors that are about a message's content and list all that is wrong with it. Who sent the message may be told.
type Detailed interface{ Details() []Detail }
