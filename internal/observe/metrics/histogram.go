package metrics

import (
	"encoding/hex"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"penstock.dev/penstock/internal/observe"
)

// histogram is a histogram in both forms: who asks for text gets the classic buckets, who asks for protobuf the native ones, too.
type histogram struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	s      observe.Snapshot
}

var _ prometheus.Metric = (*histogram)(nil)

// Desc implements prometheus.Metric.
func (h *histogram) Desc() *prometheus.Desc { return h.desc }

// Write implements prometheus.Metric.
func (h *histogram) Write(out *dto.Metric) error {
	out.Label = h.labels
	d := &dto.Histogram{
		SampleCount: proto.Uint64(h.s.Count), SampleSum: proto.Float64(h.s.Sum),
		Schema: proto.Int32(observe.Schema), ZeroThreshold: proto.Float64(observe.ZeroThreshold), ZeroCount: proto.Uint64(h.s.Zero),
	}
	for _, b := range h.s.Classic {
		db := &dto.Bucket{UpperBound: proto.Float64(b.Bound), CumulativeCount: proto.Uint64(b.Count)}
		if e := b.Exemplar; e != nil {
			db.Exemplar = &dto.Exemplar{
				Label: []*dto.LabelPair{{Name: proto.String("trace_id"), Value: proto.String(hex.EncodeToString(e.TraceID[:]))}},
				Value: proto.Float64(e.Value), Timestamp: timestamppb.New(e.At),
			}
			d.Exemplars = append(d.Exemplars, db.Exemplar)
		}
		d.Bucket = append(d.Bucket, db)
	}
	d.Bucket = append(d.Bucket, &dto.Bucket{UpperBound: proto.Float64(math.Inf(1)), CumulativeCount: proto.Uint64(h.s.Count)})
	d.PositiveSpan, d.PositiveDelta = spans(h.s.Native)
	if len(d.PositiveSpan) == 0 { // says that it is native, though nothing was counted yet
		d.PositiveSpan = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(0)}}
	}
	out.Histogram = d
	return nil
}

// spans writes native buckets as runs of neighbours, and each count as its difference to the one before.
func spans(native map[int]int64) (out []*dto.BucketSpan, deltas []int64) {
	at := make([]int, 0, len(native))
	for i := range native {
		at = append(at, i)
	}
	slices.Sort(at)
	before, next := int64(0), 0
	for n, i := range at {
		if n == 0 || i != next {
			offset := i
			if n > 0 {
				offset = i - next
			}
			out = append(out, &dto.BucketSpan{Offset: proto.Int32(int32(offset)), Length: proto.Uint32(0)})
		}
		*out[len(out)-1].Length++
		deltas = append(deltas, native[i]-before)
		before, next = native[i], i+1
	}
	return out, deltas
}

// clean makes a label's value of a name: valid UTF-8, and not longer than a name is.
func clean(s string) string {
	const most = 253
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
