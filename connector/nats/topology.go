package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
)

// topology looks after the stream of a channel and its consumers.
type topology struct {
	config *ChannelConfig
	use    penstock.ChannelUse
}

var _ penstock.Topology = (*topology)(nil)

// ask connects.
func (t *topology) ask(ctx context.Context, env penstock.Env) (*link, error) {
	l, err := connect(t.config.Connection, env)
	if err == nil {
		err = l.open(ctx)
	}
	return l, err
}

// found is what there is.
type found struct {
	stream    jetstream.Stream // nil: none
	consumers map[string]*jetstream.ConsumerConfig
}

func (t *topology) find(ctx context.Context, l *link) (f found, err error) {
	f.consumers = map[string]*jetstream.ConsumerConfig{}
	f.stream, err = l.js.Stream(ctx, t.config.stream(t.use))
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		f.stream = nil
		return f, nil
	case errors.Is(err, nats.ErrNoResponders):
		return f, &penstock.Error{Code: penstock.Unavailable, Op: "nats", Path: "connection " + l.name, Err: errors.New("nobody answers for JetStream"), Hint: "start the server with JetStream (-js), and enable it for the account"}
	case err != nil:
		return f, failure(err, "stream "+t.config.stream(t.use), true)
	}
	for _, g := range t.use.Groups {
		r := t.reader(g)
		is, err := r.lookUp(ctx, f.stream)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			continue
		}
		if err != nil {
			return f, r.failure(err)
		}
		f.consumers[g] = &is.Config
	}
	return f, nil
}

// reader is a reader of a group, which knows what its consumer is to be like.
func (t *topology) reader(group string) *reader {
	use := t.use
	use.Group = group
	var c SourceConfig
	t.config.FillSource(use, &c)
	return newReader(c, penstock.Env{Name: group}, nil)
}

// Describe implements penstock.Topology.
func (t *topology) Describe(ctx context.Context, env penstock.Env) ([]penstock.Object, error) {
	l, err := t.ask(ctx, env)
	if err != nil {
		return nil, err
	}
	f, err := t.find(ctx, l)
	if err != nil {
		return nil, err
	}
	return t.describe(f), nil
}

func (t *topology) describe(f found) []penstock.Object {
	o, _ := t.describeStream(f)
	out := []penstock.Object{o}
	for _, g := range t.use.Groups {
		out = append(out, t.describeConsumer(f, g))
	}
	return out
}

// retention is when the stream is to let go of a message.
func (t *topology) retention() jetstream.RetentionPolicy {
	switch t.config.Retention {
	case "interest":
		return jetstream.InterestPolicy
	case "workqueue":
		return jetstream.WorkQueuePolicy
	case "":
		if t.use.Queue {
			return jetstream.WorkQueuePolicy
		}
	}
	return jetstream.LimitsPolicy
}

// made is the stream as it is made.
func (t *topology) made() jetstream.StreamConfig {
	c := t.config
	out := jetstream.StreamConfig{Name: c.stream(t.use), Description: "penstock: channel " + t.use.Name, Subjects: []string{c.subject(t.use)}, Retention: t.retention(),
		MaxMsgs: -1, MaxBytes: -1, MaxConsumers: -1, Discard: jetstream.DiscardNew, Replicas: max(c.Replicas, 1), MaxAge: c.MaxAge.Std(), Duplicates: t.window()}
	if c.MaxBytes > 0 {
		out.MaxBytes = int64(c.MaxBytes)
	}
	if c.MaxMessages > 0 {
		out.MaxMsgs = int64(c.MaxMessages)
	}
	if c.Discard == "old" {
		out.Discard = jetstream.DiscardOld
	}
	return out
}

func (t *topology) window() time.Duration {
	if t.config.Dedupe == 0 {
		return 2 * time.Minute
	}
	return t.config.Dedupe.Std()
}

func (t *topology) mayMake() bool { return t.config.Create == nil || *t.config.Create }

// difference is a setting of the stream that is not as it should be.
type difference struct {
	penstock.ObjectSetting
	apply func(c *jetstream.StreamConfig)
	why   string // it can't be changed, or messages could be lost; "" if it can
	flag  string // of nats stream edit
}

