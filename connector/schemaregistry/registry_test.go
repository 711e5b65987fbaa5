package schemaregistry_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/schemaregistry"
	"penstock.dev/penstock/test/service"
)

func text(schema string) penstock.SchemaText {
	return penstock.SchemaText{Language: penstock.Avro, Text: []byte(schema)}
}

const (
	first  = `{"type":"record","name":"r","fields":[{"name":"a","type":"int"}]}`
	second = `{"type":"record","name":"r","fields":[{"name":"a","type":"int"},{"name":"b","type":"string","default":""}]}`
	broken = `{"type":"record","name":"r","fields":[{"name":"a","type":"int"},{"name":"c","type":"string"}]}`
)

func TestRegistry(t *testing.T) {
	server := service.NewRegistry(t)
	c := &schemaregistry.Config{URL: server.URL, Timeout: penstock.Duration(5 * time.Second)}
	ctx := t.Context()
	if _, err := c.ID(ctx, "orders-value", text(first), false); penstock.CodeOf(err) != penstock.NotFound || !strings.Contains(err.Error(), "register: true") {
		t.Errorf("not registered: %v", err)
	}
	if why, err := c.Compatible(ctx, "orders-value", text(first)); err != nil || len(why) > 0 {
		t.Errorf("no subject yet: %v %v", why, err)
	}
	id, err := c.ID(ctx, "orders-value", text(first), true)
	if err != nil {
		t.Fatal(err)
	}
	asked := server.Asked()
	for range 3 {
		if again, err := c.ID(ctx, "orders-value", text(first), false); err != nil || again != id {
			t.Errorf("%d, %v", again, err)
		}
	}
	if n := server.Asked() - asked; n != 0 {
		t.Errorf("what is known was asked for %d times", n)
	}
	other := &schemaregistry.Config{URL: server.URL, Timeout: c.Timeout} // another process
	for range 3 {
		if s, err := other.ByID(ctx, id); err != nil || string(s.Text) != first || s.Language != penstock.Avro {
			t.Errorf("%+v, %v", s, err)
		}
	}
	if _, err := other.ByID(ctx, 99); penstock.CodeOf(err) != penstock.NotFound {
		t.Errorf("an unknown id: %v", err)
	}
	if why, err := c.Compatible(ctx, "orders-value", text(second)); err != nil || len(why) > 0 {
		t.Errorf("compatible: %v %v", why, err)
	}
	if why, err := c.Compatible(ctx, "orders-value", text(broken)); err != nil || len(why) == 0 {
		t.Errorf("not compatible: %v %v", why, err)
	}
	if _, err := c.ID(ctx, "orders-value", text(broken), true); penstock.CodeOf(err) != penstock.Conflict {
		t.Errorf("not compatible: %v", err)
	}
	server.Fail(true)
	if _, err := other.ByID(ctx, 98); penstock.CodeOf(err) != penstock.Unavailable {
		t.Errorf("overloaded: %v", err)
	}
	if _, err := other.ByID(ctx, id); err != nil {
		t.Errorf("what was seen is known: %v", err)
	}
}

func TestLogin(t *testing.T) {
	server := service.NewRegistry(t)
	server.Login(func(r *http.Request) bool {
		user, password, ok := r.BasicAuth()
		return ok && user == "ada" && password == "s3cret"
	})
	c := &schemaregistry.Config{URL: server.URL, User: "ada", Password: penstock.NewSecret("wr0ng"), Timeout: penstock.Duration(5 * time.Second)}
	if _, err := c.ID(t.Context(), "s", text(first), true); penstock.CodeOf(err) != penstock.Unauthenticated || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("%v", err)
	}
	c = &schemaregistry.Config{URL: server.URL, User: "ada", Password: penstock.NewSecret("s3cret"), Timeout: penstock.Duration(5 * time.Second)}
	if _, err := c.ID(t.Context(), "s", text(first), true); err != nil {
		t.Error(err)
	}
}

func TestUnreachable(t *testing.T) {
	c := &schemaregistry.Config{URL: "http://127.0.0.1:1", Timeout: penstock.Duration(time.Second)}
	if _, err := c.ByID(context.Background(), 1); penstock.CodeOf(err) != penstock.Unavailable {
		t.Errorf("%v", err)
	}
}

