package compile

import (
	"encoding/base64"
	"strings"

	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/resource"
)

// Neighbour implements lower.World.
func (c *compiler) Neighbour(n *resource.Neighbour, what string, l *diag.List) []byte {
	if n.Path != "" {
		text, err := c.set.ReadFile(n.Path)
		if err != nil {
			l.Errorf(n.At("file"), "unreadable-file", n.File, "the path is relative to the file that it stands in", "%s can't be read: %v", what, err)
			return nil
		}
		if text == nil {
			text = []byte{} // an empty file is read, too
		}
		return text
	}
	switch in := n.Inline; {
	case in == nil: // said when it was loaded
	case in.Kind != resource.NodeText:
		l.Errorf(in.Pos, "wrong-type", "", "write `{ file: … }`, or `{ inline: … }` with base64", "%s is bytes, and this is %s", what, in.Kind)
	default:
		code, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(in.Text), ""))
		if err != nil {
			l.Errorf(in.Pos, "wrong-value", "", "encode it with `base64 -w0`", "%s stands in base64, and this is none: %v", what, err)
			return nil
		}
		return code
	}
	return nil
}