// differences lists what of a stream that is there is not as the channel says. What the channel says nothing of is left as it is.
func (t *topology) differences(is *jetstream.StreamConfig) (out []difference) {
	c := t.config
	add := func(name, was, want, why, flag string, apply func(*jetstream.StreamConfig)) {
		out = append(out, difference{penstock.ObjectSetting{Name: name, Is: was, Want: want}, apply, why, flag})
	}
	subject := c.subject(t.use)
	if !slices.ContainsFunc(is.Subjects, func(p string) bool { return matches(p, subject) }) {
		why := ""
		if is.Mirror != nil {
			why = "it is a mirror of another, which takes no messages itself"
		}
		add("subject", strings.Join(is.Subjects, ","), subject, why, "--subjects "+strings.Join(append(slices.Clone(is.Subjects), subject), ","), func(s *jetstream.StreamConfig) { s.Subjects = append(slices.Clone(s.Subjects), subject) })
	}
	if want := t.retention(); is.Retention != want && (c.Retention != "" || is.Retention != jetstream.LimitsPolicy) {
		add("retention", wordOf(is.Retention), wordOf(want), "the server changes no stream from or to that", "", nil)
	}
	if c.Replicas != 0 && is.Replicas != c.Replicas {
		why := ""
		if c.Replicas < is.Replicas {
			why = "there would be fewer copies"
		}
		add("replicas", strconv.Itoa(is.Replicas), strconv.Itoa(c.Replicas), why, "--replicas "+strconv.Itoa(c.Replicas), func(s *jetstream.StreamConfig) { s.Replicas = c.Replicas })
	}
	bound := func(name string, was, want int64, text func(int64) string, flag string, apply func(*jetstream.StreamConfig)) {
		if want == 0 || was == want || was <= 0 && want <= 0 {
			return
		}
		why := ""
		if was <= 0 || want < was {
			why = "messages could be lost by it"
		}
		add(name, text(was), text(want), why, flag, apply)
	}
	number := func(n int64) string {
		if n <= 0 {
			return "any"
		}
		return strconv.FormatInt(n, 10)
	}
	span := func(n int64) string {
		if n <= 0 {
			return "any"
		}
		return time.Duration(n).String()
	}
	bound("maxAge", int64(is.MaxAge), int64(c.MaxAge), span, "--max-age "+c.MaxAge.Std().String(), func(s *jetstream.StreamConfig) { s.MaxAge = c.MaxAge.Std() })
	bound("maxBytes", is.MaxBytes, int64(c.MaxBytes), number, fmt.Sprintf("--max-bytes %d", c.MaxBytes), func(s *jetstream.StreamConfig) { s.MaxBytes = int64(c.MaxBytes) })
	bound("maxMessages", is.MaxMsgs, int64(c.MaxMessages), number, fmt.Sprintf("--max-msgs %d", c.MaxMessages), func(s *jetstream.StreamConfig) { s.MaxMsgs = int64(c.MaxMessages) })
	switch {
	case c.Discard == "new" && is.Discard != jetstream.DiscardNew:
		add("discard", "old", "new", "", "--discard new", func(s *jetstream.StreamConfig) { s.Discard = jetstream.DiscardNew })
	case c.Discard == "old" && is.Discard != jetstream.DiscardOld:
		add("discard", "new", "old", "messages could be lost by it", "--discard old", nil)
	}
	if want := t.window(); is.Duplicates < want {
		add("dedupe", is.Duplicates.String(), want.String(), "", "--dupe-window "+want.String(), func(s *jetstream.StreamConfig) { s.Duplicates = want })
	}
	if is.NoAck {
		add("confirms", "no", "yes", "", "--ack", func(s *jetstream.StreamConfig) { s.NoAck = false })
	}
	if is.Storage == jetstream.MemoryStorage {
		add("storage", "memory", "file", "what is in memory is lost when the servers stop, and the server moves no stream to a file", "", nil)
	}
	return out
}

func wordOf(p jetstream.RetentionPolicy) string {
	switch p {
	case jetstream.InterestPolicy:
		return "interest"
	case jetstream.WorkQueuePolicy:
		return "workqueue"
	}
	return "limits"
}

// describeStream says what is to be done about the stream, and what of it is to be changed.
func (t *topology) describeStream(f found) (o penstock.Object, change []difference) {
	name := t.config.stream(t.use)
	o = penstock.Object{Kind: "stream", Name: name, Action: penstock.ObjectKeep}
	if f.stream == nil {
		o.Action, o.Settings = penstock.ObjectCreate, t.settings()
		if !t.mayMake() {
			o.Action, o.Settings, o.Why = penstock.ObjectConflict, nil, "there is no such stream, and `create: false`"
			o.Hint = fmt.Sprintf("make it: nats stream add %s --subjects %s --retention %s --dupe-window %s --defaults", name, t.config.subject(t.use), cliWord(t.retention()), t.window())
		}
		return o, nil
	}
	change = t.differences(&f.stream.CachedInfo().Config)
	for _, d := range change {
		o.Settings = append(o.Settings, d.ObjectSetting)
		why := d.why
		if why == "" && !t.mayMake() {
			why = "it is otherwise, and `create: false`"
		}
		switch {
		case why != "" && o.Action != penstock.ObjectConflict:
			o.Action, o.Why = penstock.ObjectConflict, d.Name+": "+why
			o.Hint = "say what it is, or name another `stream`"
			if d.flag != "" {
				o.Hint = "say what it is; or, if that is meant, nats stream edit " + name + " " + d.flag
			}
		case o.Action == penstock.ObjectKeep:
			o.Action = penstock.ObjectChange
		}
	}
	return o, change
}

// cliWord is what the command nats calls a retention.
func cliWord(p jetstream.RetentionPolicy) string {
	if p == jetstream.WorkQueuePolicy {
		return "work"
	}
	return wordOf(p)
}

