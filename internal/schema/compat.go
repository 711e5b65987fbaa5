package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Change is something of a schema for which documents of an older one may not be valid any more.
type Change struct {
	Path    string `json:"path"`    // "body.lines[].price"
	Message string `json:"message"` // "is required now, and older documents may lack it"
}

// String gives "path message".
func (c Change) String() string { return c.Path + " " + c.Message }

// maxChanges is how many are told of one schema.
const maxChanges = 20

// Backward says for what documents that are valid under an older schema may not be valid under the schema that there is now; nil: all are valid. Both
// are JSON texts of schemas, as [Parse] takes them; the error says which one is none.
//
// Documents are taken to have no other fields than their schema declares, unless it says something of others (additionalProperties): so a field can be
// declared that was not declared before. What can't be told is a Change: a condition (not, if, pattern, …) that was not there
// in the same form.
func Backward(old, now []byte) ([]Change, error) {
	was, err := compileFor("older", old)
	if err != nil {
		return nil, err
	}
	is, err := compileFor("now", now)
	if err != nil {
		return nil, err
	}
	c := &comparison{busy: map[string]bool{}, own: map[*jsonschema.Schema]*jsonschema.Schema{}, rest: map[*jsonschema.Schema]*jsonschema.Schema{}}
	c.takes(is, []*jsonschema.Schema{was}, "body")
	return c.changes, nil
}

// compileFor compiles a schema with what is said of the bytes within a text (contentEncoding), which decides about the type of a value.
func compileFor(name string, text []byte) (*jsonschema.Schema, error) {
	return compileWith(name, text, func(c *jsonschema.Compiler) { c.AssertContent() })
}

// comparison finds changes. What documents were is a list of schemas, all of which hold.
type comparison struct {
	changes []Change
	busy    map[string]bool // is being compared: a schema that refers back to itself holds where all else does
	steps   int
	// What was made of a schema, so that it is known again: its own keywords, and those without alternatives.
	own, rest map[*jsonschema.Schema]*jsonschema.Schema
}

// maxSteps bounds schemas with alternatives within alternatives.
const maxSteps = 2_000

func (c *comparison) changed(path, format string, args ...any) {
	ch := Change{path, fmt.Sprintf(format, args...)}
	if len(c.changes) < maxChanges && !slices.Contains(c.changes, ch) {
		c.changes = append(c.changes, ch)
	}
}

// try finds changes without telling them.
func (c *comparison) try(f func()) []Change {
	outer := c.changes
	c.changes = nil
	f()
	found := c.changes
	c.changes = outer
	return found
}

// takes compares: what is valid under all of old has to be valid under now.
func (c *comparison) takes(now *jsonschema.Schema, old []*jsonschema.Schema, path string) {
	if now == nil || now.Bool != nil && *now.Bool {
		return
	}
	if c.steps++; c.steps > maxSteps {
		c.changed(path, "has too many alternatives for being compared")
		return
	}
	was := c.flatten(old)
	for _, o := range append(slices.Clone(was), old...) {
		if o.Bool != nil && !*o.Bool || same(now, o) {
			return
		}
	}
	key := fmt.Sprintf("%p", now)
	for _, o := range was {
		key += fmt.Sprintf(" %p", o)
	}
	if c.busy[key] {
		return
	}
	c.busy[key] = true
	defer delete(c.busy, key)
	for _, part := range c.flatten([]*jsonschema.Schema{now}) {
		if !slices.ContainsFunc(was, func(o *jsonschema.Schema) bool { return same(part, o) }) {
			c.part(part, was, path)
		}
	}
}

// flatten resolves references and allOf: those that it gives have neither.
func (c *comparison) flatten(all []*jsonschema.Schema) (out []*jsonschema.Schema) {
	seen := map[*jsonschema.Schema]bool{}
	var add func(s *jsonschema.Schema)
	add = func(s *jsonschema.Schema) {
		if s == nil || seen[s] {
			return
		}
		seen[s] = true
		out = append(out, c.ownOf(s))
		add(s.Ref)
		for _, a := range s.AllOf {
			add(a)
		}
	}
	for _, s := range all {
		add(s)
	}
	return out
}

