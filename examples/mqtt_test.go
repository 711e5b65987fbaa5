package examples_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/test/service"
)

// TestMQTT runs examples/mqtt against a real broker: an alarm goes out at once, and the average of sixty readings is kept by the broker.
func TestMQTT(t *testing.T) {
	server := service.Mosquitto(t)
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", server.Address())
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 100)
	c := paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(conn), OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) {
			heard <- p.Packet.Topic + " " + string(p.Packet.Payload)
			return true, nil
		}}})
	if _, err := c.Connect(t.Context(), &paho.Connect{ClientID: "test-of-the-example", CleanStart: true, KeepAlive: 30}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Disconnect(&paho.Disconnect{}) }()
	if _, err := c.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "alarms/#", QoS: 1}, {Topic: "house/+/average", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	over := runs(t, "mqtt", server.Address())
	publish := func(room, body string) {
		t.Helper()
		if _, err := c.Publish(t.Context(), &paho.Publish{Topic: "house/" + room + "/temperature", QoS: 1, Payload: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	next := func(limit time.Duration) string {
		t.Helper()
		select {
		case text := <-heard:
			return text
		case err := <-over:
			t.Fatal("it has ended: ", err)
		case <-time.After(limit):
		}
		return ""
	}
	text := ""
	for n := 0; text == ""; n++ { // until it listens
		if n > 100 {
			t.Fatal("no alarm")
		}
		publish("oven", `{"celsius":51}`)
		text = next(200 * time.Millisecond)
	}
	if text != `alarms/oven {"celsius":51}` {
		t.Error(text)
	}
	for i := range 60 {
		publish("hall", fmt.Sprintf(`{"celsius":%d}`, 10+i%3))
	}
	for !strings.HasPrefix(text, "house/hall/") {
		if text = next(20 * time.Second); text == "" {
			t.Fatal("no average")
		}
	}
	if text != `house/hall/average {"room":"hall","readings":60,"celsius":11}` && text != `house/hall/average {"room":"hall","readings":60,"celsius":11.0}` {
		t.Error(text)
	}
}

// runs runs an example with another url until the test ends. What is sent says why it ended before.
func runs(t *testing.T, example, address string) <-chan error {
	t.Helper()
	s := &control.Service{Registry: edition.Standard()}
	scheme := map[string]string{"mqtt": "mqtt://", "rabbitmq": "amqp://"}[example]
	checked := s.Check(control.Project{Paths: []string{example}, Params: map[string]string{"url": scheme + address}}, true)
	if !checked.OK {
		t.Fatalf("%+v", checked.Findings)
	}
	ctx, stop := context.WithCancel(context.Background())
	over, ended := make(chan error, 1), make(chan struct{})
	go func() {
		_, err := s.Run(ctx, checked, control.RunOptions{Store: filepath.Join(t.TempDir(), "store.db"), Stdout: io.Discard})
		over <- err
		close(ended)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		select {
		case err := <-over:
			if err != nil {
				t.Error(err)
			}
		default:
		}
	})
	return over
}
