package reference

import (
	"fmt"
	"strings"
)

// pattern is one of the known integration patterns, how it is written here, and, where there is one, the file below examples
// that shows it.
type pattern struct{ name, written, example string }

// patterns follows the order of Hohpe & Woolf, "Enterprise Integration Patterns", with Camel's additions
// behind. Patterns whose words this version doesn't support say so.
var patterns = []pattern{
	{"Message Channel", "`Channel`", "patterns/channels"},
	{"Point-to-Point Channel", "`Channel` with `mode: queue`", "patterns/competing-consumers"},
	{"Publish-Subscribe Channel", "`Channel` with `mode: topic`", "patterns/channels"},
	{"Datatype Channel", "`Channel` with `schema`", "patterns/durable-subscriber"},
	{"Invalid Message Channel", "`onError.deadLetter`, or `try` with `catch: [ { to: … } ]`", "patterns/dead-letters"},
	{"Dead Letter Channel", "the default: `<flow>.dead` in the store, which `penstock dlq` shows and redrives; or `onError.deadLetter`", "patterns/dead-letters"},
	{"Guaranteed Delivery", "the default: a durable `Channel`, and a message is settled when what became of it is durable; `delivery` says what must hold", "patterns/durable-subscriber"},
	{"Channel Adapter, Messaging Gateway", "a connector under `from`, `to` or `call`", ""},
	{"Messaging Bridge", "a flow with `from`, `to` and no steps", ""},
	{"Message Bus", "channels between flows", ""},
	{"Message Endpoint", "`from`, `to`", ""},
	{"Command, Document and Event Message", "a `Schema` for each", ""},
	{"Request-Reply", "`call`", ""},
	{"Return Address, Correlation Identifier", "`set: { meta.… }` and `key`", ""},
	{"Message Sequence", "`split` keeps the sequence; `aggregate` by the key gathers it", ""},
	{"Message Expiration", "`filter: now - body.time < duration(\"1h\")`", ""},
	{"Format Indicator", "`meta`, and `choice` on it", ""},
	{"Content-Based Router", "`choice`", "verbs/choice"},
	{"Message Filter", "`filter`", "verbs/filter"},
	{"Dynamic Router, Routing Slip", "`loop` with `to` or `choice` in its steps", "verbs/loop"},
	{"Recipient List", "`forEach` with `to`", "verbs/forEach"},
	{"Splitter", "`split`", "verbs/split"},
	{"Aggregator", "`aggregate`", "verbs/aggregate"},
	{"Resequencer", "`resequence`; a group at a time with `aggregate`, `sort` and `split`", "verbs/resequence"},
	{"Composed Message Processor", "`forEach` with the work in its steps", "verbs/forEach"},
	{"Scatter-Gather, Multicast", "`parallel`", "verbs/parallel"},
	{"Process Manager", "the kind `Saga`, not supported by this version", ""},
	{"Message Broker", "flows between channels", ""},
	{"Message Translator", "`map`, `set`, `remove`", "verbs/map"},
	{"Envelope Wrapper", "`map: { envelope: \"${body}\" }`", ""},
	{"Content Enricher", "`call` with `into`", "verbs/call"},
	{"Content Filter", "`map`, `remove`, `mask`", "verbs/remove"},
	{"Claim Check", "`claimCheck`, and `claimCheck` with `redeem`", "verbs/claimCheck"},
	{"Normalizer", "`choice` with `decode` and `map` in its branches", "verbs/decode"},
	{"Canonical Data Model", "a `Schema` that channels share", ""},
	{"Transactional Client", "`delivery: effectively-once`, with `id` beside the source: identity and effects in one transaction of the store", "patterns/durable-subscriber"},
	{"Polling Consumer, Event-Driven Consumer", "the connector under `from` decides", ""},
	{"Competing Consumers", "`Channel` with `mode: queue`, read by several flows; `concurrency` within one", "patterns/competing-consumers"},
	{"Message Dispatcher, Selective Consumer", "`choice`, `filter`", "verbs/filter"},
	{"Durable Subscriber", "a durable `Channel` with `mode: topic`: each reading flow goes on where it stopped", "patterns/durable-subscriber"},
	{"Idempotent Receiver", "`dedupe`; `id` beside a source", "patterns/idempotent-receiver"},
	{"Service Activator", "`call`", "verbs/call"},
	{"Wire Tap", "`to` with `wait: false`", "patterns/wire-tap"},
	{"Message History", "`log`, traces, `penstock trace`", "verbs/log"},
	{"Message Store", "`to` a file, or a durable `Channel` with its `retention`", "patterns/durable-subscriber"},
	{"Detour", "`choice` on a param, or `when`", ""},
	{"Test Message, Control Bus", "the kind `Test`", ""},
	{"Channel Purger", "a flow that ends in `to: { drop: {} }`; `retention`", "patterns/purger"},
	{"Loop", "`loop`", "verbs/loop"},
	{"Sampling", "`sample`", "verbs/sample"},
	{"Sort", "`sort`", "verbs/sort"},
	{"Validate", "`validate`, or `schema` beside a source", "verbs/validate"},
	{"Marshal, Unmarshal", "`encode`, `decode`", "verbs/encode"},
	{"doTry, doCatch", "`try`", "verbs/try"},
	{"Throw Exception", "`fail`", "verbs/fail"},
	{"Stop", "`stop`", "verbs/stop"},
	{"Change Data Capture", "`changes`, between full extracts", "verbs/changes"},
	{"Delay", "`delay`", "verbs/delay"},
	{"Throttle", "`throttle`", "verbs/throttle"},
	{"Load Balance", "the verb `loadBalance`, not supported by this version; a `Channel` with `mode: queue`", ""},
	{"Circuit Breaker, Bulkhead", "the kind `Policy`, not supported by this version", ""},
}

func patternsPage() string {
	var b strings.Builder
	b.WriteString(generatedMark + "# Integration patterns\n\nThe patterns of Hohpe & Woolf and of Camel, and how each is written here.\n\n| pattern | is written | example |\n|---|---|---|\n")
	for _, p := range patterns {
		example := ""
		if p.example != "" {
			example = "[" + p.example + "](../../examples/" + p.example + ".yaml)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", p.name, p.written, example)
	}
	return b.String()
}
