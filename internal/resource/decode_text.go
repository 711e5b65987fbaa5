package resource

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock"
)

// expr decodes a CEL field. Bare true, false and numbers are CEL as they stand.
func (d *Decoder) expr(n *Node, f *fieldInfo, into *penstock.Expr) {
	switch n.Kind {
	case NodeText:
	case NodeBool:
		*into = penstock.Expr{Source: strconv.FormatBool(n.Bool), Pos: n.Pos}
		return
	case NodeInt, NodeFloat:
		*into = penstock.Expr{Source: jsonNumber(n.Text), Pos: n.Pos}
		return
	default:
		d.wrong(n, f, "an expression (CEL)", "")
		return
	}
	src := n.Text
	if strings.TrimSpace(src) == "" {
		d.errorf(n.Pos, "empty", "", "write an expression (CEL), such as `body.id`", "%sis empty", f.subject())
		return
	}
	if strings.Contains(src, "${") {
		hint := "this field is CEL already; write names without ${…}"
		if bare := bareForm(src); bare != "" {
			hint = "write `" + clip(bare) + "`"
		}
		d.errorf(n.Pos, "template-in-expression", clip(src), hint, "%sis an expression (CEL), not a template: `${` doesn't belong in it", f.subject())
		return
	}
	*into = penstock.Expr{Source: src, Pos: textPos(n)}
}

func textPos(n *Node) penstock.Pos {
	if n.TextPos.IsValid() {
		return n.TextPos
	}
	return n.Pos
}

// bareForm takes the ${…} of a template away, for one that stands in a CEL field: "${a} == 'x'"
// becomes "a == 'x'". It is empty where that can't be told.
func bareForm(src string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(src, "${")
		if strings.HasSuffix(before, "$") {
			return ""
		}
		b.WriteString(before)
		if !ok {
			return strings.TrimSpace(b.String())
		}
		end := closingBrace(rest)
		if end < 0 {
			return ""
		}
		b.WriteString(strings.TrimSpace(rest[:end]))
		src = rest[end+1:]
	}
}

// closingBrace finds the } that ends a ${…}, over braces and quoted strings within; -1 if there
// is none.
func closingBrace(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		case '"', '\'':
			for i++; i < len(s) && s[i] != c; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		}
	}
	return -1
}

// bareRoot recognises a root of expressions that stands at the beginning of a text as if it were
// CEL. The roots whose names files often have (key.pem, error.log, state.json) are left out.
var bareRoot = regexp.MustCompile(`^(body|meta|vars|params|request|auth)(\.[A-Za-z_?]|\[)`)

// template decodes free text.
func (d *Decoder) template(n *Node, f *fieldInfo, into *penstock.Template) {
	if n.Kind != NodeText {
		hint := ""
		switch n.Kind {
		case NodeBool, NodeInt, NodeFloat:
			hint = "put it in quotes: " + strconv.Quote(n.Text)
		}
		d.wrong(n, f, "text", hint)
		return
	}
	if n.Text == "" && (f.rules.required || f.rules.nonempty) {
		d.errorf(n.Pos, "empty", "", "", "%sis empty", f.subject())
		return
	}
	if d.bare(n.Text, textPos(n)) {
		return
	}
	*into = penstock.Template{Source: n.Text, Pos: textPos(n)}
}

// bare reports text that looks like CEL where a template is meant, and whether it did.
func (d *Decoder) bare(text string, pos penstock.Pos) bool {
	if !bareRoot.MatchString(text) || strings.Contains(text, "${") {
		return false
	}
	text = strings.TrimSpace(text)
	// The same words as in expr, which finds the same where it knows the roots in force: one finding is shown.
	d.errorf(pos, "expression-in-template", text, "write `${"+text+"}`; if the text itself is meant: `${\""+text+"\"}`",
		"`%s` is an expression, but this field is text", text)
	return true
}

// treeLeaves checks the texts of a data tree, which are templates.
func (d *Decoder) treeLeaves(t *penstock.Tree) {
	if t.Kind == penstock.TreeText {
		d.bare(t.Text, t.Pos)
	}
	for i := range t.Elems {
		d.treeLeaves(&t.Elems[i])
	}
}

func (d *Decoder) path(n *Node, f *fieldInfo, into *penstock.Path) {
	if n.Kind != NodeText {
		d.wrong(n, f, "a path such as body.total", "")
		return
	}
	if p, ok := d.parsePath(n.Text, n.Pos, f.subject()); ok {
		p.Pos = textPos(n)
		*into = p
	}
}

func (d *Decoder) parsePath(text string, pos penstock.Pos, subject string) (penstock.Path, bool) {
	if bare := bareForm(text); strings.Contains(text, "${") && bare != "" {
		d.errorf(pos, "wrong-path", clip(text), "write `"+clip(bare)+"`", "%sis a path, not a template", subject)
		return penstock.Path{}, false
	}
	p, err := penstock.ParsePath(text)
	if err != nil {
		hint := ""
		if _, bad := penstock.ParsePath("body." + text); bad == nil && text != "" {
			hint = "did you mean `body." + clip(text) + "` or `vars." + clip(text) + "`?"
		}
		d.errorf(pos, "wrong-path", clip(text), hint, "%s: %v", strings.TrimSpace(subject), err)
		return penstock.Path{}, false
	}
	p.Pos = pos
	if p.Root == "vars" && !d.name(p.Steps[0].Name, pos, "`"+clip(text)+"`") {
		return penstock.Path{}, false
	}
	return p, true
}

