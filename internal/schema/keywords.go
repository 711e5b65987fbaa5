package schema

import (
	"sort"
	"strings"
)

// keywords are those that this package or the validator knows.
var keywords = strings.Fields(`
	$schema $id $ref $anchor $defs $comment $dynamicRef $dynamicAnchor $vocabulary $recursiveRef $recursiveAnchor definitions id
	type enum const format contentEncoding contentMediaType contentSchema
	multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern
	items prefixItems additionalItems unevaluatedItems maxItems minItems uniqueItems contains maxContains minContains
	properties required additionalProperties unevaluatedProperties patternProperties propertyNames maxProperties minProperties
	dependentRequired dependentSchemas dependencies
	allOf anyOf oneOf not if then else discriminator nullable
	title description default examples example deprecated readOnly writeOnly externalDocs xml
	x-layout x-class x-residency`)

// unknownKeywords notes words that no reader of schemas knows: probably misspelt.
func (r *reader) unknownKeywords(p place) {
	known := map[string]bool{}
	for _, k := range keywords {
		known[k] = true
	}
	r.each(p, func(name string, q place) {
		if known[name] || strings.HasPrefix(name, "x-") {
			return
		}
		hint := ""
		if c := near(name); c != "" {
			hint = "did you mean `" + c + "`?"
		}
		r.note(q, hint, "`"+name+"` is no keyword of JSON Schema: it has no effect")
	})
}

// near finds the keyword that differs from name by the fewest letters, if they are few.
func near(name string) string {
	best, least := "", 3
	sorted := append([]string(nil), keywords...)
	sort.Strings(sorted)
	for _, k := range sorted {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
