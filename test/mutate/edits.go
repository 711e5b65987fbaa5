package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// edit is a bug in a package that asks for none: connectors and codecs see no package of ours but the public ones, so the bug is written into a copy of the file, which the Go tool
// is given in the place of it.
type edit struct {
	file     string // from the root of the module
	from, to string // from is there once
}

// edits are the bugs of the list that are made so, by their names.
var edits = map[string]edit{
	"rabbitmq-unconfirmed": {"connector/rabbitmq/sink.go", `	for r.known < len(r.sent) {
		if err := r.await(ctx); err != nil {
			return r.lost(err)
		}
	}
	return nil`, `	for ; r.known < len(r.sent); r.known++ {
		s.fates[r.sent[r.known]] = nil
	}
	return nil`},
	"rabbitmq-acks-past": {"connector/rabbitmq/acks.go", `		case tag == a.low:
			upTo = tag
			a.low++`, `		case tag >= a.low:
			upTo = tag
			a.low = tag + 1`},
	"rabbitmq-acks-forgotten": {"connector/rabbitmq/source.go", "closeChannel(d.ch, func() { s.finish(d) })", "closeChannel(d.ch, func() {})"},
	"mqtt-acks-past":          {"connector/mqtt/source.go", "for ; n < len(s.order) && s.order[n].settled; n++ {", "for ; n < len(s.order); n++ {"},
	"nats-refused-written":    {"connector/nats/publisher.go", "	said := confirmation(m)\n", "	said := confirmation(m)\n	said = nil\n"},
	"nats-acks-failed":        {"connector/nats/reader.go", "		if o.Err != nil {\n			continue // until Close\n		}\n", ""},
	"pulsar-refused-written": {"connector/pulsar/sink.go", `			w.settle(o, s.link.failure(err, "topic "+o.topic))`, `			_ = err
			w.settle(o, nil)`},
	"pulsar-acks-failed":          {"connector/pulsar/settle.go", "		if o.Err != nil {\n			continue // until Close\n		}\n", ""},
	"pulsar-version-ignored":      {"connector/pulsar/schema.go", "	if v == nil || version == nil || bytes.Equal(version, v.own) {", "	if v == nil || version == nil || bytes.Equal(version, v.own) || true {"},
	"kafka-commits-failed":        {"connector/kafka/partitions.go", "p != nil && o.Err == nil && o.Pos.Next > p.settled", "p != nil && o.Pos.Next > p.settled"},
	"kafka-no-drain":              {"connector/kafka/partitions.go", "s.parts.drain(ctx, s.env.Clock, named, s.config.Drain.Std())", "s.parts.drain(ctx, s.env.Clock, named, 0)"},
	"pg-inbox-known-written":      {"connector/sql/pgload.go", "ON CONFLICT (id) DO NOTHING RETURNING id", "ON CONFLICT (id) DO UPDATE SET until = excluded.until RETURNING id"},
	"mysql-inbox-apart":           {"connector/sql/myload.go", `tx.ExecContext(ctx, "INSERT INTO "+b.quoted+" (id, until)`, `l.p.db.ExecContext(ctx, "INSERT INTO "+b.quoted+" (id, until)`},
	"cdc-position-ahead":          {"connector/sql/cdc_settle.go", "t.given && (!ok || !at.covers(t.last))", "t.given && !ok && at.covers(t.last)"},
	"cdc-slot-not-compared":       {"connector/sql/cdc_bound.go", "	case confirmed <= b.at:", "	case confirmed <= b.at || had:"},
	"redis-acks-failed":           {"connector/redis/reader.go", "		if o.Err != nil {\n			continue\n		}\n		var e *entry", "		var e *entry"},
	"redis-list-acks-failed":      {"connector/redis/queue.go", "ok && o.Err == nil {", "ok {"},
	"redis-dead-is-kept":          {"connector/redis/keeper.go", "Xautoclaim().Key(r.key).Group(r.group).Consumer(r.consumer).MinIdleTime(millis(idle))", "Xautoclaim().Key(r.key).Group(r.group).Consumer(r.consumer).MinIdleTime(millis(idle + 1<<40))"},
	"avro-wrong-id":               {"codec/avro/avro.go", "binary.BigEndian.AppendUint32(append(out, 0), id)", "binary.BigEndian.AppendUint32(append(out, 0), id+1)"},
	"protobuf-wrong-id":           {"codec/protobuf/registry.go", "binary.BigEndian.AppendUint32(append(dst, 0), id)", "binary.BigEndian.AppendUint32(append(dst, 0), id+1)"},
	"job-first-instant-forgotten": {"connector/timer/timer.go", "		s.since = time.Unix(0, at).UTC()\n", "		s.since = s.env.Clock.Now().Add(time.Duration(0 * at))\n"},
	"job-schedule-everywhere":     {"internal/control/units.go", "		if ep.Server != nil {\n			continue", "		if ep.Server != nil || ep.Driver != nil && ep.Driver.Spec.Name == \"timer\" {\n			continue"},
	"overlay-takes-all":           {"internal/resource/overlay.go", `return err == nil && rel != "."`, `return dir == "." || err == nil && rel != "."`},
	"outbox-out-of-order":         {"internal/compile/outbox.go", "Order: plan.Total, Concurrency: 1, Delivery", "Order: plan.None, Concurrency: 4, Delivery"},
}

// folder is where the package of a suite is, from the root of the module.
func (s suite) folder() string {
	if in, ok := strings.CutPrefix(s.pkg, "/"); ok {
		return in
	}
	return "internal/" + s.pkg
}

// startsServers says whether the tests of a suite do: they take several times as long.
func (s suite) startsServers() bool { return strings.HasPrefix(s.pkg, "/connector/") }

// overlay writes the file with the bug, and what the Go tool wants to know of it (go help build, -overlay).
func (e edit) overlay(folder string) (string, error) {
	text, err := os.ReadFile(filepath.FromSlash(e.file))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), e.from); n != 1 {
		return "", fmt.Errorf("%s has %d times what the bug replaces", e.file, n)
	}
	own, err := filepath.Abs(filepath.FromSlash(e.file))
	if err != nil {
		return "", err
	}
	edited := filepath.Join(folder, "edited.go")
	if err := os.WriteFile(edited, []byte(strings.Replace(string(text), e.from, e.to, 1)), 0o600); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {own: edited}})
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "overlay.json")
	return path, os.WriteFile(path, list, 0o600)
}
