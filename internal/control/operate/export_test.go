package operate

import (
	"context"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// Acknowledge has a group of a channel done with all before a position, as readers do.
func Acknowledge(ctx context.Context, s store.Store, name, group string, before int64) error {
	h := channel.NewHub(s, penstock.SystemClock{}, channel.Options{})
	defer h.Close()
	c, err := h.Open(channel.Config{Name: name})
	if err != nil {
		return err
	}
	g, err := c.Group(ctx, group, channel.Stored())
	if err != nil {
		return err
	}
	return s.Submit(store.Small, func(tx store.Tx) error { return g.Ack(tx, []channel.Range{{From: 0, To: before}}) }).Wait(ctx)
}
