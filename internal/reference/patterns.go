package reference

import (
	"fmt"
	"strings"
)

// pattern is one of the known integration patterns, what Camel calls it where that differs, how it is written here, and the file below
// examples that shows it.
type pattern struct{ name, camel, written, example string }

// chapter is a part of the catalogue.
type chapter struct {
	name     string
	patterns []pattern
}

// chapters are those of Hohpe & Woolf, "Enterprise Integration Patterns", with all of its 65 patterns, and Camel's additions
// behind them. Patterns whose words this version doesn't support say so.
var chapters = []chapter{
	{"Integration styles", []pattern{
		{"File Transfer", "", "`from: { file: … }`, `to: { file: … }`", "patterns/integration-styles"},
		{"Shared Database", "SQL component", "`from`, `to` and `call` with `{ sql: … }`", "sql/sql"},
		{"Remote Procedure Invocation", "", "`from: { http: … }` without a `to` answers; `call` asks", "patterns/integration-styles"},
		{"Messaging", "", "`to: { channel: … }`, `from: { channel: … }`", "patterns/integration-styles"},
	}},
	{"Messaging systems", []pattern{
		{"Message Channel", "direct, seda", "`Channel`", "patterns/channels"},
		{"Message", "Exchange", "a body with `meta` and `key`; a `Schema` says what it is", "patterns/messages"},
		{"Pipes and Filters", "pipeline", "a flow: the steps between `from` and `to`", "patterns/bus"},
		{"Message Router", "", "`choice`", "verbs/choice"},
		{"Message Translator", "transform, setBody", "`map`, `set`, `remove`", "verbs/map"},
		{"Message Endpoint", "endpoint", "a connector under `from`, `to` or `call`", "patterns/integration-styles"},
	}},
	{"Messaging channels", []pattern{
		{"Point-to-Point Channel", "", "`Channel` with `mode: queue`", "patterns/competing-consumers"},
		{"Publish-Subscribe Channel", "", "`Channel` with `mode: topic`", "patterns/channels"},
		{"Datatype Channel", "", "`Channel` with `schema`", "patterns/durable-subscriber"},
		{"Invalid Message Channel", "", "`onError.deadLetter`, or `try` with `catch: [ { to: … } ]`", "patterns/dead-letters"},
		{"Dead Letter Channel", "deadLetterChannel, onException", "the default: `<flow>.dead` in the store, which `penstock dlq` shows and redrives, and a flow with `redrive`; or `onError.deadLetter`", "patterns/dead-letters"},
		{"Guaranteed Delivery", "", "the default: a durable `Channel`, and a message is settled when what became of it is durable; `delivery` says what must hold", "patterns/durable-subscriber"},
		{"Channel Adapter", "component", "a connector under `from` or `to`", "patterns/bus"},
		{"Messaging Bridge", "bridge", "a flow with `from`, `to` and no steps", "patterns/bus"},
		{"Message Bus", "", "a `Channel` that all send to and read from", "patterns/bus"},
	}},
	{"Message construction", []pattern{
		{"Command Message", "", "a `Schema`; `choice` on what it is", "patterns/messages"},
		{"Document Message", "", "a `Schema`", "patterns/messages"},
		{"Event Message", "InOnly", "a `Schema`; a `Channel` with `mode: topic`", "patterns/messages"},
		{"Request-Reply", "InOut, requestReply", "`call`; over channels, two flows", "patterns/request-reply"},
		{"Return Address", "", "a header, and `choice` on it", "patterns/request-reply"},
		{"Correlation Identifier", "", "a header, or the `key`", "patterns/request-reply"},
		{"Message Sequence", "", "`split` numbers, `aggregate` gathers", "patterns/message-sequence"},
		{"Message Expiration", "", "`filter: now - body.time < duration(\"1h\")`", "patterns/messages"},
		{"Format Indicator", "", "a field or header, and `choice` on it", "patterns/messages"},
	}},
	{"Message routing", []pattern{
		{"Content-Based Router", "choice, when", "`choice`", "verbs/choice"},
		{"Message Filter", "filter", "`filter`", "verbs/filter"},
		{"Dynamic Router", "dynamicRouter", "`loop` with `choice`, over a list that steps change", "patterns/routing-slip"},
		{"Recipient List", "recipientList", "`forEach` with `to`", "verbs/forEach"},
		{"Splitter", "split", "`split`", "verbs/split"},
		{"Aggregator", "aggregate", "`aggregate`", "verbs/aggregate"},
		{"Resequencer", "resequence", "`resequence`; a group at a time with `aggregate`, `sort` and `split`", "verbs/resequence"},
		{"Composed Message Processor", "", "`forEach` with the work in its steps", "verbs/forEach"},
		{"Scatter-Gather", "", "`parallel`, with `partial` for those that answer in time", "verbs/parallel"},
		{"Routing Slip", "routingSlip", "`loop` with `choice`, over the list that the message carries", "patterns/routing-slip"},
		{"Process Manager", "saga", "one message long: a flow with `try`, whose `catch` undoes; the kind `Saga`, for what waits, is not supported by this version", "patterns/process-manager"},
		{"Message Broker", "", "flows between channels", "patterns/bus"},
	}},
	{"Message transformation", []pattern{
		{"Envelope Wrapper", "", "`map: { envelope: \"${body}\" }`", "patterns/envelope"},
		{"Content Enricher", "enrich, pollEnrich", "`call` with `into`; from a file or a table that is polled, a look-up", "verbs/call"},
		{"Content Filter", "", "`map`, `remove`, `mask`", "verbs/remove"},
		{"Claim Check", "claimCheck", "`claimCheck`, and `claimCheck` with `redeem`", "verbs/claimCheck"},
		{"Normalizer", "", "`choice` with `decode` and `map` in its branches", "patterns/envelope"},
		{"Canonical Data Model", "", "a `Schema` that channels share", "patterns/envelope"},
	}},
	{"Messaging endpoints", []pattern{
		{"Messaging Gateway", "", "`from: { http: … }` in front of channels", "patterns/consumers"},
		{"Messaging Mapper", "", "`map` between a `Schema` of ours and one of theirs", "patterns/envelope"},
		{"Transactional Client", "transacted", "`delivery: effectively-once`, with `id` beside the source: identity and effects in one transaction of the store", "patterns/durable-subscriber"},
		{"Polling Consumer", "pollingConsumer", "`from: { timer: … }` with `call`, `from: { sql: … }`, a watched folder", "patterns/consumers"},
		{"Event-Driven Consumer", "", "`from: { http: … }`, a channel", "patterns/consumers"},
		{"Competing Consumers", "concurrentConsumers", "`Channel` with `mode: queue`, read by several flows; `concurrency` within one", "patterns/competing-consumers"},
		{"Message Dispatcher", "", "`loadBalance`, or `choice`", "patterns/consumers"},
		{"Selective Consumer", "", "`filter` as the first step", "patterns/consumers"},
		{"Durable Subscriber", "durable subscription", "a durable `Channel` with `mode: topic`: each reading flow goes on where it stopped", "patterns/durable-subscriber"},
		{"Idempotent Receiver", "idempotentConsumer", "`dedupe`; `id` beside a source", "patterns/idempotent-receiver"},
		{"Service Activator", "bean, process", "`call`; `script`", "verbs/call"},
	}},
	{"System management", []pattern{
		{"Control Bus", "controlbus", "`penstock ps`, `top`, `tap`, `send`, `pause`, `drain`; the control port; from a flow, `redrive`", "patterns/detour"},
		{"Detour", "", "`when` on a param", "patterns/detour"},
		{"Wire Tap", "wireTap", "`to` with `wait: false`", "patterns/wire-tap"},
		{"Message History", "messageHistory", "`log`, traces, `penstock trace`", "verbs/log"},
		{"Message Store", "", "`to` a file, or a durable `Channel` with its `retention`", "patterns/durable-subscriber"},
		{"Smart Proxy", "", "`set: { vars.… }` in front of a `call`, and `map` behind it", "patterns/detour"},
		{"Test Message", "", "`penstock send`, and the kind `Test`", "patterns/detour"},
		{"Channel Purger", "", "a flow that ends in `to: { drop: {} }`; `retention`", "patterns/purger"},
	}},
	{"Of Camel, beside these", []pattern{
		{"Multicast", "multicast", "`parallel` with `to` in its branches, with `partial` where failures are a part of the result; one `to` after the other, where each waits for the one before", "patterns/multicast"},
		{"Load Balancer", "loadBalance", "`loadBalance`; a `Channel` with `mode: queue`, among flows", "verbs/loadBalance"},
		{"Failover", "failover", "`loadBalance` with `strategy: failover`", "resilience/failover"},
		{"Circuit Breaker", "circuitBreaker", "`breaker` of a `Policy` or a `Connection`", "resilience/circuit-breaker"},
		{"Bulkhead", "bulkhead", "`concurrency` of a `Policy` or a `Connection`", "resilience/circuit-breaker"},
		{"Loop", "loop", "`loop`", "verbs/loop"},
		{"Sampling", "sample", "`sample`", "verbs/sample"},
		{"Sort", "sort", "`sort`", "verbs/sort"},
		{"Validate", "validate", "`validate`, or `schema` beside a source", "verbs/validate"},
		{"Marshal, Unmarshal", "marshal, unmarshal", "`encode`, `decode`", "verbs/encode"},
		{"Exception Clause", "doTry, doCatch", "`try`", "verbs/try"},
		{"Throw Exception", "throwException", "`fail`", "verbs/fail"},
		{"Stop", "stop", "`stop`", "verbs/stop"},
		{"Change Data Capture", "", "`changes`, between full extracts", "verbs/changes"},
		{"Delay", "delay", "`delay`", "verbs/delay"},
		{"Throttle", "throttle", "`throttle`", "verbs/throttle"},
		{"Poll Enricher", "pollEnrich", "`call` with `timeout`, and `try` for what is then", "patterns/poll-enricher"},
	}},
}

func patternsPage() string {
	var b strings.Builder
	b.WriteString(generatedMark + "# Integration patterns\n\nThe 65 patterns of Hohpe & Woolf, *Enterprise Integration Patterns*, and Camel's names for them: how each is written here, and an " +
		"example that can be run and is a test.\n")
	for _, c := range chapters {
		fmt.Fprintf(&b, "\n## %s\n\n| pattern | in Camel | is written | example |\n|---|---|---|---|\n", c.name)
		for _, p := range c.patterns {
			fmt.Fprintf(&b, "| %s | %s | %s | [%s](../../examples/%s.yaml) |\n", p.name, p.camel, p.written, p.example, p.example)
		}
	}
	return b.String()
}
