package examples_test

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock/test/service"
)

// TestRabbitMQ runs examples/rabbitmq against a real server: an order is priced and shipped through queues that are made, and what is no order is in the queue's own dead letters.
func TestRabbitMQ(t *testing.T) {
	server := service.RabbitMQ(t)
	conn, err := amqp.Dial(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err == nil {
		err = ch.ExchangeDeclare("shop", "topic", true, false, false, false, nil)
	}
	if err == nil {
		_, err = ch.QueueDeclare("refused-orders", true, false, false, false, nil)
	}
	if err == nil {
		_, err = ch.QueueDeclare("labels", true, false, false, false, amqp.Table{"x-queue-type": "classic"})
	}
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		t.Fatal(err)
	}
	over := runs(t, "rabbitmq", server.Address())
	returned := ch.NotifyReturn(make(chan amqp.Return, 100))
	publish := func(body string) (taken bool) {
		t.Helper()
		c, err := ch.PublishWithDeferredConfirm("shop", "order.new", true, false, amqp.Publishing{Body: []byte(body), ContentType: "application/json"})
		if err != nil {
			t.Fatal(err)
		}
		if !c.Wait() {
			t.Fatal("it was not confirmed")
		}
		select {
		case <-returned: // before the confirmation
			return false
		default:
			return true
		}
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 0; !publish(`{"id":"A-1","country":"DE","lines":[{"price":2.95,"quantity":2}]}`); n++ { // until its queue is there
		select {
		case err := <-over:
			t.Fatal("it has ended: ", err)
		case <-tick.C:
			if n > 400 {
				t.Fatal("the queue is not made")
			}
		}
	}
	publish(`{"id":"A-2"}`)
	for queue, want := range map[string]string{"labels": `{"order":"A-1","label":"DE-A-1"}`, "refused-orders": `{"id":"A-2"}`} {
		from, err := ch.Consume(queue, "", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case d := <-from:
			if string(d.Body) != want {
				t.Errorf("%s has %s", queue, d.Body)
			}
			if _, dead := d.Headers["x-death"]; dead != (queue == "refused-orders") {
				t.Errorf("%s: %+v", queue, d.Headers)
			}
		case err := <-over:
			t.Fatal("it has ended: ", err)
		case <-time.After(20 * time.Second):
			t.Fatal("nothing in ", queue)
		}
	}
}