// settings is what the stream is made with, but for the server's defaults.
func (t *topology) settings() []penstock.ObjectSetting {
	m := t.made()
	out := []penstock.ObjectSetting{{Name: "subject", Want: m.Subjects[0]}, {Name: "retention", Want: wordOf(m.Retention)}, {Name: "dedupe", Want: m.Duplicates.String()}}
	add := func(set bool, name, want string) {
		if set {
			out = append(out, penstock.ObjectSetting{Name: name, Want: want})
		}
	}
	add(m.Replicas > 1, "replicas", strconv.Itoa(m.Replicas))
	add(m.MaxAge > 0, "maxAge", m.MaxAge.String())
	add(m.MaxBytes > 0, "maxBytes", strconv.FormatInt(m.MaxBytes, 10))
	add(m.MaxMsgs > 0, "maxMessages", strconv.FormatInt(m.MaxMsgs, 10))
	add(m.Discard == jetstream.DiscardNew, "discard", "new")
	return out
}

// describeConsumer says what is to be done about a group's consumer.
func (t *topology) describeConsumer(f found, group string) penstock.Object {
	r := t.reader(group)
	o := penstock.Object{Kind: "consumer", Name: t.config.stream(t.use) + "/" + r.consumer, Action: penstock.ObjectKeep}
	is := f.consumers[group]
	if is == nil {
		w := r.wants(t.retention())
		o.Action = penstock.ObjectCreate
		o.Settings = []penstock.ObjectSetting{{Name: "ackWait", Want: w.AckWait.String()}, {Name: "maxAckPending", Want: strconv.Itoa(w.MaxAckPending)}}
		if !t.mayMake() {
			o.Action, o.Settings, o.Why = penstock.ObjectConflict, nil, "there is no such consumer, and `create: false`"
			o.Hint = fmt.Sprintf("make it: nats consumer add %s %s --pull --ack explicit --deliver all --filter %s --max-deliver=-1 --defaults", t.config.stream(t.use), r.consumer, t.config.subject(t.use))
		}
		return o
	}
	change, err := r.compare(is)
	if err != nil {
		var e *penstock.Error
		if errors.As(err, &e) {
			o.Action, o.Why, o.Hint = penstock.ObjectConflict, e.Err.Error(), e.Hint
		}
		return o
	}
	if !change {
		return o
	}
	if c := r.config.AckWait; c != 0 && c.Std() != is.AckWait {
		o.Settings = append(o.Settings, penstock.ObjectSetting{Name: "ackWait", Is: is.AckWait.String(), Want: c.Std().String()})
	}
	if c := r.config.MaxAckPending; c != 0 && c != is.MaxAckPending {
		o.Settings = append(o.Settings, penstock.ObjectSetting{Name: "maxAckPending", Is: strconv.Itoa(is.MaxAckPending), Want: strconv.Itoa(c)})
	}
	o.Action = penstock.ObjectChange
	if !t.mayMake() {
		o.Action, o.Why, o.Hint = penstock.ObjectConflict, "it is otherwise, and `create: false`", "change it, or what the channel says"
	}
	return o
}

// Ensure implements penstock.Topology.
func (t *topology) Ensure(ctx context.Context, env penstock.Env) error {
	l, err := t.ask(ctx, env)
	if err != nil {
		return err
	}
	f, err := t.find(ctx, l)
	if err != nil {
		return err
	}
	for _, o := range t.describe(f) {
		if o.Action == penstock.ObjectConflict {
			return config(o.Kind+" "+o.Name, o.Hint, "%s", o.Why)
		}
	}
	o, change := t.describeStream(f)
	switch o.Action {
	case penstock.ObjectCreate:
		f.stream, err = l.js.CreateStream(ctx, t.made())
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody was faster, with other settings: they are looked at
			return t.again(ctx, env)
		}
	case penstock.ObjectChange:
		is := f.stream.CachedInfo().Config
		for _, d := range change {
			d.apply(&is)
		}
		f.stream, err = l.js.UpdateStream(ctx, is)
	}
	if err != nil {
		return failure(err, "stream "+o.Name, true)
	}
	for _, g := range t.use.Groups {
		r := t.reader(g)
		r.link = l
		if _, err := r.declare(ctx); err != nil {
			return err
		}
	}
	return nil
}

// again looks once more, at what somebody else has made meanwhile.
func (t *topology) again(ctx context.Context, env penstock.Env) error {
	all, err := t.Describe(ctx, env)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(o penstock.Object) bool { return o.Action == penstock.ObjectConflict })
	if i >= 0 {
		return config(all[i].Kind+" "+all[i].Name, all[i].Hint, "%s", all[i].Why)
	}
	if slices.IndexFunc(all, func(o penstock.Object) bool { return o.Action == penstock.ObjectCreate && o.Kind == "stream" }) >= 0 {
		return penstock.E(penstock.Unavailable, "nats", "stream "+cmp.Or(t.config.Stream, t.use.Name), "the stream can't be made yet: the server says that there is one of its name, and that there is none")
	}
	return t.Ensure(ctx, env)
}
