package reference

import (
	"fmt"
	"strings"
)

// pattern is one of the known integration patterns, and how it is written here.
type pattern struct{ name, written string }

// patterns follows the order of Hohpe & Woolf, "Enterprise Integration Patterns", with Camel's additions
// behind. Patterns whose words this version doesn't support say so.
var patterns = []pattern{
	{"Message Channel", "`Channel`"},
	{"Point-to-Point Channel", "`Channel` with `mode: queue`"},
	{"Publish-Subscribe Channel", "`Channel` with `mode: topic`"},
	{"Datatype Channel", "`Channel` with `schema`"},
	{"Invalid Message Channel", "`onError.deadLetter`, or `try` with `catch: [ { to: … } ]`"},
	{"Dead Letter Channel", "`onError.deadLetter`; left out, `<flow>.dead`"},
	{"Guaranteed Delivery", "the default: a message is settled when what became of it is durable"},
	{"Channel Adapter, Messaging Gateway", "a connector under `from`, `to` or `call`"},
	{"Messaging Bridge", "a flow with `from`, `to` and no steps"},
	{"Message Bus", "channels between flows"},
	{"Message Endpoint", "`from`, `to`"},
	{"Command, Document and Event Message", "a `Schema` for each"},
	{"Request-Reply", "`call`"},
	{"Return Address, Correlation Identifier", "`set: { meta.… }` and `key`"},
	{"Message Sequence", "`split` keeps the sequence; `aggregate` by the key gathers it"},
	{"Message Expiration", "`filter: now - body.time < duration(\"1h\")`"},
	{"Format Indicator", "`meta`, and `choice` on it"},
	{"Content-Based Router", "`choice`"},
	{"Message Filter", "`filter`"},
	{"Dynamic Router, Routing Slip", "`loop` with `to` or `choice` in its steps"},
	{"Recipient List", "`forEach` with `to`"},
	{"Splitter", "`split`"},
	{"Aggregator", "`aggregate`"},
	{"Resequencer", "`aggregate`, `sort` and `split`; the verb `resequence` is not supported by this version"},
	{"Composed Message Processor", "`forEach` with the work in its steps"},
	{"Scatter-Gather, Multicast", "`parallel`"},
	{"Process Manager", "the kind `Saga`, not supported by this version"},
	{"Message Broker", "flows between channels"},
	{"Message Translator", "`map`, `set`, `remove`"},
	{"Envelope Wrapper", "`map: { envelope: \"${body}\" }`"},
	{"Content Enricher", "`call` with `into`"},
	{"Content Filter", "`map`, `remove`, `mask`"},
	{"Claim Check", "the verb `claimCheck`, not supported by this version"},
	{"Normalizer", "`choice` with `decode` and `map` in its branches"},
	{"Canonical Data Model", "a `Schema` that channels share"},
	{"Transactional Client", "at-least-once with keyed writes; stronger promises are not supported by this version"},
	{"Polling Consumer, Event-Driven Consumer", "the connector under `from` decides"},
	{"Competing Consumers", "`Channel` with `mode: queue`, read by several flows; `concurrency` within one"},
	{"Message Dispatcher, Selective Consumer", "`choice`, `filter`"},
	{"Durable Subscriber", "a durable `Channel`, not supported by this version"},
	{"Idempotent Receiver", "the verb `dedupe`, not supported by this version"},
	{"Service Activator", "`call`"},
	{"Wire Tap", "`to` with `wait: false`"},
	{"Message History", "`log`, traces"},
	{"Message Store", "`to` a file"},
	{"Detour", "`choice` on a param, or `when`"},
	{"Test Message, Control Bus", "the kind `Test`"},
	{"Channel Purger", "a flow that ends in `to: { drop: {} }`"},
	{"Loop", "`loop`"},
	{"Sampling", "`sample`"},
	{"Sort", "`sort`"},
	{"Validate", "`validate`, or `schema` beside a source"},
	{"Marshal, Unmarshal", "`encode`, `decode`"},
	{"doTry, doCatch", "`try`"},
	{"Throw Exception", "`fail`"},
	{"Stop", "`stop`"},
	{"Delay, Throttle, Load Balance", "the verbs `delay`, `throttle` and `loadBalance`, not supported by this version"},
	{"Circuit Breaker, Bulkhead", "the kind `Policy`, not supported by this version"},
}

func patternsPage() string {
	var b strings.Builder
	b.WriteString(generatedMark + "# Integration patterns\n\nThe patterns of Hohpe & Woolf and of Camel, and how each is written here.\n\n| pattern | is written |\n|---|---|\n")
	for _, p := range patterns {
		fmt.Fprintf(&b, "| %s | %s |\n", p.name, p.written)
	}
	return b.String()
}