func (d *Decoder) format(n *Node, f *fieldInfo, into *penstock.Format) {
	if n.Kind == NodeText {
		d.wrong(n, f, "a map with the codec's name as its key", "write `{ "+clip(n.Text)+": {} }`")
		return
	}
	if n.Kind != NodeMap || len(n.Entries) != 1 {
		d.wrong(n, f, "a map with the codec's name as its one key", "write `{ json: {} }`")
		return
	}
	e := &n.Entries[0]
	*into = penstock.Format{Name: e.Key, Pos: e.KeyPos, Config: e.Value}
	if e.Value.Kind != NodeMap {
		d.errorf(e.Value.Pos, "wrong-type", clip(e.Value.Text), "write `{ "+e.Key+": {} }`", "the configuration of `%s` is a map", e.Key)
		into.Config = &Node{Kind: NodeMap, Pos: e.Value.Pos}
	}
	if d.Registry != nil {
		d.ResolveFormat(into, d.Registry)
	}
}

// ResolveFormat decodes the configuration of a Format whose Config is still a *Node, with the codecs
// of r. It reports whether the codec is there.
func (d *Decoder) ResolveFormat(f *penstock.Format, r *penstock.Registry) bool {
	n, ok := f.Config.(*Node)
	if !ok {
		return f.Config != nil
	}
	_, config := d.DecodeConfig(r, penstock.KindOfCodec, f.Name, f.Pos, n)
	f.Config = config
	return config != nil
}

func (d *Decoder) secret(n *Node, f *fieldInfo, into *penstock.Secret) {
	if n.Kind != NodeMap || len(n.Entries) != 1 || n.Entries[0].Key != "secret" {
		// The text may be a password: it is not repeated in the message.
		d.errorf(n.Pos, "literal-secret", "", "write `{ secret: <name> }` and give the value to the secrets provider",
			"%sis a secret, which is never written into a file", f.subject())
		return
	}
	v := n.Entries[0].Value
	if s, ok := d.text(v, &fieldInfo{name: "secret", rules: rules{required: true}}); ok && d.dns(s, v.Pos, "the name of a secret") {
		*into = penstock.EmptySecret()
		d.Secrets = append(d.Secrets, SecretUse{Name: s, Pos: v.Pos, Target: *into})
	}
}

var (
	celName  = regexp.MustCompile(`^[a-z][A-Za-z0-9]*$`)
	dnsLabel = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)
)

// reservedNames are the roots of expressions (LANGUAGE.md §3) and the reserved words of CEL
// (language definition, section Syntax) that a name could otherwise be.
var reservedNames = []string{
	"body", "meta", "key", "vars", "params", "now", "error", "index", "item", "request", "auth", "args", "parent", "input", "steps",
	"state", "version", "row", "none",
	"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
	"loop", "package", "namespace", "return", "var", "void", "while",
}

// name checks a name that expressions use.
func (d *Decoder) name(s string, pos penstock.Pos, what string) bool {
	if s == "item" {
		return true // the default of forEach's as; sort's item stands in its `by` only
	}
	if !celName.MatchString(s) {
		d.errorf(pos, "wrong-name", clip(s), nameHint(s), "%s: `%s` is no name: a name has letters and digits, and begins with a small letter", what, clip(s))
		return false
	}
	if slices.Contains(reservedNames, s) {
		d.errorf(pos, "wrong-name", s, "choose another, such as `"+s+"1`", "%s: `%s` has a meaning of its own in expressions", what, s)
		return false
	}
	return true
}

// nameHint makes a name of what was written: order-total becomes orderTotal.
func nameHint(s string) string {
	var b strings.Builder
	up := false
	for _, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		switch {
		case !letter:
			up = b.Len() > 0
			continue
		case b.Len() == 0:
			b.WriteString(strings.ToLower(string(r)))
		case up:
			b.WriteString(strings.ToUpper(string(r)))
		default:
			b.WriteRune(r)
		}
		up = false
	}
	if celName.MatchString(b.String()) && len(s) <= 40 {
		return "write `" + b.String() + "`"
	}
	return ""
}

// dns checks a resource name: a DNS label (RFC 1123), beginning with a letter.
func (d *Decoder) dns(s string, pos penstock.Pos, what string) bool {
	if len(s) <= 63 && dnsLabel.MatchString(s) {
		return true
	}
	hint := ""
	if fixed := strings.Trim(strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(splitCamel(s), "-")), "-"); dnsLabel.MatchString(fixed) && len(fixed) <= 63 {
		hint = "write `" + fixed + "`"
	}
	d.errorf(pos, "wrong-name", clip(s), hint, "%s: `%s` is no resource name: at most 63 of a-z, 0-9 and -, beginning with a letter and not ending with -", what, clip(s))
	return false
}

func splitCamel(s string) string {
	return regexp.MustCompile(`([a-z0-9])([A-Z])`).ReplaceAllString(s, "$1-$2")
}
