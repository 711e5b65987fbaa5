package pulsar

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	client "github.com/apache/pulsar-client-go/pulsar"

	"penstock.dev/penstock"
)

// declared is a schema as it is declared on a topic. Bodies are written and read by the format; the client only shows it to the brokers.
type declared struct{ info *client.SchemaInfo }

var errDeclared = errors.New("payloads are made by the format")

// Encode implements the client's Schema. It is not called: messages have payloads.
func (declared) Encode(any) ([]byte, error) { return nil, errDeclared }

// Decode implements the client's Schema. It is not called: messages are read by their payloads.
func (declared) Decode([]byte, any) error { return errDeclared }

// Validate implements the client's Schema.
func (declared) Validate([]byte) error { return nil }

// GetSchemaInfo implements the client's Schema.
func (d declared) GetSchemaInfo() *client.SchemaInfo { return d.info }

// native is what a schema of type PROTOBUF_NATIVE is, as all clients write it.
type native struct {
	Set     []byte `json:"fileDescriptorSet"`
	Message string `json:"rootMessageTypeName"`
	File    string `json:"rootFileDescriptorName"`
}

// schemaTypes are the types of schemas, as the administration calls them.
var schemaTypes = map[client.SchemaType]string{client.AVRO: "AVRO", client.JSON: "JSON", client.ProtoNative: "PROTOBUF_NATIVE"}

// declare gives the schema of a topic; nil where none is declared. at names the endpoint in errors.
func declare(ref penstock.SchemaRef, f penstock.Format, at string) (client.Schema, error) {
	switch {
	case ref.IsZero():
		return nil, nil //nolint:nilnil // none
	case ref.Schema.Language == penstock.Protobuf:
		return declareNative(ref, f, at)
	case ref.Schema.Language != penstock.Avro:
		return nil, config(at, "name a Schema with `avro: …` (Pulsar describes JSON by Avro schemas, too) or `protobuf: …`", "topicSchema: the schema %s is one of %s", ref.Name, ref.Schema.Language)
	}
	info := &client.SchemaInfo{Schema: string(ref.Schema.Text)}
	switch f.Name {
	case "json":
		info.Name, info.Type = "JSON", client.JSON
	case "avro":
		info.Name, info.Type = "Avro", client.AVRO
	default:
		return nil, config(at, "say `format: json`, or `format: { avro: { schema: "+ref.Name+" } }`", "topicSchema: a topic with an Avro schema has messages in avro or json, and not %s", f.Name)
	}
	return declared{info}, nil
}

// declareNative gives a schema of Protobuf. Its descriptors are those of the format, which is therefore to have the same Schema.
func declareNative(ref penstock.SchemaRef, f penstock.Format, at string) (client.Schema, error) {
	hint := "say `format: { protobuf: { schema: " + ref.Name + " } }`"
	c, ok := f.Codec.(penstock.Described)
	if f.Name != "protobuf" || !ok {
		return nil, config(at, hint, "topicSchema: a topic with a Protobuf schema has messages in protobuf, and not %s", f.Name)
	}
	var is native
	var err error
	if is.Set, is.Message, is.File, err = c.Descriptors(); err != nil {
		return nil, config(at, hint, "topicSchema: %w", err)
	}
	if ref.Schema.Message != "" && is.Message != ref.Schema.Message {
		return nil, config(at, hint, "topicSchema: the messages are %s, by the format, and not %s", is.Message, ref.Schema.Message)
	}
	text, err := json.Marshal(is)
	if err != nil {
		return nil, config(at, "", "topicSchema: %w", err)
	}
	return declared{&client.SchemaInfo{Name: "ProtobufNative", Type: client.ProtoNative, Schema: string(text)}}, nil
}

