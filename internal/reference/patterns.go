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
	{"Dead Letter Channel", "the default: `<flow>.dead` in the store, which `penstock dlq` shows and redrives; or `onError.deadLetter`"},
	{"Guaranteed Delivery", "the default: a durable `Channel`, and a message is settled when what became of it is durable; `delivery` says what must hold"},
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
	{"Resequencer", "`resequence`; a group at a time with `aggregate`, `sort` and `split`"},
	{"Composed Message Processor", "`forEach` with the work in its steps"},
	{"Scatter-Gather, Multicast", "`parallel`"},
	{"Process Manager", "the kind `Saga`, not supported by this version"},
	{"Message Broker", "flows between channels"},
	{"Message Translator", "`map`, `set`, `remove`"},
	{"Envelope Wrapper", "`map: { envelope: \"${body}\" }`"},
	{"Content Enricher", "`call` with `into`"},
	{"Content Filter", "`map`, `remove`, `mask`"},
	{"Claim Check", "`claimCheck`, and `claimCheck` with `redeem`"},
	{"Normalizer", "`choice` with `decode` and `map` in its branches"},
	{"Canonical Data Model", "a `Schema` that channels share"},
	{"Transactional Client", "`delivery: effectively-once`, with `id` beside the source: identity and effects in one transaction of the store"},
	{"Polling Consumer, Event-Driven Consumer", "the connector under `from` decides"},
	{"Competing Consumers", "`Channel` with `mode: queue`, read by several flows; `concurrency` within one"},
	{"Message Dispatcher, Selective Consumer", "`choice`, `filter`"},
	{"Durable Subscriber", "a durable `Channel` with `mode: topic`: each reading flow goes on where it stopped"},
	{"Idempotent Receiver", "`dedupe`; `id` beside a source"},
	{"Service Activator", "`call`"},
	{"Wire Tap", "`to` with `wait: false`"},
	{"Message History", "`log`, traces, `penstock trace`"},
	{"Message Store", "`to` a file, or a durable `Channel` with its `retention`"},
	{"Detour", "`choice` on a param, or `when`"},
	{"Test Message, Control Bus", "the kind `Test`"},
	{"Channel Purger", "a flow that ends in `to: { drop: {} }`; `retention`"},
	{"Loop", "`loop`"},
	{"Sampling", "`sample`"},
	{"Sort", "`sort`"},
	{"Validate", "`validate`, or `schema` beside a source"},
	{"Marshal, Unmarshal", "`encode`, `decode`"},
	{"doTry, doCatch", "`try`"},
	{"Throw Exception", "`fail`"},
	{"Stop", "`stop`"},
	{"Delay", "`delay`"},
	{"Throttle", "`throttle`"},
	{"Load Balance", "the verb `loadBalance`, not supported by this version; a `Channel` with `mode: queue`"},
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
