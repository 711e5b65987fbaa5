package rabbitmq

import (
	"context"
	"slices"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestStorm: processes that share a queue come and go all the time, some of them without a word, while messages are written. All of them are worked on; what a process
// had when its connection was cut comes again at another.
func TestStorm(t *testing.T) {
	t.Parallel()
	server := service.RabbitMQ(t)
	for _, kind := range []string{typeClassic, typeQuorum} {
		for _, mode := range []string{"push", modePull} {
			t.Run(kind+" "+mode, func(t *testing.T) {
				t.Parallel()
				storm(t, server, kind, mode)
			})
		}
	}
}

func storm(t *testing.T, server *service.RabbitMQServer, kind, mode string) {
	t.Helper()
	f := on(t, server, server.Address())
	q := f.declare(t, kind, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var through [3]*fixture
	var proxies [3]*service.Proxy
	for slot := range through {
		proxies[slot] = service.NewProxy(t, server.Address())
		through[slot] = on(t, server, address(proxies[slot]))
	}
	bodies := drive.Numbered(0, 2000)
	members := drive.Members{Bodies: len(bodies), Join: func(slot, _ int) (penstock.Source, func(bool)) {
		s := through[slot].source(t, q, SourceConfig{Prefetch: 20, Mode: mode, Every: penstock.Duration(5 * time.Millisecond)})
		return s, func(killed bool) {
			if killed {
				proxies[slot].Cut()
			}
			if err := s.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}}
	members.Run(ctx, t, func() {
		for some := range slices.Chunk(bodies, 50) {
			f.put(t, q, some...)
		}
	})
}
