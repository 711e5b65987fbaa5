package resource

import (
	"strings"

	"penstock.dev/penstock"
)

// Paginate gets an answer that comes in pages, one page after the other, and gives one list of the elements of all. Exactly one of link, next, cursor,
// page and offset says where the next page is. A page that fails fails the call; it is tried again from the first page.
type Paginate struct {
	Place
	// The header Link of the answer names the next page (RFC 8288), as many public APIs do.
	Link *PageLink `json:"link"`
	// Path of the next page's URL in the reply, such as body.links.next. Where nothing is there, or null or an empty text, the page is the last. The URL must be
	// of the same host.
	Next penstock.Path `json:"next"`
	// The reply holds a cursor, which the query of the next page hands back.
	Cursor *PageCursor `json:"cursor"`
	// The query counts pages.
	Page *PageNumber `json:"page"`
	// The query counts the elements that are passed over.
	Offset *PageOffset `json:"offset"`
	// How many elements a page is asked for. With page, one that has fewer is the last; without it the last is an empty one.
	Size *PageSize `json:"size"`
	// Path of the list in the reply, such as body.items. Left out, the reply is the list.
	Items penstock.Path `json:"items"`
	// Most pages. More are an error, so that no list ends early without a word.
	Max int `json:"max" penstock:"default=100,min=1,max=100000"`
}

// PageLink finds the next page in the header Link.
type PageLink struct {
	Place
	// Relation under which the header names the next page.
	Rel string `json:"rel" penstock:"default=next,nonempty"`
}

// PageCursor hands a cursor on from page to page.
type PageCursor struct {
	Place
	// Name of the parameter of the query.
	Query string `json:"query" penstock:"required,nonempty"`
	// Path of the next cursor in the reply, such as body.nextCursor. Where nothing is there, or null or an empty text, the page is the last.
	From penstock.Path `json:"from" penstock:"required"`
}

// PageNumber counts pages.
type PageNumber struct {
	Place
	// Name of the parameter of the query.
	Query string `json:"query" penstock:"required,nonempty"`
	// Number of the first page.
	First int `json:"first" penstock:"default=1,min=0"`
}

// PageOffset counts the elements that are passed over.
type PageOffset struct {
	Place
	// Name of the parameter of the query.
	Query string `json:"query" penstock:"required,nonempty"`
}

// PageSize asks for pages of a size.
type PageSize struct {
	Place
	// Name of the parameter of the query.
	Query string `json:"query" penstock:"required,nonempty"`
	// How many elements.
	Count int `json:"count" penstock:"required,min=1"`
}

func (p *Paginate) check(d *Decoder) {
	if p.Node == nil || p.Node.Kind != NodeMap {
		return
	}
	d.exactlyOne(&p.Place, "`paginate`", "link", "next", "cursor", "page", "offset")
	paths := map[string]penstock.Path{"next": p.Next, "items": p.Items}
	if p.Cursor != nil {
		paths["from"] = p.Cursor.From
	}
	for _, name := range []string{"next", "items", "from"} {
		if at := paths[name]; !at.IsZero() && at.Root != "body" {
			d.errorf(at.Pos, "wrong-path", at.Source, "begin it with body: `body."+strings.TrimPrefix(at.Source, at.Root+".")+"`", "`%s` is a path into the reply of a page, which is `body` here", name)
		}
	}
}

// Pages is what the driver is told.
func (p *Paginate) Pages() penstock.Pages {
	out := penstock.Pages{Next: p.Next, Items: p.Items, Max: p.Max}
	if p.Link != nil {
		out.Link = p.Link.Rel
	}
	if p.Cursor != nil {
		out.Cursor, out.CursorFrom = p.Cursor.Query, p.Cursor.From
	}
	if p.Page != nil {
		out.Page, out.First = p.Page.Query, p.Page.First
	}
	if p.Offset != nil {
		out.Offset = p.Offset.Query
	}
	if p.Size != nil {
		out.SizeQuery, out.Size = p.Size.Query, p.Size.Count
	}
	return out
}
