package schema

import (
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"penstock.dev/penstock/internal/mutation"
)

// kinds7 are some of the seven kinds that a value can be of.
type kinds7 uint8

const (
	null7 kinds7 = 1 << iota
	bool7
	whole7    // numbers without a fraction
	fraction7 // other numbers
	string7
	array7
	object7
	any7 = 1<<iota - 1
)

var kindsByName = map[string]kinds7{"null": null7, "boolean": bool7, "integer": whole7, "number": whole7 | fraction7, "string": string7, "array": array7, "object": object7}

// kindsOf7 is what values are as far as `type` says.
func kindsOf7(s *jsonschema.Schema) kinds7 {
	if s.Types == nil {
		return any7
	}
	out := kinds7(0)
	for _, name := range s.Types.ToStrings() {
		out |= kindsByName[name]
	}
	return out
}

// kindsOfAll is what documents are that are valid under all of them. Without a type they are what the other keywords are about, as with the types of expressions.
func kindsOfAll(all []*jsonschema.Schema) kinds7 {
	out := kinds7(any7)
	for _, s := range all {
		out &= kindsOf7(s)
	}
	if out != any7 {
		return out
	}
	for _, s := range all {
		switch {
		case s.Properties != nil || s.AdditionalProperties != nil || s.PatternProperties != nil:
			return object7
		case s.Items2020 != nil || s.Items != nil || s.PrefixItems != nil:
			return array7
		}
	}
	return out
}

// String is for people: "a string or null".
func (k kinds7) String() string {
	if k == any7 {
		return "anything"
	}
	var out []string
	for _, n := range []struct {
		kinds kinds7
		name  string
	}{{bool7, "a boolean"}, {whole7 | fraction7, "a number"}, {whole7, "a whole number"}, {fraction7, "a number with a fraction"}, {string7, "a string"}, {array7, "a list"}, {object7, "an object"}, {null7, "null"}} {
		if k&n.kinds == n.kinds {
			out = append(out, n.name)
			k &^= n.kinds
		}
	}
	return strings.Join(out, " or ")
}

// kinds compares the types, and says whether there is more to compare.
func (c *comparison) kinds(now *jsonschema.Schema, old kinds7, path string) bool {
	is := kindsOf7(now)
	if old&^is == 0 {
		return true
	}
	c.changed(path, "was %s, and is %s now", old, is)
	return old&is != 0
}

// fields are what is known of the fields of documents.
type fields struct {
	all      []*jsonschema.Schema
	names    []string // that are declared, in order
	required map[string]bool
	closed   bool // there are no others, but of patterns
	patterns map[string][]*jsonschema.Schema
	others   []*jsonschema.Schema // what holds for those that are not declared; none: anything
}

func fieldsOf(all []*jsonschema.Schema) *fields {
	f := &fields{all: all, required: map[string]bool{}, patterns: map[string][]*jsonschema.Schema{}}
	declares, open := false, false
	names := map[string]bool{}
	for _, s := range all {
		for name := range s.Properties {
			names[name], declares = true, true
		}
		for _, name := range s.Required {
			f.required[name] = true
		}
		for r, p := range s.PatternProperties {
			f.patterns[r.String()] = append(f.patterns[r.String()], p)
			declares = true
		}
		if s.UnevaluatedProperties != nil && (s.UnevaluatedProperties.Bool == nil || *s.UnevaluatedProperties.Bool) {
			open = true
		}
		switch a := s.AdditionalProperties.(type) {
		case bool:
			f.closed, open = f.closed || !a, open || a
		case *jsonschema.Schema:
			switch {
			case a.Bool == nil:
				f.others = append(f.others, a)
			case *a.Bool:
				open = true
			default:
				f.closed = true
			}
		}
	}
	f.closed = f.closed || declares && !open && f.others == nil
	f.names = slices.Sorted(maps.Keys(names))
	return f
}

// declares says that a field may be there.
func (f *fields) declares(name string) bool {
	return slices.Contains(f.names, name) || len(f.matching(name)) > 0
}

func (f *fields) matching(name string) (out []*jsonschema.Schema) {
	for _, s := range f.all {
		for r, p := range s.PatternProperties {
			if r.MatchString(name) {
				out = append(out, p)
			}
		}
	}
	return out
}

// of gives what holds for a field that may be there.
func (f *fields) of(name string) (out []*jsonschema.Schema) {
	for _, s := range f.all {
		p, ok := s.Properties[name]
		if ok {
			out = append(out, p)
		}
		for r, q := range s.PatternProperties {
			if ok = ok || r.MatchString(name); r.MatchString(name) {
				out = append(out, q)
			}
		}
		if a, is := s.AdditionalProperties.(*jsonschema.Schema); is && !ok {
			out = append(out, a)
		}
	}
	return out
}

