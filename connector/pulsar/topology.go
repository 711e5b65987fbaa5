package pulsar

import (
	"context"
	"slices"
	"strconv"

	"penstock.dev/penstock"
)

// topology looks after the topic of a channel and its subscriptions.
type topology struct {
	config *ChannelConfig
	use    penstock.ChannelUse
}

var _ penstock.Topology = (*topology)(nil)

// found is what there is.
type found struct {
	topic         topic
	partitions    int // missing: there is no topic
	subscriptions []string
}

// find asks the administration.
func (t *topology) find(ctx context.Context, env penstock.Env) (a *admin, f found, err error) {
	l, err := connect(t.config.Connection, env)
	if err == nil {
		a, err = l.admin()
	}
	if err != nil {
		return nil, f, err
	}
	name, err := fixed(t.config.topic(t.use), env)
	if err == nil {
		err = checkTopic(name)
	}
	if err != nil {
		return nil, f, config("channel "+t.use.Name, "", "%w", err)
	}
	f.topic, _ = parseTopic(name)
	if f.partitions, err = a.partitions(ctx, f.topic); err == nil && f.partitions != missing {
		f.subscriptions, err = a.subscriptions(ctx, f.topic)
	}
	return a, f, err
}

// Describe implements penstock.Topology.
func (t *topology) Describe(ctx context.Context, env penstock.Env) ([]penstock.Object, error) {
	_, f, err := t.find(ctx, env)
	if err != nil {
		return nil, err
	}
	return t.describe(f), nil
}

func (t *topology) describe(f found) []penstock.Object {
	out := []penstock.Object{t.describeTopic(f)}
	for _, g := range t.use.Groups {
		out = append(out, t.describeSubscription(f, g))
	}
	return out
}

func (t *topology) mayMake() bool { return t.config.Create == nil || *t.config.Create }

// describeTopic says what is to be done about the topic.
func (t *topology) describeTopic(f found) penstock.Object {
	name, want := f.topic.path(), t.config.Partitions
	o := penstock.Object{Kind: "topic", Name: name, Action: penstock.ObjectKeep}
	setting := penstock.ObjectSetting{Name: "partitions", Want: strconv.Itoa(want)}
	switch {
	case f.partitions == missing && !t.mayMake():
		o.Action, o.Why, o.Hint = penstock.ObjectConflict, "there is no such topic, and `create: false`", "make it: pulsar-admin topics create "+name
		if want > 0 {
			o.Hint = "make it: pulsar-admin topics create-partitioned-topic " + name + " --partitions " + strconv.Itoa(want)
		}
	case f.partitions == missing:
		o.Action = penstock.ObjectCreate
		if want > 0 {
			o.Settings = append(o.Settings, setting)
		}
	case f.partitions >= want:
	default:
		setting.Is = strconv.Itoa(f.partitions)
		o.Settings = append(o.Settings, setting)
		stay := "say `partitions: " + setting.Is + "`"
		more := "pulsar-admin topics update-partitioned-topic " + name + " --partitions " + setting.Want
		switch {
		case f.partitions == 0:
			o.Action, o.Why, o.Hint = penstock.ObjectConflict, "a topic without partitions gets none later", stay+", or name another `topic`"
		case t.use.Keyed:
			o.Action, o.Why = penstock.ObjectConflict, "with more partitions the messages of a key go to another one, and overtake those that are still in the old one"
			o.Hint = stay + "; or, when everything in it was read, " + more
		case !t.mayMake():
			o.Action, o.Why, o.Hint = penstock.ObjectConflict, "it has fewer, and `create: false`", stay+", or "+more
		default:
			o.Action = penstock.ObjectChange
		}
	}
	return o
}

// subscription is the name of a group's subscription.
func (t *topology) subscription(group string) string {
	var c SourceConfig
	use := t.use
	use.Group = group
	t.config.FillSource(use, &c)
	return c.Subscription.Source
}

// describeSubscription says what is to be done about a group's subscription.
func (t *topology) describeSubscription(f found, group string) penstock.Object {
	name := t.subscription(group)
	o := penstock.Object{Kind: "subscription", Name: f.topic.path() + " " + name, Action: penstock.ObjectKeep}
	if slices.Contains(f.subscriptions, name) {
		return o
	}
	o.Action = penstock.ObjectCreate
	if !t.mayMake() {
		o.Action, o.Why = penstock.ObjectConflict, "there is no such subscription, and `create: false`"
		o.Hint = "make it: pulsar-admin topics create-subscription " + f.topic.path() + " --subscription " + name + " --messageId earliest"
	}
	return o
}

// Ensure implements penstock.Topology.
func (t *topology) Ensure(ctx context.Context, env penstock.Env) error {
	a, f, err := t.find(ctx, env)
	if err != nil {
		return err
	}
	for _, o := range t.describe(f) {
		if o.Action == penstock.ObjectConflict {
			return config(o.Kind+" "+o.Name, o.Hint, "%s", o.Why)
		}
	}
	switch t.describeTopic(f).Action {
	case penstock.ObjectCreate:
		if err := a.createTopic(ctx, f.topic, t.config.Partitions); err != nil {
			return err
		}
		// Somebody may have been faster, and have made another.
		if f.partitions, err = a.partitions(ctx, f.topic); err != nil {
			return err
		}
		if o := t.describeTopic(f); o.Action == penstock.ObjectConflict {
			return config(o.Kind+" "+o.Name, o.Hint, "%s", o.Why)
		}
	case penstock.ObjectChange:
		if err := a.addPartitions(ctx, f.topic, t.config.Partitions); err != nil {
			return err
		}
	}
	for _, g := range t.use.Groups {
		if name := t.subscription(g); !slices.Contains(f.subscriptions, name) {
			if err := a.createSubscription(ctx, f.topic, name); err != nil {
				return err
			}
		}
	}
	return nil
}
