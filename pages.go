package penstock

// Pages says how a caller gets an answer that comes in pages: what stands beside a call under `paginate`. Exactly one of Link,
// Next, Cursor, Page and Offset says where the next page is. Paths begin with body, which is the reply of one page.
type Pages struct {
	// Link: the header Link of the answer names the next page, under this relation (RFC 8288); "" where another way is taken.
	Link string
	// Next: the reply holds the URL of the next page; nothing there, null or an empty text says that there is none.
	Next Path
	// Cursor: the reply holds, at CursorFrom, what the parameter Cursor of the query of the next page is to be; the first page has none.
	Cursor     string
	CursorFrom Path
	// Page: this parameter of the query counts the pages, from First. An empty page, or one of fewer than Size elements, is the last.
	Page  string
	First int
	// Offset: this parameter of the query counts the elements that are passed over, from 0.
	Offset string
	// SizeQuery is the parameter of the query that says how many elements a page is to have, Size; "" for none.
	SizeQuery string
	Size      int
	// Items is where the list of a page stands; zero where the reply itself is the list.
	Items Path
	// Max is how many pages there may be; more is an error, never a list that ends early.
	Max int
}

// Paginated is implemented by a caller's configuration (on the pointer) that can get its answer page by page. Its reply is then one
// list of the elements of all pages.
type Paginated interface {
	// Paginate is told what stands beside the call, once, before the configuration is built from. The error says why it can't be.
	Paginate(p Pages) error
}