func (c *comparison) object(now *jsonschema.Schema, old []*jsonschema.Schema, path string) {
	f := fieldsOf(old)
	for _, name := range now.Required {
		switch at := join(path, name); {
		case f.required[name], mutation.On("new-required-field-passes"):
		case f.declares(name):
			c.changed(at, "is required now, and was optional")
		default:
			c.changed(at, "is required now, and was not there")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now.Properties)) {
		if f.declares(name) || !f.closed {
			c.takes(now.Properties[name], f.of(name), join(path, name))
		}
	}
	for r, p := range now.PatternProperties {
		for _, name := range f.names {
			if r.MatchString(name) {
				c.takes(p, f.of(name), join(path, name))
			}
		}
		if of := f.patterns[r.String()]; of != nil {
			c.takes(p, of, path+".*")
		} else if len(f.patterns) > 0 || !f.closed {
			c.changed(path, "has another `patternProperties` than before, or has one now: whether older documents fit can't be told")
		}
	}
	c.others(now, f, path)
	if n := now.MinProperties; n != nil && len(f.required) < *n && !slices.ContainsFunc(old, func(o *jsonschema.Schema) bool { return o.MinProperties != nil && *o.MinProperties >= *n }) {
		c.changed(path, "has at least %d fields now, and could have fewer", *n)
	}
	few := f.closed && len(f.patterns) == 0
	if n := now.MaxProperties; n != nil && (!few || len(f.names) > *n) && !slices.ContainsFunc(old, func(o *jsonschema.Schema) bool { return o.MaxProperties != nil && *o.MaxProperties <= *n }) {
		c.changed(path, "has at most %d fields now, and could have more", *n)
	}
}