func TestValidate(t *testing.T) {
	for want, c := range map[string]*schemaregistry.Config{
		"is no URL of a server":    {URL: "registry:8081"},
		"holds a password or user": {URL: "http://a:b@c"},
		"without `user`":           {URL: "http://a", Password: penstock.NewSecret("x")},
		"not with both":            {URL: "http://a", User: "u", Token: penstock.NewSecret("x")},
		"belong together":          {URL: "http://a", TLS: schemaregistry.TLS{Certificate: penstock.NewSecret("x")}},
		`" ftp://b" is no URL`:     {URL: "http://a, ftp://b"},
	} {
		if errs := c.Validate(); len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%v, want %s", errs, want)
		}
	}
	if errs := (&schemaregistry.Config{URL: "https://a:8081,http://b/x"}).Validate(); len(errs) > 0 {
		t.Error(errs)
	}
}

// TestReferences registers what a schema imports, and reads it again.
func TestReferences(t *testing.T) {
	server := service.NewRegistry(t)
	c := &schemaregistry.Config{URL: server.URL, Timeout: penstock.Duration(5 * time.Second)}
	s := penstock.SchemaText{
		Language: penstock.Protobuf, Message: "shop.Order",
		Text: []byte("syntax = \"proto3\"; package shop; // import \"no.proto\";\nimport \"shop/money.proto\"; /* import \"never.proto\"; */ import \"google/protobuf/timestamp.proto\";\nmessage Order { Money total = 1; string import = 2; google.protobuf.Timestamp at = 3; }"),
		Files: map[string][]byte{
			"shop/money.proto":    []byte(`syntax = "proto3"; package shop; import public 'shop/currency.proto'; message Money { int64 units = 1; Currency currency = 2; }`),
			"shop/currency.proto": []byte(`syntax = "proto3"; package shop; enum Currency { NONE = 0; EUR = 1; }`),
		},
	}
	if _, err := c.ID(t.Context(), "orders-value", s, false); penstock.CodeOf(err) != penstock.NotFound {
		t.Errorf("not registered: %v", err)
	}
	if why, err := c.Compatible(t.Context(), "orders-value", s); err != nil || len(why) > 0 {
		t.Errorf("no subject yet: %v %v", why, err)
	}
	id, err := c.ID(t.Context(), "orders-value", s, true)
	if err != nil {
		t.Fatal(err)
	}
	other := &schemaregistry.Config{URL: server.URL, Timeout: c.Timeout}
	if again, err := other.ID(t.Context(), "orders-value", s, false); err != nil || again != id {
		t.Errorf("%d, %v", again, err)
	}
	got, err := other.ByID(t.Context(), id)
	if err != nil || string(got.Text) != string(s.Text) || len(got.Files) != 2 || string(got.Files["shop/currency.proto"]) != string(s.Files["shop/currency.proto"]) {
		t.Errorf("%+v, %v", got, err)
	}
	changed := s
	changed.Text = []byte(strings.Replace(string(s.Text), "string import = 2", "int32 import = 2", 1))
	if why, err := c.Compatible(t.Context(), "orders-value", changed); err != nil || len(why) != 1 || !strings.Contains(why[0], "shop.Order.import (2) was string, and is int32") {
		t.Errorf("not compatible: %v %v", why, err)
	}
	changed.Files = map[string][]byte{"shop/money.proto": []byte(`syntax = "proto3"; package shop; message Money { int64 units = 1; }`)}
	if why, err := c.Compatible(t.Context(), "orders-value", changed); err != nil || len(why) != 1 || !strings.Contains(why[0], "shop/money.proto") {
		t.Errorf("another import: %v %v", why, err)
	}
	changed.Files = map[string][]byte{"shop/money.proto": []byte(`import "shop/money.proto";`)}
	if _, err := c.ID(t.Context(), "orders-value", changed, true); penstock.CodeOf(err) != penstock.Invalid {
		t.Errorf("it imports itself: %v", err)
	}
}
