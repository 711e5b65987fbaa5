package jsonview

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// orderLine is the document the package is tuned on: 12 fields, about 300 bytes.
func orderLine(r *rand.Rand) []byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ   "
	var desc strings.Builder
	for range 50 + r.IntN(50) {
		desc.WriteByte(letters[r.IntN(len(letters))])
	}
	countries := []string{"United Kingdom", "Germany", "France", "EIRE", "Netherlands", "Unspecified"}
	return fmt.Appendf(nil, `{"invoice":"%d","line":%d,"stockCode":"%d%c","description":"%s","quantity":%d,"date":"2010-12-%02dT08:%02d:00Z","price":%.2f,"customer":"%d","country":"%s","currency":"%s","amount":%.2f,"gift":%t}`,
		536365+r.IntN(30000), 1+r.IntN(40), 10000+r.IntN(80000), 'A'+rune(r.IntN(4)), desc.String(), 1+r.IntN(600), 1+r.IntN(28), r.IntN(60),
		float64(r.IntN(4000))/100, 12000+r.IntN(6000), countries[r.IntN(len(countries))], []string{"GBP", "EUR"}[r.IntN(2)], float64(r.IntN(100000))/100, r.IntN(2) == 0)
}

func orderLines(n int) (docs [][]byte, mean int64) {
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		docs = append(docs, orderLine(r))
		mean += int64(len(docs[len(docs)-1]))
	}
	return docs, mean / int64(n)
}

// BenchmarkParse parses one document again and again (the branch predictor knows it by heart), and a thousand
// different ones of the same shape, as a flow does.
func BenchmarkParse(b *testing.B) {
	for _, n := range []int{1, 1000} {
		docs, mean := orderLines(n)
		b.Run(fmt.Sprintf("docs=%d", n), func(b *testing.B) {
			var d Doc
			b.SetBytes(mean)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d.Reset(JSON, docs[i%n])
				if err := d.Parse(Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStandard is what encoding/json takes on the same documents.
func BenchmarkStandard(b *testing.B) {
	docs, mean := orderLines(1000)
	b.Run("Valid", func(b *testing.B) {
		b.SetBytes(mean)
		for i := 0; b.Loop(); i++ {
			if !json.Valid(docs[i%1000]) {
				b.Fatal("invalid")
			}
		}
	})
	b.Run("Unmarshal", func(b *testing.B) {
		b.SetBytes(mean)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			var v map[string]any
			if err := json.Unmarshal(docs[i%1000], &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkParseShapes shows the scan on documents of other kinds.
func BenchmarkParseShapes(b *testing.B) {
	lines, _ := orderLines(100)
	var indented []byte
	{
		var v any
		if err := json.Unmarshal(lines[0], &v); err != nil {
			b.Fatal(err)
		}
		indented, _ = json.MarshalIndent(v, "", "  ")
	}
	for name, doc := range map[string]string{
		"array":    "[" + strings.Join(strs(lines), ",") + "]",
		"indented": string(indented),
		"escaped":  `{"text":"` + strings.Repeat(`line one\nline \"two\" \u00e9 `, 10) + `"}`,
		"unicode":  `{"text":"` + strings.Repeat(`Köln, Öl, 東京`, 20) + `"}`,
		"numbers":  "[" + strings.TrimSuffix(strings.Repeat("12345.678,0,-5,1e3,", 50), ",") + "]",
		"nested":   strings.Repeat(`{"a":[`, 50) + "1" + strings.Repeat("]}", 50),
		"long":     `{"text":"` + strings.Repeat("lorem ipsum ", 500) + `"}`,
		"wide":     wideObject(1000),
	} {
		b.Run(name, func(b *testing.B) {
			var d Doc
			src := []byte(doc)
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				d.Reset(JSON, src)
				if err := d.Parse(Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func strs(docs [][]byte) (s []string) {
	for _, d := range docs {
		s = append(s, string(d))
	}
	return s
}

func wideObject(n int) string {
	var sb strings.Builder
	sb.WriteByte('{')
	for i := range n {
		fmt.Fprintf(&sb, `"key%d":%d,`, i, i)
	}
	return strings.TrimSuffix(sb.String(), ",") + "}"
}

func BenchmarkField(b *testing.B) {
	docs, _ := orderLines(1)
	var d Doc
	d.Reset(JSON, docs[0])
	if err := d.Parse(Limits{}); err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"quantity", "gift", "absent"} {
		b.Run("hint/"+name, func(b *testing.B) {
			var h Hint
			for b.Loop() {
				d.Field(0, name, &h)
			}
		})
		b.Run("plain/"+name, func(b *testing.B) {
			for b.Loop() {
				d.Field(0, name, nil)
			}
		})
	}
}

func BenchmarkValues(b *testing.B) {
	docs, _ := orderLines(1)
	var d Doc
	d.Reset(JSON, docs[0])
	if err := d.Parse(Limits{}); err != nil {
		b.Fatal(err)
	}
	quantity, price, country := d.Field(0, "quantity", nil), d.Field(0, "price", nil), d.Field(0, "country", nil)
	b.Run("Int", func(b *testing.B) {
		for b.Loop() {
			d.Int(quantity)
		}
	})
	b.Run("Float", func(b *testing.B) {
		for b.Loop() {
			d.Float(price)
		}
	})
	b.Run("Str", func(b *testing.B) {
		for b.Loop() {
			_ = d.Str(country, nil)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	buf := make([]byte, 0, 4096)
	for name, s := range map[string]string{
		"short":   "United Kingdom",
		"long":    strings.Repeat("WHITE HANGING HEART T-LIGHT HOLDER ", 8),
		"unicode": "Köln, Öl, 東京",
		"escape":  "six\" plate\n",
	} {
		b.Run("String/"+name, func(b *testing.B) {
			for b.Loop() {
				buf = AppendString(buf[:0], s)
			}
		})
	}
	for _, f := range []float64{6, 2.55, 1234.5678, 0.1 + 0.2, 1e300} {
		b.Run(fmt.Sprint("Float/", f), func(b *testing.B) {
			for b.Loop() {
				buf = AppendFloat(buf[:0], f)
			}
		})
	}
}

func BenchmarkRecord(b *testing.B) {
	shape, err := NewShape([]string{"InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"})
	if err != nil {
		b.Fatal(err)
	}
	row := []byte("536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom")
	ends := []int{6, 13, 48, 50, 70, 75, 83, 98}
	var d Doc
	build := func() {
		d.ResetRecord(row, shape)
		start := 0
		for c, e := range ends {
			d.AddCell(c, String, start, e)
			start = e + 1
		}
		d.EndRecord()
	}
	b.Run("Build", func(b *testing.B) {
		for b.Loop() {
			build()
		}
	})
	b.Run("AppendJSON", func(b *testing.B) {
		build()
		buf := make([]byte, 0, 4096)
		for b.Loop() {
			buf = d.AppendJSON(buf[:0], 0)
		}
	})
	b.Run("Field", func(b *testing.B) {
		build()
		var h Hint
		for b.Loop() {
			d.Field(0, "UnitPrice", &h)
		}
	})
}
