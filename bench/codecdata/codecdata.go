package codecdata

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"

	"github.com/bufbuild/protocompile"
	"github.com/hamba/avro/v2/ocf"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// The formats.
const (
	Protobuf = "protobuf" // messages with their lengths
	Avro     = "avro"     // an object container file, not compressed
)

// message compiles a schema of one message.
func message(source string) (protoreflect.MessageDescriptor, error) {
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{"x.proto": source})}}
	files, err := c.Compile(context.Background(), "x.proto")
	if err != nil {
		return nil, err
	}
	return files[0].Messages().Get(0), nil
}

// order makes the i-th.
func order(r *rand.Rand, i int) map[string]any {
	items := make([]any, 1+r.IntN(3))
	for k := range items {
		items[k] = map[string]any{"sku": strconv.Itoa(20000 + r.IntN(10000)), "quantity": 1 + r.IntN(24), "price": float64(r.IntN(2000)) / 100}
	}
	return map[string]any{
		"id": strconv.Itoa(500000 + i), "customer": int64(10000 + r.IntN(9000)), "country": []string{"DE", "FR", "GB", "NL"}[r.IntN(4)], "amount": float64(r.IntN(100000)) / 100, "currency": "EUR",
		"placed": int64(1291191960000 + i*1000), "items": items, "address": map[string]any{"street": "Park Lane " + strconv.Itoa(r.IntN(90)), "city": "Dublin", "zip": strconv.Itoa(40000 + r.IntN(9999))},
		"note": "mug small white hanging spotty heart",
	}
}

// Write writes n orders.
func Write(w io.Writer, format string, seed uint64, n int) error {
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // data of a benchmark
	put, end, err := writer(w, format, OrderProto, OrderAvro)
	if err != nil {
		return err
	}
	for i := range n {
		if err := put(order(r, i)); err != nil {
			return err
		}
	}
	return end()
}

// Copy reads orders, maps each and writes the result, all as values of any type.
func Copy(r io.Reader, w io.Writer, format string) error {
	put, end, err := writer(w, format, SummaryProto, SummaryAvro)
	if err != nil {
		return err
	}
	err = read(r, format, OrderProto, func(o map[string]any) error {
		amount, ok := o["amount"].(float64)
		if !ok {
			return fmt.Errorf("the amount is %T", o["amount"])
		}
		return put(map[string]any{"id": o["id"], "country": o["country"], "gross": amount * 1.19, "items": o["items"]})
	})
	return errors.Join(err, end())
}

// Sum reads what was written, and says how many there are, how many items they have, and what their gross is in all.
func Sum(r io.Reader, format string) (n, items int, gross float64, err error) {
	err = read(r, format, SummaryProto, func(o map[string]any) error {
		n++
		if list, ok := o["items"].([]any); ok {
			items += len(list)
		}
		v, ok := o["gross"].(float64)
		if !ok {
			return fmt.Errorf("the gross is %T", o["gross"])
		}
		gross += v
		return nil
	})
	return n, items, gross, err
}

// writer gives what writes a value, and what is called in the end.
func writer(w io.Writer, format, protoSource, avroSource string) (put func(map[string]any) error, end func() error, err error) {
	out := bufio.NewWriterSize(w, 256<<10)
	if format == Avro {
		e, err := ocf.NewEncoder(avroSource, out, ocf.WithBlockSize(64<<10))
		if err != nil {
			return nil, nil, err
		}
		return func(v map[string]any) error { return e.Encode(v) }, func() error { return errors.Join(e.Close(), out.Flush()) }, nil
	}
	d, err := message(protoSource)
	if err != nil {
		return nil, nil, err
	}
	var buf, head []byte
	return func(v map[string]any) error {
		m := dynamicpb.NewMessage(d)
		fill(m, v)
		var err error
		if buf, err = (proto.MarshalOptions{}).MarshalAppend(buf[:0], m); err != nil {
			return err
		}
		head = binary.AppendUvarint(head[:0], uint64(len(buf)))
		if _, err := out.Write(head); err != nil {
			return err
		}
		_, err = out.Write(buf)
		return err
	}, out.Flush, nil
}

// read calls f for each value.
func read(r io.Reader, format, source string, f func(map[string]any) error) error {
	in := bufio.NewReaderSize(r, 256<<10)
	if format == Avro {
		d, err := ocf.NewDecoder(in)
		if err != nil {
			return err
		}
		for d.HasNext() {
			var v any
			if err := d.Decode(&v); err != nil {
				return err
			}
			o, ok := v.(map[string]any)
			if !ok {
				return fmt.Errorf("a datum is %T", v)
			}
			if err := f(o); err != nil {
				return err
			}
		}
		return d.Error()
	}
	d, err := message(source)
	if err != nil {
		return err
	}
	var buf []byte
	for {
		size, err := binary.ReadUvarint(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if uint64(cap(buf)) < size {
			buf = make([]byte, size)
		}
		buf = buf[:size]
		if _, err := io.ReadFull(in, buf); err != nil {
			return err
		}
		m := dynamicpb.NewMessage(d)
		if err := proto.Unmarshal(buf, m); err != nil {
			return err
		}
		if err := f(values(m)); err != nil {
			return err
		}
	}
}

// values makes a map of a message.
func values(m protoreflect.Message) map[string]any {
	fields := m.Descriptor().Fields()
	out := make(map[string]any, fields.Len())
	for i := range fields.Len() {
		f := fields.Get(i)
		switch v := m.Get(f); {
		case f.IsList():
			list := make([]any, v.List().Len())
			for k := range list {
				list[k] = values(v.List().Get(k).Message())
			}
			out[string(f.Name())] = list
		case f.Message() != nil:
			out[string(f.Name())] = values(v.Message())
		default:
			out[string(f.Name())] = v.Interface()
		}
	}
	return out
}

// fill makes a message of a map.
func fill(m protoreflect.Message, from map[string]any) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch v := from[string(f.Name())].(type) {
		case nil:
		case []any:
			l := m.Mutable(f).List()
			for _, x := range v {
				e := l.NewElement()
				if o, ok := x.(map[string]any); ok {
					fill(e.Message(), o)
				}
				l.Append(e)
			}
		case map[string]any:
			fill(m.Mutable(f).Message(), v)
		case int:
			m.Set(f, protoreflect.ValueOfInt32(int32(v))) //nolint:gosec // a quantity
		default:
			m.Set(f, protoreflect.ValueOf(v))
		}
	}
}
