package compile

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// permit refuses what is off and was not allowed.
func (c *compiler) permit(config any, l *diag.List) {
	r, ok := config.(penstock.Restricted)
	if !ok {
		return
	}
	for _, p := range r.Needs() {
		if !c.set.Allows(p) {
			l.Errorf(p.Pos, "not-allowed", p.What, "let the Integration say `allow: { "+p.Kind+": ["+p.What+"] }`, or run it with --allow-"+p.Kind+" "+p.What,
				"starting `%s` is not allowed", p.What)
		}
	}
}
