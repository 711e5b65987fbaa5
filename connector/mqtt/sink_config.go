package mqtt

import (
	"fmt"
	"strings"

	"penstock.dev/penstock"
)

// SinkConfig is the configuration of the sink.
type SinkConfig struct {
	// The broker to publish to.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The topic of each message: `shops/${body.shop}/totals`.
	Topic penstock.Template `json:"topic" penstock:"required,place=plain"`
	// The quality of service. 0: nobody answers, and what the network loses is lost. 1: the broker acknowledges; where the acknowledgement is lost with the session the
	// message is there twice. 2: in two steps, so that it is there once as long as the broker keeps the session.
	QoS int `json:"qos" penstock:"min=0,max=2,default=1"`
	// The broker keeps the message as the last of its topic, and gives it to who subscribes later. One with an empty payload takes it away.
	Retain bool `json:"retain"`
	// How the body of the message is written. Default: json.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// How long the broker keeps the message for who is away; counted in seconds. Default: as long as the session of who is away.
	Expiry penstock.Duration `json:"expiry" penstock:"min=1s"`
	// The media type of the payload. Default: that of the format.
	ContentType penstock.Template `json:"contentType" penstock:"place=plain"`
	// The topic for an answer. Default: the header response-topic of the message.
	ResponseTopic penstock.Template `json:"responseTopic" penstock:"place=plain"`
	// What an answer is known by. Default: the header correlation-data of the message.
	CorrelationData penstock.Template `json:"correlationData" penstock:"place=plain"`
	// What the message is known by, as the user property message-id. Default: an identity made of its source and its way from there, which it has again when it is
	// published once more after a crash, where its source gives it again under the same position or `id`.
	MessageID penstock.Template `json:"messageId" penstock:"place=plain"`
	// User properties, beside those that the message has (meta): all that are text, numbers or truths go out, but for what the broker said of its delivery here (topic,
	// qos, retain).
	Properties map[string]penstock.Template `json:"properties" penstock:"place=plain"`
}

// Validate implements penstock.Resolver.
func (c *SinkConfig) Validate() (errs []error) {
	if !strings.Contains(c.Topic.Source, "${") && !c.Topic.IsZero() {
		if err := checkTopic(c.Topic.Source); err != nil {
			errs = append(errs, err)
		}
	}
	if _, is := c.Properties[keyProperty]; is {
		errs = append(errs, fmt.Errorf("properties: %s holds the key of the message: leave it out, and say `key` beside the target", keyProperty))
	}
	return errs
}

// SpecFor implements penstock.Specific.
func (c *SinkConfig) SpecFor(s penstock.Spec) penstock.Spec {
	if c.QoS == 0 {
		s.Loses = "with QoS 0 nobody acknowledges: what the network or the broker loses is lost"
	}
	return s
}