// ownOf is a schema without those that it refers to.
func (c *comparison) ownOf(s *jsonschema.Schema) *jsonschema.Schema {
	if s.Ref == nil && s.AllOf == nil {
		return s
	}
	if c.own[s] == nil {
		own := *s
		own.Ref, own.AllOf = nil, nil
		c.own[s] = &own
	}
	return c.own[s]
}

// restOf is a schema without its alternatives.
func (c *comparison) restOf(s *jsonschema.Schema) (rest *jsonschema.Schema, alternatives []*jsonschema.Schema) {
	if s.AnyOf == nil && s.OneOf == nil {
		return s, nil
	}
	if c.rest[s] == nil {
		own := *s
		if own.AnyOf != nil {
			own.AnyOf = nil
		} else {
			own.OneOf = nil
		}
		c.rest[s] = &own
	}
	if s.AnyOf != nil {
		return c.rest[s], s.AnyOf
	}
	return c.rest[s], s.OneOf
}

// part compares with one schema, without what it refers to.
func (c *comparison) part(now *jsonschema.Schema, old []*jsonschema.Schema, path string) {
	if now.Bool != nil {
		if !*now.Bool {
			c.changed(path, "may not be there any more")
		}
		return
	}
	if values, ok := finite(old); ok {
		c.values(now, old, values, path)
		return
	}
	if c.apart(now, old, path) {
		return
	}
	if now.AnyOf != nil || now.OneOf != nil {
		c.alternatives(now, old, path)
	}
	if now.Enum != nil || now.Const != nil {
		c.changed(path, "may have certain values only (`enum`, `const`), and could have others")
	}
	c.conditions(now, old, path)
	kinds := kindsOfAll(old)
	if !c.kinds(now, kinds, path) {
		return
	}
	if kinds&object7 != 0 {
		c.object(now, old, path)
	}
	if kinds&array7 != 0 {
		c.list(now, old, path)
	}
	if kinds&string7 != 0 {
		c.text(now, old, path)
	}
	if kinds&(whole7|fraction7) != 0 {
		c.number(now, old, kinds, path)
	}
}

// finite gives the values of documents of which there are few: enum, const, null.
func finite(old []*jsonschema.Schema) ([]any, bool) {
	for _, o := range old {
		switch {
		case o.Const != nil:
			return []any{*o.Const}, true
		case o.Enum != nil:
			return o.Enum.Values, true
		}
	}
	switch kindsOfAll(old) {
	case null7:
		return []any{nil}, true
	case bool7:
		return []any{false, true}, true
	case null7 | bool7:
		return []any{nil, false, true}, true
	}
	return nil, false
}

// values holds each value to the schema.
func (c *comparison) values(now *jsonschema.Schema, old []*jsonschema.Schema, values []any, path string) {
	for _, v := range values {
		if slices.ContainsFunc(old, func(o *jsonschema.Schema) bool { return o.Validate(v) != nil }) || now.Validate(v) == nil {
			continue
		}
		text, err := json.Marshal(v)
		if err != nil {
			text = []byte("a value")
		}
		c.changed(path, "could be %s, which is refused now", text)
	}
}

// apart takes alternatives of what documents were one by one, and says whether there are any.
func (c *comparison) apart(now *jsonschema.Schema, old []*jsonschema.Schema, path string) bool {
	for i, o := range old {
		rest, alternatives := c.restOf(o)
		if alternatives == nil {
			continue
		}
		for _, a := range alternatives {
			c.takes(now, append(append(slices.Clone(old[:i]), old[i+1:]...), rest, a), path)
		}
		return true
	}
	kinds := kindsOfAll(old)
	if now.AnyOf == nil && now.OneOf == nil || kinds&(kinds-1) == 0 || kinds&^(whole7|fraction7) == 0 {
		return false
	}
	for _, k := range []struct {
		kinds kinds7
		name  string
	}{{null7, "null"}, {bool7, "boolean"}, {whole7 | fraction7, "number"}, {string7, "string"}, {array7, "array"}, {object7, "object"}} {
		if kinds&k.kinds != 0 {
			var t jsonschema.Types
			t.Add(k.name)
			c.takes(now, append(slices.Clone(old), &jsonschema.Schema{Types: &t}), path)
		}
	}
	return true
}

