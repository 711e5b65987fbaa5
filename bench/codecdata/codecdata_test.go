package codecdata

import (
	"bytes"
	"testing"
)

func TestCopy(t *testing.T) {
	var sums [2]float64
	for i, format := range []string{Protobuf, Avro} {
		var in, out bytes.Buffer
		if err := Write(&in, format, 1, 100); err != nil {
			t.Fatal(err)
		}
		if err := Copy(&in, &out, format); err != nil {
			t.Fatal(err)
		}
		n, items, gross, err := Sum(&out, format)
		if n != 100 || items < 100 || err != nil {
			t.Errorf("%s: %d, %d, %v", format, n, items, err)
		}
		sums[i] = gross
	}
	if sums[0] != sums[1] || sums[0] == 0 {
		t.Errorf("%v", sums)
	}
}
