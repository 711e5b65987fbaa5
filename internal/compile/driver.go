package compile

import (
	"reflect"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// driverConfig compiles what a driver's decoded configuration holds: expressions, templates,
// formats, references to connections. It finds them by their types.
//
// A template whose field has a place (`penstock:"place=path"`: path, query, header, sql or plain) is encoded
// for it and may vary by message. One without is fixed when the flow starts, and may read params only.
// A field MaxRecord of type penstock.Size bounds what the codecs beside it read.
type driverConfig struct {
	c     *compiler
	role  string // source, sink, caller, connection, codec
	tech  string
	exprs lower.Exprs
	scope *scope.Scope
	diags *diag.List
	typ   *types.Type // of the documents, for codecs

	conn     *connection // the first that was referred to
	connName string
	output   *types.Type // what the first format's documents are, if the codec knows; nil otherwise
	tree     *types.Type // of the data tree, if there is one
	// maxRecord is what a field of that name bounds records to, in bytes; 0 is the codec's default.
	maxRecord int
	label     string // the first free text of the configuration
	// parts and trees are what is computed for each message, in the order of the configuration.
	parts []penstock.Program
	trees []penstock.Mapping
	reads bool // a program may read the message
	// reply says that what is compiled now are the templates of a server that speak of what its flow has made (`at=reply`). They wait
	// until that is known; everything else was compiled before.
	reply bool
}

// places are the words that a tag may say.
var places = map[string]expr.Place{
	"plain": expr.Plain, "path": expr.URLPath, "query": expr.Query, "header": expr.Header, "sql": expr.SQL,
}

// compile completes the configuration that config points to.
func (d *driverConfig) compile(config any) {
	v := reflect.ValueOf(config).Elem()
	if f := v.FieldByName("MaxRecord"); f.IsValid() && f.Type() == reflect.TypeFor[penstock.Size]() {
		d.maxRecord = int(f.Int())
	}
	d.walk(v, "")
}

func (d *driverConfig) walk(v reflect.Value, tag string) {
	if !v.CanAddr() {
		return
	}
	if d.reply {
		if t, ok := v.Addr().Interface().(*penstock.Template); ok {
			d.template(t, tag)
		} else {
			d.below(v, tag)
		}
		return
	}
	switch p := v.Addr().Interface().(type) {
	case *penstock.Expr:
		d.expr(p)
	case *penstock.Template:
		d.template(p, tag)
	case *penstock.DataTree:
		if !p.IsZero() {
			c := d.exprs.Tree(p.Tree, d.scope)
			p.Mapping, d.tree, d.reads = c.Mapping, c.Type, true
			d.trees = append(d.trees, c.Mapping)
		}
	case *penstock.Format:
		d.format(p, tag)
	case *penstock.ConnectionRef:
		if p.IsZero() {
			return
		}
		if conn := d.c.connect(p, d.connectionTech(), d.diags); conn != nil && d.conn == nil {
			d.conn, d.connName = conn, p.Name
		}
		d.say(p.Name)
	case *penstock.SchemaRef:
		if p.IsZero() {
			return
		}
		if s := d.c.Schema(resource.Ref{Name: p.Name, Pos: p.Pos}, d.diags); s != nil {
			p.Schema, p.Type = s.Text, s.Type
		}
	default:
		d.below(v, tag)
	}
}

// connectionTech is the kind of Connection that the driver uses.
func (d *driverConfig) connectionTech() string {
	if drv, ok := d.c.reg.Lookup(d.role, d.tech); ok && drv.Spec.Connection != "" {
		return drv.Spec.Connection
	}
	return d.tech
}

// below walks what v holds.
func (d *driverConfig) below(v reflect.Value, tag string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			d.walk(v.Elem(), tag)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				d.walk(v.Field(i), f.Tag.Get("penstock"))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			d.walk(v.Index(i), tag)
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			elem := reflect.New(v.Type().Elem()).Elem() // what a map holds can't be changed in place
			elem.Set(v.MapIndex(k))
			d.walk(elem, tag)
			v.SetMapIndex(k, elem)
		}
	}
}

