// Package xml is the codec for XML 1.0 (fifth edition) with Namespaces: elements become values of JSON, and back.
//
// An element that has neither attributes nor elements in it is its text; any other is an object of its attributes, its elements and its text. Elements of one name
// beside each other are a list. A schema says what text is a number, and what is a list even where there is one of it.
//
// Nothing that a document declares is followed: entities but the five of XML are refused, and so is, unless it is asked for, a document type declaration.
package xml

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Config is the configuration of the codec.
type Config struct {
	// Where the records are: the path of their elements from the root, such as /orders/order; `*` is any name. A stream (a file, standard input) is then
	// read record by record, however large it is, what stands beside them is stepped over, and a decode step gives the list of them all. When writing, the elements of the path are
	// put around them. Left out, a document is one record: what its root holds.
	Records string `json:"records" penstock:"nonempty"`
	// Name of the root element of a document that is one record. When reading, another root is refused; left out, any is taken. It is needed for writing, where `records` is not there.
	Root string `json:"root" penstock:"nonempty"`
	// What the names of attributes begin with in documents.
	Attributes string `json:"attributes" penstock:"nonempty,default=@"`
	// The name of an element's text in documents, where it has attributes or elements beside it.
	Text string `json:"text" penstock:"nonempty,default=#text"`
	// Names of elements that are lists even where there is one of them. What the schema says is a list is one too, and so is what is there several times.
	Lists []string `json:"lists"`
	// Prefixes and the namespaces that they stand for. Names of such a namespace have its prefix in documents (o:order), whatever the prefix in the text is; an empty prefix
	// is none. Names of all other namespaces stand without a prefix. When writing, they are declared at the root.
	Namespaces map[string]string `json:"namespaces"`
	// What becomes of text that stands between elements: with join its pieces are one text, and where they stood is lost; with refuse the record fails. Blank text
	// between elements is always left out.
	Mixed string `json:"mixed" penstock:"enum=join|refuse,default=join"`
	// What becomes of a document type declaration: with refuse the document fails, with skip the declaration is stepped over, and what it declares is not there.
	Doctype string `json:"doctype" penstock:"enum=refuse|skip,default=refuse"`
	// When writing: what becomes of null: with omit there is no element, with nil an empty one with xsi:nil, which is read as null, with empty an empty one.
	Nulls string `json:"nulls" penstock:"enum=omit|nil|empty,default=omit"`
	// When writing: whether it begins with an XML declaration.
	Declaration *bool `json:"declaration" penstock:"default=true"`
	// When writing: how far elements are indented for each level, with each on a line of its own. Default: they are not, but for a line for each record.
	Indent int `json:"indent" penstock:"min=0,max=16"`
}

// Validate implements penstock.Resolver.
func (c Config) Validate() []error {
	_, errs := c.compile()
	return errs
}

// Rows implements penstock.Tabular: a document with records is a list of them.
func (c *Config) Rows() bool { return c.Records != "" }

// Register adds the codec.
func Register(r *penstock.Registry) {
	penstock.RegisterCodec(r, penstock.Spec{
		Name:    "xml",
		Summary: "XML 1.0: elements as objects, lists and text, typed by the schema; large files record by record.",
	}, New)
}

// The limits where CodecOptions have none.
const (
	// DefaultMaxRecord is the largest record in bytes.
	DefaultMaxRecord = 16 << 20
	// DefaultMaxDepth is how deep elements may be nested.
	DefaultMaxDepth = 512
	// maxAttributes is how many attributes an element may have.
	maxAttributes = 1000
	// maxName is how long a name may be.
	maxName = 1000
)

// dialect is a Config that was looked through.
type dialect struct {
	path       []string // of the records
	root       string
	attributes string
	text       string
	lists      map[string]bool
	prefixes   map[string]string // by namespace
	namespaces []binding         // sorted by prefix
	refuse     bool              // mixed content
	doctype    bool              // is stepped over
	nulls      string
	declare    bool
	indent     int

	typ   *types.Type // of a record; nil if unknown
	max   int
	depth int
}

// binding is a prefix and what it stands for.
type binding struct{ prefix, uri string }

const (
	xmlSpace   = "http://www.w3.org/XML/1998/namespace"
	xmlnsSpace = "http://www.w3.org/2000/xmlns/"
	xsiSpace   = "http://www.w3.org/2001/XMLSchema-instance"
)

