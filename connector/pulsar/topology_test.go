package pulsar

import (
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func administered(t *testing.T) *fixture {
	t.Helper()
	f := on(t, service.Pulsar(t))
	f.config.AdminURL = penstock.Template{Source: f.server.AdminURL()}
	return f
}

func TestTopicsOfChannels(t *testing.T) {
	t.Parallel()
	f := administered(t)
	no := false
	topic := penstock.ChannelUse{Groups: []string{"billing", "mail"}}
	keyed := penstock.ChannelUse{Groups: []string{"billing", "mail"}, Keyed: true}
	queue := penstock.ChannelUse{Queue: true, Groups: []string{"orders"}}
	const none = -1
	for what, c := range map[string]struct {
		is      int // partitions
		config  ChannelConfig
		use     penstock.ChannelUse
		action  penstock.ObjectAction
		want    string // settings: name is want
		mention string // in why or hint
	}{
		"is made":                   {is: none, use: topic, action: penstock.ObjectCreate},
		"is made with partitions":   {is: none, config: ChannelConfig{Partitions: 3}, use: queue, action: penstock.ObjectCreate, want: "partitions  3"},
		"is not made":               {is: none, config: ChannelConfig{Create: &no, Partitions: 2}, use: topic, action: penstock.ObjectConflict, mention: "create-partitioned-topic public/default/"},
		"is as it is":               {is: 0, use: topic, action: penstock.ObjectKeep},
		"has more":                  {is: 4, config: ChannelConfig{Partitions: 3}, use: keyed, action: penstock.ObjectKeep},
		"gets more":                 {is: 2, config: ChannelConfig{Partitions: 3}, use: topic, action: penstock.ObjectChange, want: "partitions 2 3"},
		"keeps keys where they are": {is: 2, config: ChannelConfig{Partitions: 3}, use: keyed, action: penstock.ObjectConflict, want: "partitions 2 3", mention: "overtake"},
		"gets none later":           {is: 0, config: ChannelConfig{Partitions: 3}, use: topic, action: penstock.ObjectConflict, want: "partitions 0 3", mention: "another `topic`"},
		"is not changed":            {is: 2, config: ChannelConfig{Partitions: 3, Create: &no}, use: topic, action: penstock.ObjectConflict, want: "partitions 2 3", mention: "update-partitioned-topic"},
	} {
		t.Run(what, func(t *testing.T) {
			n := name()
			if c.is >= 0 {
				n = f.topic(t, c.is)
			}
			c.config.Connection, c.config.Topic = f.ref, penstock.Template{Source: n}
			if errs := append(c.config.Validate(), c.config.Refuses(c.use)...); len(errs) > 0 {
				t.Fatal(errs)
			}
			top := c.config.Topology(c.use)
			all, err := top.Describe(t.Context(), f.env)
			if err != nil || len(all) != 1+len(c.use.Groups) {
				t.Fatal(all, err)
			}
			o := all[0]
			var have []string
			for _, s := range o.Settings {
				have = append(have, s.Name+" "+s.Is+" "+s.Want)
			}
			if o.Action != c.action || o.Name != "public/default/"+n || strings.Join(have, ", ") != c.want {
				t.Errorf("%+v", o)
			}
			if !strings.Contains(o.Why+o.Hint, c.mention) {
				t.Errorf("it says %q, %q", o.Why, o.Hint)
			}
			err = top.Ensure(t.Context(), f.env)
			if c.action == penstock.ObjectConflict {
				drive.Code(t, err, penstock.Config)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if all, err = top.Describe(t.Context(), f.env); err != nil {
				t.Fatal(err)
			}
			for _, o := range all {
				if o.Action != penstock.ObjectKeep {
					t.Errorf("%+v", o)
				}
			}
		})
	}
}

// TestManyMakeTheSameTopic: processes that start at once.
func TestManyMakeTheSameTopic(t *testing.T) {
	t.Parallel()
	f := administered(t)
	c := ChannelConfig{Connection: f.ref, Topic: penstock.Template{Source: name()}, Partitions: 2}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := c.Topology(penstock.ChannelUse{Groups: []string{"a", "b"}}).Ensure(t.Context(), f.env); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestWhatCannotBeAdministered(t *testing.T) {
	f := administered(t)
	c := ChannelConfig{Connection: f.ref, Topic: penstock.Template{Source: "nobody/nothing/orders"}}
	_, err := c.Topology(penstock.ChannelUse{}).Describe(t.Context(), f.env)
	drive.Code(t, err, penstock.Config, "there is no such namespace", "tenants create nobody")
	f.config.AdminURL = penstock.Template{}
	_, err = c.Topology(penstock.ChannelUse{}).Describe(t.Context(), f.env)
	drive.Code(t, err, penstock.Config, "adminUrl")
	f.config.AdminURL = penstock.Template{Source: "http://127.0.0.1:1"}
	_, err = c.Topology(penstock.ChannelUse{}).Describe(t.Context(), f.env)
	drive.Code(t, err, penstock.Unavailable)
}