func (d *driverConfig) expr(e *penstock.Expr) {
	if e.IsZero() {
		return
	}
	c := d.exprs.Expr(*e, d.scope, nil)
	e.Program, e.Type, d.reads = c.Program, c.Type, true
	d.parts = append(d.parts, c.Program)
}

func (d *driverConfig) template(t *penstock.Template, tag string) {
	if t.IsZero() || d.reply != atReply(tag) {
		return
	}
	place, varies := placeOf(tag)
	c := d.exprs.Template(*t, d.scope, place)
	t.Program, t.Type = c.Program, c.Type
	t.Constant = c.Program != nil && !c.Volatile && onlyParams(c)
	if !t.Constant {
		d.reads, d.parts = true, append(d.parts, c.Program)
	}
	if !varies && c.Program != nil && !t.Constant {
		d.diags.Errorf(t.Pos, "varies", t.Source, "use `params` here", "this setting is fixed when the flow starts, so it can't depend on %s", variesBy(c))
	}
	if !d.reply {
		d.say(t.Source)
	}
}

// say gives the label its text: the first one in the configuration.
func (d *driverConfig) say(s string) {
	if d.label == "" {
		d.label = s
	}
}

// placeOf reads the place from a tag, and whether the text may vary by message.
func placeOf(tag string) (expr.Place, bool) {
	for _, rule := range strings.Split(tag, ",") {
		if name, ok := strings.CutPrefix(strings.TrimSpace(rule), "place="); ok {
			return places[name], true
		}
	}
	return expr.Plain, false
}

// atReply reports whether a tag says that the text speaks of a reply.
func atReply(tag string) bool {
	return slices.Contains(strings.Split(tag, ","), "at=reply")
}

func onlyParams(c *expr.Compiled) bool {
	for _, r := range c.Reads {
		if len(r) > 0 && r[0] != "params" {
			return false
		}
	}
	return true
}

// variesBy names what a text depends on.
func variesBy(c *expr.Compiled) string {
	for _, r := range c.Reads {
		if len(r) > 0 && r[0] != "params" {
			return "`" + strings.Join(r, ".") + "`"
		}
	}
	return "`now` or uuid()"
}

// format builds a codec for documents of the configuration's type. A server reads a body as a whole, so where the codec gives rows, its type is that
// of their list; what the reply will be is not known here.
func (d *driverConfig) format(f *penstock.Format, tag string) {
	if f.IsZero() {
		return
	}
	if atReply(tag) {
		f.Codec = d.c.codec(f, penstock.CodecOptions{MaxRecord: d.maxRecord}, d.diags)
		return
	}
	drv, ok := d.c.reg.Lookup(penstock.KindOfCodec, f.Name)
	typ := d.typ
	if ok && rows(drv, f.Config) && d.role == penstock.KindOfServer && !typ.IsDyn() && typ.Kind == types.List {
		typ = typ.Elem
	}
	f.Codec = d.c.codec(f, penstock.CodecOptions{Type: typ, MaxRecord: d.maxRecord}, d.diags)
	if d.output == nil && ok {
		d.output = drv.Spec.Output
		if t, ok := f.Config.(penstock.Typed); ok {
			d.output = t.OutputType()
		}
	}
}

// codec builds the codec of a format; nil after a finding.
func (c *compiler) codec(f *penstock.Format, o penstock.CodecOptions, l *diag.List) penstock.Codec {
	drv, ok := c.reg.Lookup(penstock.KindOfCodec, f.Name)
	if !ok {
		return nil // said when it was decoded
	}
	config := f.Config
	if reflect.TypeOf(config) != reflect.PointerTo(drv.Config) {
		return nil // not decoded: it has errors
	}
	if !c.completeCodec(f.Name, config, l) {
		return nil
	}
	codec, err := drv.BuildCodec(config, o)
	if err != nil {
		l.Errorf(f.Pos, "bad-format", f.Name, "", "%s: %v", f.Name, err)
		return nil
	}
	return codec
}