func (c Config) compile() (*dialect, []error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	d := &dialect{root: c.Root, attributes: c.Attributes, text: c.Text, lists: map[string]bool{}, prefixes: map[string]string{}, refuse: c.Mixed == "refuse", doctype: c.Doctype == "skip",
		nulls: c.Nulls, declare: c.Declaration == nil || *c.Declaration, indent: c.Indent}
	if d.attributes == "" {
		d.attributes = "@"
	}
	if d.nulls == "" {
		d.nulls = "omit"
	}
	if d.text == "" {
		d.text = "#text"
	}
	for _, prefix := range slices.Sorted(maps.Keys(c.Namespaces)) {
		uri := c.Namespaces[prefix]
		switch {
		case prefix != "" && (!isName(prefix) || strings.Contains(prefix, ":")) || prefix == "xml" || prefix == "xmlns":
			bad("namespaces: %q is no prefix that can be declared", prefix)
		case uri == "" || uri == xmlnsSpace:
			bad("namespaces: the prefix %q stands for nothing: give the URI of a namespace", prefix)
		}
		if other, ok := d.prefixes[uri]; ok && other != prefix {
			bad("namespaces: %s has two prefixes", uri)
		}
		d.prefixes[uri] = prefix
		d.namespaces = append(d.namespaces, binding{prefix, uri})
	}
	d.prefixes[xmlSpace] = "xml"
	name := func(field, s string) {
		prefix, _, ok := strings.Cut(s, ":")
		switch {
		case !isName(s):
			bad("%s: %q is no name of an element", field, s)
		case ok && c.Namespaces[prefix] == "":
			bad("%s: the prefix of %q is not in `namespaces`", field, s)
		}
	}
	if c.Records != "" {
		if c.Root != "" {
			bad("root: `records` names the root already: leave one of them out")
		}
		if !strings.HasPrefix(c.Records, "/") {
			bad("records: %q does not begin at the root: write it as in /orders/order", c.Records)
		} else {
			d.path = strings.Split(c.Records[1:], "/")
			for _, s := range d.path {
				if s != "*" {
					name("records", s)
				}
			}
		}
	}
	if c.Root != "" {
		name("root", c.Root)
	}
	for _, s := range c.Lists {
		name("lists", s)
		d.lists[s] = true
	}
	if d.attributes == d.text {
		bad("text: attributes begin with %q, too", d.text)
	}
	return d, errs
}

// New makes the codec.
func New(c Config, o penstock.CodecOptions) (penstock.Codec, error) {
	d, errs := c.compile()
	if len(errs) > 0 {
		return nil, &penstock.Error{Code: penstock.Config, Op: "xml", Err: errors.Join(errs...)}
	}
	d.typ, d.max, d.depth = o.Type, o.MaxRecord, o.MaxDepth
	if d.max <= 0 {
		d.max = DefaultMaxRecord
	}
	if d.depth <= 0 {
		d.depth = DefaultMaxDepth
	}
	return &codec{dialect: d}, nil
}

type codec struct{ *dialect }

var (
	_ penstock.Codec   = (*codec)(nil)
	_ penstock.Limiter = (*codec)(nil)
	_ penstock.Tabular = (*Config)(nil)
)

// WithMaxRecord implements penstock.Limiter.
func (c *codec) WithMaxRecord(bytes int) penstock.Codec {
	d := *c.dialect
	d.max = bytes
	return &codec{&d}
}

// Decode implements penstock.Codec: src is a document; with `records` the list of its records.
func (c *codec) Decode(dst, src []byte) ([]byte, error) {
	f := c.newFramer()
	out := dst
	if c.path != nil {
		out = append(out, '[')
	}
	found := 0
	for len(src) > 0 {
		n, record, err := f.Frame(src, true)
		switch {
		case err != nil:
			return dst, err
		case n == 0:
			src = nil
		case record != nil:
			if found++; found > 1 {
				out = append(out, ',')
			}
			if out, err = c.record(out, record, f.scope, f.line); err != nil {
				return dst, err
			}
		}
		src = src[min(n, len(src)):]
	}
	if err := f.over(); err != nil {
		return dst, err
	}
	if c.path != nil {
		out = append(out, ']')
	}
	return out, nil
}

// lazy reads a record when a document is first looked at.
type lazy struct {
	codec *codec
	scope *scope
	line  int
}

// DecodeRecord implements jsonview.Decoder.
func (l lazy) DecodeRecord(d *jsonview.Doc, src []byte) error {
	text, err := l.codec.record(make([]byte, 0, len(src)+len(src)/2+64), src, l.scope, l.line)
	if err != nil {
		return err
	}
	d.Reset(jsonview.JSON, text)
	return d.Parse(jsonview.Limits{})
}
