package compile

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/resource"
)

// paginate tells a caller's configuration what stands beside the call.
func paginate(t *resource.Target, config any, l *diag.List) {
	if t.Paginate == nil {
		return
	}
	p, ok := config.(penstock.Paginated)
	if !ok {
		l.Errorf(t.AtKey("paginate"), "wrong-field", "paginate", "leave it out", "the connector %s does not give its answers in pages: `paginate` means nothing beside it", t.Connector)
		return
	}
	if err := p.Paginate(t.Paginate.Pages()); err != nil {
		l.Errorf(t.AtKey("paginate"), "wrong-field", "paginate", "", "%v", err)
	}
}
