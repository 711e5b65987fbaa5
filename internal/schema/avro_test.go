package schema

import (
	"strings"
	"testing"

	"penstock.dev/penstock/jsonview"
)

func TestFromAvro(t *testing.T) {
	text, err := FromAvro([]byte(`{"type":"record","name":"Order","namespace":"shop","doc":"An order.","fields":[
		{"name":"id","type":"string","doc":"Its number."},
		{"name":"email","type":["null","string"],"default":null,"x-class":"pii"},
		{"name":"placed","type":{"type":"long","logicalType":"timestamp-millis"}},
		{"name":"day","type":{"type":"int","logicalType":"date"}},
		{"name":"total","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
		{"name":"status","type":{"type":"enum","name":"Status","symbols":["OPEN","PAID"]}},
		{"name":"sum","type":"bytes"},
		{"name":"count","type":"int"},
		{"name":"tags","type":{"type":"map","values":"string"}},
		{"name":"parts","type":{"type":"array","items":"Order"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse("order", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	const want = `{id: string, email: string|null, placed: timestamp, day: timestamp, total: decimal, status: "OPEN"|"PAID", sum: bytes, count: int, tags: map(string, string), parts: list(dyn)}`
	if got := s.Type.Text(9); got != want {
		t.Errorf("the type is %s, want %s", got, want)
	}
	email, ok := s.Type.Field("email")
	if !ok || !email.Type.Nullable || len(email.Type.Labels.Class) != 1 {
		t.Errorf("email: %+v", email.Type)
	}
	v := s.Validator()
	for doc, wrong := range map[string]string{
		`{"id":"1","email":null,"placed":"2026-01-05T10:00:00Z","day":"2026-01-05","total":1.50,"status":"OPEN","sum":"AAE=","count":1,"tags":{"a":"b"},"parts":[]}`:   "",
		`{"id":"1","email":null,"placed":"2026-01-05T10:00:00Z","day":"2026-01-05","total":1.50,"status":"GONE","sum":"AAE=","count":1,"tags":{},"parts":[]}`:          "status",
		`{"id":"1","email":null,"placed":"2026-01-05T10:00:00Z","day":"2026-01-05","total":1.50,"status":"OPEN","sum":"AAE=","count":9999999999,"tags":{},"parts":[]}`: "count",
		`{"id":"1","placed":"2026-01-05T10:00:00Z","day":"2026-01-05","total":1.50,"status":"OPEN","sum":"AAE=","count":1,"tags":{},"parts":[]}`:                       "email",
		`{"id":"1","email":null,"placed":"2026-01-05T10:00:00Z","day":"2026-01-05","total":1.50,"status":"OPEN","sum":"AAE=","count":1,"tags":{},"parts":[],"x":1}`:    "x",
	} {
		d := new(jsonview.Doc)
		d.Reset(jsonview.JSON, []byte(doc))
		if err := d.Parse(jsonview.Limits{}); err != nil {
			t.Fatal(err)
		}
		found := v.Validate(d)
		if (wrong == "") != (len(found) == 0) {
			t.Errorf("%s: %+v, want %q", doc, found, wrong)
		}
		if wrong != "" && len(found) > 0 && !strings.Contains(found[0].Path+found[0].Message, wrong) {
			t.Errorf("%s: %+v, want %q", doc, found, wrong)
		}
	}
	if _, err := FromAvro([]byte(`{"type":"recrd"}`)); err == nil {
		t.Error("a broken schema is taken")
	}
}
