package observe_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// alloyBody is what stands in a file, or in a block, of Grafana Alloy's configuration language: attributes and blocks.
type alloyBody struct {
	attrs  map[string]alloyValue
	blocks []alloyBlock
}

type alloyBlock struct {
	name, label string
	alloyBody
}

// alloyValue is an expression, as far as examples have them.
type alloyValue struct {
	text   string // of a string
	ref    string // component.label.export, or what is called
	list   []alloyValue
	object map[string]alloyValue
}

func (b alloyBody) block(name string) alloyBody {
	for _, c := range b.blocks {
		if c.name == name {
			return c.alloyBody
		}
	}
	return alloyBody{}
}

// references are those to components, at any depth.
func (b alloyBody) references() (out []string) {
	var of func(v alloyValue)
	of = func(v alloyValue) {
		if v.ref != "" && !strings.HasPrefix(v.ref, "sys.") {
			out = append(out, v.ref)
		}
		for _, e := range v.list {
			of(e)
		}
		for _, e := range v.object {
			of(e)
		}
	}
	for _, v := range b.attrs {
		of(v)
	}
	for _, c := range b.blocks {
		out = append(out, c.references()...)
	}
	return out
}

// alloyExports are what the components of the examples export.
var alloyExports = map[string]string{
	"discovery.kubernetes": "targets", "discovery.relabel": "output", "loki.process": "receiver", "loki.write": "receiver",
}

// exports says that a component of b exports what ref names.
func (b alloyBody) exports(ref string) bool {
	for _, c := range b.blocks {
		if e := alloyExports[c.name]; e != "" && ref == c.name+"."+c.label+"."+e {
			return true
		}
	}
	return false
}

var alloyToken = regexp.MustCompile(`^(?:[ \t\r]+|//[^\n]*|("(?:[^"\\\n]|\\.)*")|([A-Za-z_][A-Za-z0-9_]*)|([0-9]+(?:\.[0-9]+)?)|([{}\[\]()=,.\n]))`)

// parseAlloy reads Alloy's configuration: https://grafana.com/docs/alloy/latest/get-started/configuration-syntax/.
func parseAlloy(text string) (alloyBody, error) {
	p := &alloyParser{}
	for rest := text; rest != ""; {
		m := alloyToken.FindStringSubmatch(rest)
		if m == nil {
			return alloyBody{}, fmt.Errorf("%.20q is no word of the language", rest)
		}
		if word := m[1] + m[2] + m[3] + m[4]; word != "" {
			p.words = append(p.words, word)
		}
		rest = rest[len(m[0]):]
	}
	b := p.body("")
	return b, p.err
}

type alloyParser struct {
	words []string
	err   error
}

func (p *alloyParser) peek() string {
	if len(p.words) == 0 || p.err != nil {
		return ""
	}
	return p.words[0]
}

func (p *alloyParser) next() string {
	w := p.peek()
	if w != "" {
		p.words = p.words[1:]
	}
	return w
}

func (p *alloyParser) want(word string) {
	if got := p.next(); got != word && p.err == nil {
		p.err = fmt.Errorf("%q stands where %q is wanted, before %q", got, word, p.words)
	}
}

func (p *alloyParser) lines() {
	for p.peek() == "\n" {
		p.next()
	}
}

func (p *alloyParser) name() string {
	name := p.next()
	if !regexp.MustCompile(`^[A-Za-z_]`).MatchString(name) && p.err == nil {
		p.err = fmt.Errorf("%q is no name", name)
	}
	for p.peek() == "." {
		name += p.next() + p.next()
	}
	return name
}

// body reads up to the word end.
func (p *alloyParser) body(end string) alloyBody {
	b := alloyBody{attrs: map[string]alloyValue{}}
	for p.lines(); p.peek() != end; p.lines() {
		name := p.name()
		if p.err != nil {
			return b
		}
		if p.peek() == "=" {
			p.next()
			if _, twice := b.attrs[name]; twice && p.err == nil {
				p.err = errors.New(name + " is there twice")
			}
			b.attrs[name] = p.value()
		} else {
			c := alloyBlock{name: name}
			if strings.HasPrefix(p.peek(), `"`) {
				c.label = strings.Trim(p.next(), `"`)
			}
			p.want("{")
			c.alloyBody = p.body("}")
			p.want("}")
			b.blocks = append(b.blocks, c)
		}
		if w := p.peek(); w != "\n" && w != end && p.err == nil {
			p.err = fmt.Errorf("%q stands where a line ends", w)
		}
		if p.err != nil {
			return b
		}
	}
	return b
}

func (p *alloyParser) value() (v alloyValue) {
	switch w := p.peek(); {
	case strings.HasPrefix(w, `"`):
		v.text = strings.Trim(p.next(), `"`)
	case w == "[":
		p.next()
		for p.lines(); p.peek() != "]" && p.err == nil; p.lines() {
			v.list = append(v.list, p.value())
			p.comma("]")
		}
		p.want("]")
	case w == "{":
		p.next()
		v.object = map[string]alloyValue{}
		for p.lines(); p.peek() != "}" && p.err == nil; p.lines() {
			name := strings.Trim(p.next(), `"`)
			p.want("=")
			v.object[name] = p.value()
			p.comma("}")
		}
		p.want("}")
	case w >= "0" && w < ":":
		v.text = p.next()
	default:
		v.ref = p.name()
		if p.peek() == "(" {
			p.next()
			v.list = []alloyValue{p.value()}
			p.want(")")
			if !slices.Contains([]string{"sys.env"}, v.ref) && p.err == nil {
				p.err = errors.New(v.ref + " is no function")
			}
		}
	}
	return v
}

// comma reads what stands between elements: behind the last one it may be left out where the end is on the same line.
func (p *alloyParser) comma(end string) {
	if p.peek() == "," {
		p.next()
	} else if p.peek() != end && p.err == nil {
		p.err = fmt.Errorf("a comma is missing before %q", p.peek())
	}
}

func TestAlloyParser(t *testing.T) {
	for _, bad := range []string{"a", "a {", "a }", "a = ", "a = {\n b = 1\n}", "a = [1 2]", "a = 1 b = 2", "a = 1\na = 2", "a.b \"c\" {\n d = \"x\n}", "a = f(1)", "a = ;"} {
		if _, err := parseAlloy(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	b, err := parseAlloy("// x\na.b \"c\" {\n  d = [e.f.g, \"h\"]\n  i { j = { k = \"\", l = 1, } }\n}\n")
	if err != nil || b.blocks[0].label != "c" || b.blocks[0].references()[0] != "e.f.g" || len(b.blocks[0].block("i").attrs["j"].object) != 2 {
		t.Errorf("%+v, %v", b, err)
	}
}
