package jsonview_test

import (
	"fmt"

	"penstock.dev/penstock/jsonview"
)

func ExampleDoc() {
	var (
		doc     jsonview.Doc // reused from message to message
		country jsonview.Hint
	)
	for _, line := range []string{
		`{"id": 7, "country": "EIRE", "lines": [{"price": 2.55}, {"price": 3.39}]}`,
		`{"id": 8, "country": "France", "lines": []}`,
		`{"id": 9, "id": 10}`,
	} {
		doc.Reset(jsonview.JSON, []byte(line))
		if err := doc.Parse(jsonview.Limits{}); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(doc.Str(doc.Field(0, "country", &country), nil))
		lines := doc.Field(0, "lines", nil)
		for e := doc.First(lines); e != jsonview.None; e = doc.Next(e) {
			price, _ := doc.Float(doc.Field(e, "price", nil))
			fmt.Println("-", price)
		}
	}
	// Output:
	// EIRE
	// - 2.55
	// - 3.39
	// France
	// invalid JSON at byte 10 (line 1): duplicate key "id", first seen at byte 1
}

func ExampleDoc_ResetRecord() {
	shape, err := jsonview.NewShape([]string{"invoice", "quantity", "customer"})
	if err != nil {
		fmt.Println(err)
		return
	}
	var doc jsonview.Doc
	doc.ResetRecord([]byte(`536365,6,`), shape)
	doc.AddCell(0, jsonview.String, 0, 6)
	doc.AddCell(1, jsonview.Number, 7, 8)
	// The third cell is empty; it is left out, and so absent.
	doc.EndRecord()
	fmt.Println(string(doc.AppendJSON(nil, 0)))
	// Output: {"invoice":"536365","quantity":6}
}