// others compares with what holds for fields that are not declared now.
func (c *comparison) others(now *jsonschema.Schema, f *fields, path string) {
	var rest *jsonschema.Schema
	switch a := now.AdditionalProperties.(type) {
	case bool:
		if a {
			return
		}
		no := false
		rest = &jsonschema.Schema{Bool: &no}
	case *jsonschema.Schema:
		rest = a
	default:
		return
	}
	none := rest.Bool != nil && !*rest.Bool
	declared := fieldsOf([]*jsonschema.Schema{now})
	for _, name := range f.names {
		switch of := f.of(name); {
		case declared.declares(name):
		case none && !slices.ContainsFunc(of, func(s *jsonschema.Schema) bool { return s.Bool != nil && !*s.Bool }):
			c.changed(join(path, name), "is not declared any more, and no other fields may be there")
		default:
			c.takes(rest, of, join(path, name))
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(f.patterns)) {
		if declared.patterns[pattern] == nil {
			c.takes(rest, f.patterns[pattern], path+".*")
		}
	}
	switch {
	case f.closed:
	case none:
		c.changed(path, "may have no other fields now, and could have some")
	default:
		c.takes(rest, f.others, path+".*")
	}
}

// elements are what holds for the elements of lists: those at the beginning, and all others.
func elements(s *jsonschema.Schema) (first []*jsonschema.Schema, rest *jsonschema.Schema) {
	if s.PrefixItems != nil || s.Items2020 != nil {
		return s.PrefixItems, s.Items2020
	}
	switch i := s.Items.(type) {
	case *jsonschema.Schema:
		return nil, i
	case []*jsonschema.Schema:
		switch a := s.AdditionalItems.(type) {
		case bool:
			return i, &jsonschema.Schema{Bool: &a}
		case *jsonschema.Schema:
			return i, a
		}
		return i, nil
	}
	return nil, nil
}

func (c *comparison) list(now *jsonschema.Schema, old []*jsonschema.Schema, path string) {
	first, rest := elements(now)
	longest, most, least, unique := len(first), math.MaxInt, 0, false
	for _, o := range old {
		p, _ := elements(o)
		longest, unique = max(longest, len(p)), unique || o.UniqueItems
		if o.MaxItems != nil {
			most = min(most, *o.MaxItems)
		}
		if o.MinItems != nil {
			least = max(least, *o.MinItems)
		}
	}
	at := func(i int) (out []*jsonschema.Schema) { // i of longest: all behind
		for _, o := range old {
			if p, r := elements(o); i < len(p) {
				out = append(out, p[i])
			} else if r != nil {
				out = append(out, r)
			}
		}
		return out
	}
	for i := range min(longest, most) {
		n := rest
		if i < len(first) {
			n = first[i]
		}
		c.takes(n, at(i), path+"[]")
	}
	if most > longest {
		c.takes(rest, at(longest), path+"[]")
	}
	if n := now.MinItems; n != nil && *n > least {
		c.changed(path, "has at least %d elements now, and could have fewer", *n)
	}
	if n := now.MaxItems; n != nil && *n < most {
		c.changed(path, "has at most %d elements now, and could have more", *n)
	}
	if now.UniqueItems && !unique && most > 1 {
		c.changed(path, "has no element twice now, and could have")
	}
}

func (c *comparison) text(now *jsonschema.Schema, old []*jsonschema.Schema, path string) {
	one := func(f func(o *jsonschema.Schema) bool) bool { return slices.ContainsFunc(old, f) }
	if n := now.MinLength; n != nil && *n > 0 && !one(func(o *jsonschema.Schema) bool { return o.MinLength != nil && *o.MinLength >= *n }) {
		c.changed(path, "has at least %d characters now, and could have fewer", *n)
	}
	if n := now.MaxLength; n != nil && !one(func(o *jsonschema.Schema) bool { return o.MaxLength != nil && *o.MaxLength <= *n }) {
		c.changed(path, "has at most %d characters now, and could have more", *n)
	}
	if p := now.Pattern; p != nil && !one(func(o *jsonschema.Schema) bool { return o.Pattern != nil && o.Pattern.String() == p.String() }) {
		c.changed(path, "has the pattern %s now, and could be something else", p)
	}
	if f := now.Format; f != nil && !one(func(o *jsonschema.Schema) bool { return o.Format != nil && o.Format.Name == f.Name }) {
		c.changed(path, "has the format %s now, and could be something else", strings.Replace(f.Name, "x-layout:", "x-layout ", 1))
	}
	if e := now.ContentEncoding; e != nil && !one(func(o *jsonschema.Schema) bool { return o.ContentEncoding != nil && o.ContentEncoding.Name == e.Name }) {
		c.changed(path, "is encoded as %s now, and could be something else", e.Name)
	}
	if m := now.ContentMediaType; m != nil && !one(func(o *jsonschema.Schema) bool { return o.ContentMediaType != nil && o.ContentMediaType.Name == m.Name }) {
		c.changed(path, "holds %s now, and could hold something else", m.Name)
	}
}

// bounds are those of numbers; nil: there is none. A bound that is open is no value itself.
type bounds struct {
	low, high         *big.Rat
	lowOpen, highOpen bool
	whole             bool
}

// above narrows: no value is below.
func (b *bounds) above(at *big.Rat, open bool) {
	if at == nil {
		return
	}
	if b.low == nil || at.Cmp(b.low) > 0 {
		b.low, b.lowOpen = at, open
	} else if at.Cmp(b.low) == 0 {
		b.lowOpen = b.lowOpen || open
	}
}

func (b *bounds) below(at *big.Rat, open bool) {
	if at == nil {
		return
	}
	if b.high == nil || at.Cmp(b.high) < 0 {
		b.high, b.highOpen = at, open
	} else if at.Cmp(b.high) == 0 {
		b.highOpen = b.highOpen || open
	}
}

// integers are the formats of whole numbers, with their bounds.
var integers = map[string][2]*big.Rat{
	"int32": {rat(math.MinInt32), rat(math.MaxInt32)}, "int64": {rat(math.MinInt64), rat(math.MaxInt64)},
	"uint32": {rat(0), rat(math.MaxUint32)}, "uint64": {rat(0), new(big.Rat).SetInt(new(big.Int).SetUint64(math.MaxUint64))},
}

func rat(n int64) *big.Rat { return new(big.Rat).SetInt64(n) }

// limit narrows by what a schema says.
func (b *bounds) limit(s *jsonschema.Schema) {
	b.above(s.Minimum, false)
	b.above(s.ExclusiveMinimum, true)
	b.below(s.Maximum, false)
	b.below(s.ExclusiveMaximum, true)
	if s.Format != nil {
		if i, ok := integers[s.Format.Name]; ok {
			b.above(i[0], false)
			b.below(i[1], false)
			b.whole = true
		}
	}
}

func (c *comparison) number(now *jsonschema.Schema, old []*jsonschema.Schema, kinds kinds7, path string) {
	was := bounds{whole: kinds&fraction7 == 0}
	for _, o := range old {
		was.limit(o)
	}
	var is bounds
	is.limit(now)
	if is.low != nil && (was.low == nil || was.low.Cmp(is.low) < 0 || was.low.Cmp(is.low) == 0 && is.lowOpen && !was.lowOpen) {
		c.changed(path, "is at least %s now, and could be less", is.low.RatString())
	}
	if is.high != nil && (was.high == nil || was.high.Cmp(is.high) > 0 || was.high.Cmp(is.high) == 0 && is.highOpen && !was.highOpen) {
		c.changed(path, "is at most %s now, and could be more", is.high.RatString())
	}
	if is.whole && !was.whole {
		c.changed(path, "is a whole number now, and could have a fraction")
	}
	if m := now.MultipleOf; m != nil && (!was.whole || !new(big.Rat).Inv(m).IsInt()) && !slices.ContainsFunc(old, func(o *jsonschema.Schema) bool {
		return o.MultipleOf != nil && new(big.Rat).Quo(o.MultipleOf, m).IsInt()
	}) {
		c.changed(path, "is a multiple of %s now, and could be something else", m.RatString())
	}
}
