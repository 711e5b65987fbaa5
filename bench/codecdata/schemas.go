// Package codecdata makes orders in binary formats, and copies them as one does with values of any type: decode to maps, map, encode.
package codecdata

// OrderProto is the schema of what is read, SummaryProto of what is written.
const (
	OrderProto = `syntax = "proto3";
package bench;
message Order {
  string id = 1;
  int64 customer = 2;
  string country = 3;
  double amount = 4;
  string currency = 5;
  int64 placed = 6;
  repeated Item items = 7;
  Address address = 8;
  string note = 9;
  message Item { string sku = 1; int32 quantity = 2; double price = 3; }
  message Address { string street = 1; string city = 2; string zip = 3; }
}
`
	SummaryProto = `syntax = "proto3";
package bench;
message Summary {
  string id = 1;
  string country = 2;
  double gross = 3;
  repeated Item items = 4;
  message Item { string sku = 1; int32 quantity = 2; double price = 3; }
}
`
	// OrderAvro and SummaryAvro are the same in Avro.
	OrderAvro = `{"type":"record","name":"Order","namespace":"bench","fields":[{"name":"id","type":"string"},{"name":"customer","type":"long"},{"name":"country","type":"string"},` +
		`{"name":"amount","type":"double"},{"name":"currency","type":"string"},{"name":"placed","type":"long"},{"name":"items","type":{"type":"array","items":` +
		`{"type":"record","name":"Item","fields":[{"name":"sku","type":"string"},{"name":"quantity","type":"int"},{"name":"price","type":"double"}]}}},` +
		`{"name":"address","type":{"type":"record","name":"Address","fields":[{"name":"street","type":"string"},{"name":"city","type":"string"},{"name":"zip","type":"string"}]}},` +
		`{"name":"note","type":"string"}]}`
	SummaryAvro = `{"type":"record","name":"Summary","namespace":"bench","fields":[{"name":"id","type":"string"},{"name":"country","type":"string"},{"name":"gross","type":"double"},` +
		`{"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[{"name":"sku","type":"string"},{"name":"quantity","type":"int"},{"name":"price","type":"double"}]}}}]}`
)
