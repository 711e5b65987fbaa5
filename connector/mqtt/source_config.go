package mqtt

import (
	"errors"
	"strings"

	"penstock.dev/penstock"
)

// SourceConfig is the configuration of the source.
type SourceConfig struct {
	// The broker to subscribe at.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The topics, or topic filters: + stands for one level, # at the end for all further ones, as in `shops/+/orders/#`.
	Topics []penstock.Template `json:"topics" penstock:"required,nonempty"`
	// The quality of service that messages are given with, if they were published with as much. 0: at most once, what is on its way when a connection or the
	// process dies is lost. 1: at least once. 2: once over each connection and session; after a crash of the process a message that was not settled comes again
	// here, too.
	QoS int `json:"qos" penstock:"min=0,max=2,default=1"`
	// Several clients of one group share the messages of the topics (a shared subscription, $share): each gets some. The name of the group.
	Share string `json:"share"`
	// What the broker keeps of the topics (retained messages): new gives it when this client subscribes for the first time, and after the broker has lost its
	// session; always gives it each time that it connects, since it subscribes anew then; never gives it not at all. Shared subscriptions get none.
	Retained string `json:"retained" penstock:"enum=new|always|never,default=new"`
	// How the payload of a message is read. Default: json, one document. An empty payload is null.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// The largest packet that the broker may send. It leaves out larger ones, and says nothing of that.
	MaxRecord penstock.Size `json:"maxRecord" penstock:"min=1,max=256Mi,default=16Mi"`
	// How many messages of QoS 1 and 2 may be on their way here without being settled (the receive maximum): the back-pressure. It must be larger than the number of
	// messages that wait in a group in memory (an aggregate in a run without a store), which would never be complete otherwise. Of QoS 0 ten times as many wait here;
	// what comes when there is no room is lost, counted and logged.
	ReceiveMaximum int `json:"receiveMaximum" penstock:"min=1,max=65535,default=1000"`
	// Messages that this client publishes itself are not given to it.
	NoLocal bool `json:"noLocal"`
}

// Validate implements penstock.Resolver.
func (c *SourceConfig) Validate() (errs []error) {
	for _, t := range c.Topics {
		if strings.Contains(t.Source, "${") {
			continue
		}
		if err := checkFilter(t.Source); err != nil {
			errs = append(errs, err)
		}
	}
	if strings.ContainsAny(c.Share, "/+#") {
		errs = append(errs, errors.New("`share` is a name without /, + and #"))
	}
	if c.Share != "" && c.NoLocal {
		errs = append(errs, errors.New("a shared subscription can't have `noLocal` (MQTT 5, section 3.8.3.1): leave one of them out"))
	}
	return errs
}

// SpecFor implements penstock.Specific.
func (c *SourceConfig) SpecFor(s penstock.Spec) penstock.Spec {
	conn, _ := c.Connection.Config.(*ConnectionConfig)
	if c.QoS == 0 || conn != nil && conn.SessionExpiry <= 0 {
		s.Replay = penstock.ReplayNone
	}
	return s
}
