package kafka

import (
	"strings"
	"testing"

	"penstock.dev/penstock"
)

func text(s string) penstock.Template { return penstock.Template{Source: s} }

func TestConnectionsAreChecked(t *testing.T) {
	secret := penstock.EmptySecret()
	for name, c := range map[string]struct {
		config ConnectionConfig
		wants  []string
	}{
		"fine":             {ConnectionConfig{Brokers: []penstock.Template{text("a:9092"), text("b"), text("[::1]:9093"), text("${params.broker}")}}, nil},
		"bad brokers":      {ConnectionConfig{Brokers: []penstock.Template{text("kafka://a:1"), text("b:x"), text("c:1,d:2"), text(""), text("a:0"), text(":9092"), text("a b:1")}}, []string{"leave out what stands before", "the port is a number", "a line of its own", "as in", "the port is", "as in", "as in"}},
		"half a pair":      {ConnectionConfig{TLS: &TLS{Certificate: secret}}, []string{"certificate and privateKey belong together"}},
		"plain":            {ConnectionConfig{SASL: &SASL{Mechanism: saslPlain, User: text("u"), Password: secret}}, nil},
		"no password":      {ConnectionConfig{SASL: &SASL{Mechanism: saslScram256, User: text("u")}}, []string{"scram-sha-256 needs `user` and `password`"}},
		"token with scram": {ConnectionConfig{SASL: &SASL{Mechanism: saslScram512, User: text("u"), Password: secret, Token: secret, Scope: "x"}}, []string{"`token` has no meaning", "`scope` has no meaning"}},
		"no token":         {ConnectionConfig{SASL: &SASL{Mechanism: saslOAuth}}, []string{"oauthbearer needs `token`"}},
		"two tokens":       {ConnectionConfig{SASL: &SASL{Mechanism: saslOAuth, Token: secret, TokenURL: text("https://x")}}, []string{"keep one of them"}},
		"user with token":  {ConnectionConfig{SASL: &SASL{Mechanism: saslOAuth, Token: secret, User: text("u")}}, []string{"`user` has no meaning"}},
	} {
		t.Run(name, func(t *testing.T) { checked(t, c.config.Validate(), c.wants) })
	}
}

// checked holds findings to what they must say.
func checked(t *testing.T, errs []error, wants []string) {
	t.Helper()
	if len(errs) != len(wants) {
		t.Fatalf("%d findings, want %d: %v", len(errs), len(wants), errs)
	}
	for i, want := range wants {
		if !strings.Contains(errs[i].Error(), want) {
			t.Errorf("finding %d is %q, want %q in it", i, errs[i], want)
		}
	}
}

func TestEndpointsAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		config penstock.Resolver
		wants  []string
	}{
		"topic":             {&SourceConfig{Topic: text("a.b_c-D9")}, nil},
		"no topic":          {&SourceConfig{}, []string{"set one of"}},
		"topic and pattern": {&SourceConfig{Topic: text("a"), Pattern: "b.*"}, []string{"set one of"}},
		"bad names":         {&SourceConfig{Topics: []penstock.Template{text("a b"), text(".."), text(strings.Repeat("x", 250)), text("${params.t}")}}, []string{"letters, digits", "Kafka refuses", "Kafka refuses"}},
		"bad pattern":       {&SourceConfig{Pattern: "a("}, []string{"pattern: error parsing regexp"}},
		"bad time":          {&SourceConfig{Topic: text("a"), StartTime: "yesterday", Start: startLatest}, []string{"is no time", "keep one of them"}},
		"sink":              {&SinkConfig{Topic: text("a-${body.x}"), Timeout: 2, Linger: 1}, nil},
		"sink's topic":      {&SinkConfig{Topic: text("a/b")}, []string{"letters, digits"}},
		"sink's headers":    {&SinkConfig{Topic: text("a"), Headers: map[string]penstock.Template{"Kafka-topic": text("x")}}, []string{"can't be the name"}},
		"long linger":       {&SinkConfig{Topic: text("a"), Timeout: 1, Linger: 2}, []string{"linger is longer"}},
	} {
		t.Run(name, func(t *testing.T) { checked(t, c.config.Validate(), c.wants) })
	}
}

func TestReadingWhatIsWritten(t *testing.T) {
	ref := penstock.ConnectionRef{Name: "one"}
	for name, c := range map[string]struct {
		source SourceConfig
		sink   SinkConfig
		want   bool
	}{
		"the same topic":     {SourceConfig{Connection: ref, Topic: text("a")}, SinkConfig{Connection: ref, Topic: text("a")}, true},
		"one of several":     {SourceConfig{Connection: ref, Topics: []penstock.Template{text("b"), text("a")}}, SinkConfig{Connection: ref, Topic: text("a")}, true},
		"one that is found":  {SourceConfig{Connection: ref, Pattern: "a.*"}, SinkConfig{Connection: ref, Topic: text("ab")}, true},
		"another topic":      {SourceConfig{Connection: ref, Topic: text("a")}, SinkConfig{Connection: ref, Topic: text("b")}, false},
		"part of a name":     {SourceConfig{Connection: ref, Pattern: "a"}, SinkConfig{Connection: ref, Topic: text("ba")}, false},
		"another connection": {SourceConfig{Connection: ref, Topic: text("a")}, SinkConfig{Connection: penstock.ConnectionRef{Name: "two"}, Topic: text("a")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.source.Overlaps(&c.sink, penstock.Env{}); (err != nil) != c.want {
				t.Errorf("%v", err)
			}
		})
	}
}
