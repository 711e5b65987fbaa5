package rabbitmq

import (
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
)

// TestReturnsOfAClosedChannel: where the channel is closed behind what came back, looking for more comes to an end, and what came back has failed.
func TestReturnsOfAClosedChannel(t *testing.T) {
	s := &sink{config: SinkConfig{Format: drive.JSON(t), RoutingKey: text("nowhere")}}
	b := conform.Batch(`{"n":1}`, `{"n":2}`)
	s.fates = []error{nil, nil}
	key, p, err := s.letter(b, b.Msgs[1])
	if err != nil {
		t.Fatal(err)
	}
	back := make(chan amqp.Return, 1)
	back <- amqp.Return{RoutingKey: key, MessageId: p.MessageId, Body: slices.Clone(p.Body), ReplyCode: 312, ReplyText: "NO_ROUTE"}
	close(back)
	r := round{sink: s, o: &outlet{returns: back}, sent: []int{0, 1}}
	r.returned(b)
	if s.fates[0] != nil || penstock.CodeOf(s.fates[1]) != penstock.NotFound {
		t.Fatalf("%v, want only the second to have failed", s.fates)
	}
}
