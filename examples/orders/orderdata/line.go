package orderdata

import (
	"strconv"
	"strings"
	"time"
)

// price is an exact amount in thousandths of a pound: the smallest price in the data is 0.001.
type price int64

// append writes p as the extract does: the shortest decimal with at least one digit after the point.
func (p price) append(dst []byte) []byte {
	if p < 0 {
		dst = append(dst, '-')
		p = -p
	}
	dst = strconv.AppendInt(dst, int64(p/1000), 10)
	dst = append(dst, '.', byte('0'+p/100%10))
	if p%100 != 0 {
		dst = append(dst, byte('0'+p/10%10))
	}
	if p%10 != 0 {
		dst = append(dst, byte('0'+p%10))
	}
	return dst
}

// line is one row of a file.
type line struct {
	invoice     string // with its C or A
	stockCode   string
	description string
	quantity    int
	time        time.Time
	price       price
	customer    int // 0: none
	country     string
}

func (l *line) append(dst []byte) []byte {
	dst = append(dst, l.invoice...)
	dst = append(dst, ',')
	dst = appendField(dst, l.stockCode)
	dst = append(dst, ',')
	dst = appendField(dst, l.description)
	dst = append(dst, ',')
	dst = strconv.AppendInt(dst, int64(l.quantity), 10)
	dst = append(dst, ',')
	dst = l.time.AppendFormat(dst, time.DateTime)
	dst = append(dst, ',')
	dst = l.price.append(dst)
	dst = append(dst, ',')
	if l.customer != 0 {
		dst = strconv.AppendInt(dst, int64(l.customer), 10)
		dst = append(dst, ".0"...)
	}
	dst = append(dst, ',')
	dst = appendField(dst, l.country)
	return append(dst, '\n')
}

// appendField quotes only what must be quoted; encoding/csv would quote a leading blank too,
// which the real files do not.
func appendField(dst []byte, s string) []byte {
	if !strings.ContainsAny(s, ",\"\r\n") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(s, `"`, `""`)...)
	return append(dst, '"')
}
