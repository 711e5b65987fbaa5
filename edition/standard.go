// Package edition lists what a binary contains. There is no registration at init: a
// binary has the drivers that its edition names, and no others.
package edition

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/avro"
	"penstock.dev/penstock/codec/bytes"
	"penstock.dev/penstock/codec/csv"
	"penstock.dev/penstock/codec/form"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/codec/protobuf"
	"penstock.dev/penstock/codec/text"
	"penstock.dev/penstock/codec/xml"
	"penstock.dev/penstock/connector/drop"
	"penstock.dev/penstock/connector/exec"
	"penstock.dev/penstock/connector/file"
	"penstock.dev/penstock/connector/generate"
	"penstock.dev/penstock/connector/http"
	"penstock.dev/penstock/connector/kafka"
	"penstock.dev/penstock/connector/mqtt"
	"penstock.dev/penstock/connector/nats"
	"penstock.dev/penstock/connector/pulsar"
	"penstock.dev/penstock/connector/rabbitmq"
	"penstock.dev/penstock/connector/redis"
	"penstock.dev/penstock/connector/schemaregistry"
	"penstock.dev/penstock/connector/sql"
	"penstock.dev/penstock/connector/stdin"
	"penstock.dev/penstock/connector/stdout"
	"penstock.dev/penstock/connector/timer"
	secretenv "penstock.dev/penstock/secret/env"
	secretfile "penstock.dev/penstock/secret/file"
	secretfolder "penstock.dev/penstock/secret/folder"
)

// Standard is the edition of the penstock command.
func Standard() *penstock.Registry {
	r := penstock.NewRegistry()
	json.Register(r)
	csv.Register(r)
	text.Register(r)
	form.Register(r)
	avro.Register(r)
	xml.Register(r)
	protobuf.Register(r)
	bytes.Register(r)
	file.Register(r)
	generate.Register(r)
	stdin.Register(r)
	stdout.Register(r)
	drop.Register(r)
	http.Register(r)
	kafka.Register(r)
	timer.Register(r)
	exec.Register(r)
	secretenv.Register(r)
	secretfile.Register(r)
	secretfolder.Register(r)
	sql.Register(r)
	schemaregistry.Register(r)
	rabbitmq.Register(r)
	redis.Register(r)
	mqtt.Register(r)
	nats.Register(r)
	pulsar.Register(r)
	return r
}
