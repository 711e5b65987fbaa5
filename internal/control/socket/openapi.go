package socket

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
)

// object is a part of the description. Keys are written in alphabetical order.
type object = map[string]any

// OpenAPI describes the operations, as OpenAPI 3.1 in JSON. It is the same for the same program, to the byte.
func OpenAPI() []byte {
	d := &describer{schemas: object{}, names: map[reflect.Type]string{}}
	d.schemas["Error"] = object{
		"type": "object", "description": "Why an operation failed. err is its cause.",
		"properties": object{
			"code": object{"type": "string", "enum": codes()}, "op": object{"type": "string"}, "path": object{"type": "string"}, "hint": object{"type": "string", "description": "what to do"},
			"text": object{"type": "string"}, "err": object{"$ref": "#/components/schemas/Error"},
		},
	}
	paths := object{}
	for _, o := range slices.Concat(operations(&operate.Operations{}), eventOperations(&operate.Operations{}), viewOperations(&operate.Operations{})) {
		line := object{"error": object{"$ref": "#/components/schemas/Error"}, "result": d.of(reflect.TypeOf(o.result))}
		if o.item != nil {
			line["item"] = d.of(reflect.TypeOf(o.item))
		}
		post := object{
			"operationId": strings.ReplaceAll(o.path, "/", "."), "summary": o.summary,
			"responses": object{
				"200": object{
					"description": "JSON lines, each an object with one of these: any number of items, and at the end a result or an error. An answer without the last one broke off.",
					"content":     object{"application/x-ndjson": object{"schema": object{"type": "object", "properties": line}}},
				},
				"401": object{"description": "Without the token, or a client's certificate."},
				"503": object{"description": "Too many operations at once."},
			},
		}
		if o.request != nil {
			post["requestBody"] = object{"content": object{"application/json": object{"schema": d.of(reflect.TypeOf(o.request))}}}
		}
		paths[version+o.path] = object{"post": post}
	}
	text, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info":    object{"title": "Penstock's control API", "version": "1", "description": "What can be asked of a process that runs flows. Operations below /v1/ keep their meaning; fields may be added."},
		"paths":   paths,
		"components": object{"schemas": d.schemas, "securitySchemes": object{
			"token": object{"type": "http", "scheme": "bearer"}, "certificate": object{"type": "mutualTLS"},
		}},
		"security": []any{object{"token": []any{}}, object{"certificate": []any{}}},
	}, "", "  ")
	if err != nil {
		panic(err) // maps of text: it can't be
	}
	return append(text, '\n')
}

func codes() []string {
	var out []string
	for _, c := range penstock.Codes() {
		out = append(out, string(c))
	}
	return out
}

// describer makes JSON Schemas of Go types, as encoding/json writes them.
type describer struct {
	schemas object
	names   map[reflect.Type]string
}

func (d *describer) of(t reflect.Type) object {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[json.RawMessage]():
		return object{}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer"}
	case reflect.Slice:
		return object{"type": "array", "items": d.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.of(t.Elem())}
	case reflect.Struct:
		return d.structure(t)
	}
	return object{}
}

func (d *describer) structure(t reflect.Type) object {
	if t.NumField() == 0 {
		return object{"type": "object"}
	}
	name, known := d.names[t]
	if !known {
		name = strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
		d.names[t] = name
		properties := object{}
		d.schemas[name] = object{"type": "object", "properties": properties}
		d.fields(t, properties)
	}
	return object{"$ref": "#/components/schemas/" + name}
}

func (d *describer) fields(t reflect.Type, into object) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case f.Anonymous && name == "":
			inner := f.Type
			for inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			d.fields(inner, into)
		default:
			if name == "" {
				name = f.Name
			}
			into[name] = d.of(f.Type)
		}
	}
}