// version asks for the version that a schema has on a topic, as messages name it. It is nil where it is not there yet.
func (a *admin) version(ctx context.Context, t topic, s *client.SchemaInfo) ([]byte, error) {
	in := map[string]any{"type": schemaTypes[s.Type], "schema": s.Schema, "properties": map[string]string{}}
	var out struct {
		Version *int64 `json:"version"`
	}
	path := "/admin/v2/schemas/" + url.PathEscape(t.tenant) + "/" + url.PathEscape(t.namespace) + "/" + url.PathEscape(t.name) + "/version"
	err := a.do(ctx, http.MethodPost, path, "schema of topic "+t.path(), in, &out)
	if penstock.CodeOf(err) == penstock.NotFound {
		return nil, nil //nolint:nilnil // none
	}
	if err != nil || out.Version == nil || *out.Version < 0 {
		return nil, err
	}
	return binary.BigEndian.AppendUint64(nil, uint64(*out.Version)), nil
}

// schema asks for a version of a topic's schema, as messages name it.
func (a *admin) schema(ctx context.Context, t topic, version []byte) (out penstock.SchemaText, err error) {
	if len(version) != 8 {
		return out, &penstock.Error{Code: penstock.Invalid, Op: "pulsar", Path: "body", Err: fmt.Errorf("the message names a version of its topic's schema that is none: %x", version)}
	}
	var is struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	n := strconv.FormatUint(binary.BigEndian.Uint64(version), 10)
	path := "/admin/v2/schemas/" + url.PathEscape(t.tenant) + "/" + url.PathEscape(t.namespace) + "/" + url.PathEscape(t.name) + "/schema/" + n
	if err := a.do(ctx, http.MethodGet, path, "version "+n+" of the schema of topic "+t.path(), nil, &is); err != nil {
		return out, err
	}
	switch is.Type {
	case schemaTypes[client.AVRO]:
		return penstock.SchemaText{Language: penstock.Avro, Text: []byte(is.Data)}, nil
	case schemaTypes[client.ProtoNative]:
		var d native
		if err := json.Unmarshal([]byte(is.Data), &d); err != nil {
			return out, &penstock.Error{Code: penstock.Invalid, Op: "pulsar", Path: "body", Err: fmt.Errorf("the message was written with version %s of its topic's schema, whose descriptors can't be read: %w", n, err)}
		}
		return penstock.SchemaText{Language: penstock.Protobuf, Descriptors: d.Set, Message: d.Message}, nil
	}
	return out, &penstock.Error{Code: penstock.Invalid, Op: "pulsar", Path: "body",
		Err: fmt.Errorf("the message was written with version %s of its topic's schema, which is one of type %s, and not AVRO or PROTOBUF_NATIVE", n, is.Type)}
}

// versions reads the messages of a topic by the versions of its schema that they were written with. It is used by one goroutine.
type versions struct {
	admin  *admin
	topic  topic
	own    []byte // of the schema that all are read as
	format penstock.Format
	known  map[string]written
}

// written reads what was written with a version, by the reader's own payloads where bodies is nil; err says why nothing can, which stays so: a version never changes.
type written struct {
	bodies *penstock.Payloads
	err    error
}

// maxVersions bounds how many are kept.
const maxVersions = 1000

// of gives how the messages of a version are read. An error says that the administration can't be asked now.
func (v *versions) of(ctx context.Context, version []byte) (w written, err error) {
	if v == nil || version == nil || bytes.Equal(version, v.own) {
		return w, nil
	}
	if w, ok := v.known[string(version)]; ok {
		return w, nil
	}
	text, err := v.admin.schema(ctx, v.topic, version)
	if err == nil {
		err = w.resolve(v.format, text)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return w, err
	case penstock.CodeOf(err) == penstock.Invalid, penstock.CodeOf(err) == penstock.Unprocessable, penstock.CodeOf(err) == penstock.NotFound: // for all time
		w.err = err
	default:
		return w, err
	}
	if len(v.known) >= maxVersions {
		clear(v.known)
	}
	v.known[string(version)] = w
	return w, nil
}

func (w *written) resolve(f penstock.Format, text penstock.SchemaText) (err error) {
	c, ok := f.Codec.(penstock.Resolving)
	if !ok {
		return &penstock.Error{Code: penstock.Internal, Op: "pulsar", Err: fmt.Errorf("the format %s can't read what was written with another schema", f.Name)}
	}
	if f.Codec, err = c.WrittenWith(text); err != nil {
		return err
	}
	w.bodies, err = penstock.NewPayloads("pulsar", f, 0)
	return err
}