// alternatives compares with anyOf and oneOf.
func (c *comparison) alternatives(now *jsonschema.Schema, old []*jsonschema.Schema, path string) {
	if now.AnyOf != nil {
		c.some(now.AnyOf, old, path, false)
	}
	if now.OneOf != nil {
		c.some(now.OneOf, old, path, true)
	}
}

// some compares with alternatives, of which one, or just one, has to hold.
func (c *comparison) some(all, old []*jsonschema.Schema, path string, one bool) {
	var nearest []Change
	for i, a := range all {
		found := c.try(func() { c.takes(a, old, path) })
		if len(found) > 0 {
			if nearest == nil || len(found) < len(nearest) {
				nearest = found
			}
			continue
		}
		for j, b := range all {
			if one && i != j && !c.disjoint(b, old) {
				c.changed(path, "may fit several alternatives of `oneOf` now")
				return
			}
		}
		return
	}
	what := ""
	if len(nearest) > 0 {
		what = "; in the nearest, " + nearest[0].String()
	}
	c.changed(path, "could be what none of the alternatives takes now%s", what)
}

// disjoint says that surely nothing of what documents were is valid under now.
func (c *comparison) disjoint(now *jsonschema.Schema, old []*jsonschema.Schema) bool {
	was := c.flatten(old)
	fields := fieldsOf(was)
	for _, n := range c.flatten([]*jsonschema.Schema{now}) {
		if n.Bool != nil && !*n.Bool || kindsOfAll(was)&kindsOf7(n) == 0 {
			return true
		}
		if kindsOfAll(was) != object7 {
			continue
		}
		for name, p := range n.Properties {
			of := fields.of(name)
			values, ok := finite(c.flatten(of))
			if ok && fields.required[name] && !slices.ContainsFunc(values, func(v any) bool { return p.Validate(v) == nil }) {
				return true
			}
		}
		for _, name := range n.Required {
			if fields.closed && !fields.declares(name) {
				return true
			}
		}
	}
	return false
}

// conditions compares with keywords that are not looked into: they have to be there in the same form.
func (c *comparison) conditions(now *jsonschema.Schema, old []*jsonschema.Schema, path string) {
	for _, k := range []struct {
		name string
		has  bool
		of   func(s *jsonschema.Schema) any
	}{
		{"not", now.Not != nil, func(s *jsonschema.Schema) any { return s.Not }},
		{"if", now.If != nil, func(s *jsonschema.Schema) any { return []*jsonschema.Schema{s.If, s.Then, s.Else} }},
		{"propertyNames", now.PropertyNames != nil, func(s *jsonschema.Schema) any { return s.PropertyNames }},
		{"dependencies", now.Dependencies != nil, func(s *jsonschema.Schema) any { return s.Dependencies }},
		{"dependentRequired", now.DependentRequired != nil, func(s *jsonschema.Schema) any { return s.DependentRequired }},
		{"dependentSchemas", now.DependentSchemas != nil, func(s *jsonschema.Schema) any { return s.DependentSchemas }},
		{"contains", now.Contains != nil, func(s *jsonschema.Schema) any { return []any{s.Contains, s.MinContains, s.MaxContains} }},
		{"contentSchema", now.ContentSchema != nil, func(s *jsonschema.Schema) any { return s.ContentSchema }},
		// These depend on all that stands beside them, and takes has looked for that.
		{"unevaluatedProperties", now.UnevaluatedProperties != nil, nil},
		{"unevaluatedItems", now.UnevaluatedItems != nil, nil},
		{"$recursiveRef", now.RecursiveRef != nil, nil},
		{"$dynamicRef", now.DynamicRef != nil, nil},
		{"x-", len(now.Extensions) > 0, nil},
	} {
		if !k.has || k.of != nil && slices.ContainsFunc(old, func(o *jsonschema.Schema) bool { return sameAny(k.of(now), k.of(o)) }) {
			continue
		}
		c.changed(path, "has another `%s` than before, or has one now: whether older documents fit can't be told", strings.TrimSuffix(k.name, "-"))
	}
}
