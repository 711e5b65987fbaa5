package observe

import (
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
)

// kept is a recorder for tests.
type kept struct {
	mu    sync.Mutex
	spans []*keptSpan
}

type keptSpan struct {
	Start
	id    penstock.TraceContext
	attrs map[string]any
	code  penstock.Code
	end   []time.Time
}

func (k *kept) Begin(s Start) Recording {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := &keptSpan{Start: s, attrs: map[string]any{}, id: penstock.TraceContext{TraceID: s.Trace, Flags: 1}}
	if !s.Parent.IsZero() {
		r.id.TraceID = s.Parent.TraceID
	}
	binary.BigEndian.PutUint64(r.id.SpanID[:], uint64(len(k.spans)+1))
	k.spans = append(k.spans, r)
	r.Annotate(s.Attrs...)
	return r
}

func (s *keptSpan) Context() penstock.TraceContext { return s.id }
func (s *keptSpan) Annotate(attrs ...Attr) {
	for _, a := range attrs {
		if a.Text != "" {
			s.attrs[a.Name] = a.Text
		} else {
			s.attrs[a.Name] = a.Int
		}
	}
}
func (s *keptSpan) Fail(c penstock.Code, _ string) { s.code = c }
func (s *keptSpan) End(at time.Time)               { s.end = append(s.end, at) }

func TestSamplingAgreesWithOthersOfTheSameRatio(t *testing.T) {
	for _, ratio := range []float64{1e-9, .01, .5, 1} {
		s := Sampling{Ratio: ratio, Always: true}
		random := rand.New(rand.NewPCG(1, 1))
		for range 1000 {
			id := s.identity(random.Uint64)
			if !s.keeps(penstock.TraceContext{TraceID: id}) {
				t.Fatalf("%v: a trace %x that it began is not kept by others", ratio, id)
			}
		}
	}
	if (Sampling{Ratio: 0, Always: true}).keeps(penstock.TraceContext{TraceID: [16]byte{1}}) {
		t.Error("nothing is kept at 0")
	}
}

func TestParentDecides(t *testing.T) {
	for _, c := range []struct {
		s    Sampling
		p    penstock.TraceContext
		want bool
	}{
		{Sampling{Ratio: 0}, penstock.TraceContext{TraceID: [16]byte{1}, Flags: 1}, true},
		{Sampling{Ratio: 1}, penstock.TraceContext{TraceID: [16]byte{1}}, false},
		{Sampling{Ratio: 1, Always: true}, penstock.TraceContext{TraceID: [16]byte{1}}, true},
	} {
		if got := NewTracer(nil, c.s, nil).Keeps(c.p); got != c.want {
			t.Errorf("%+v %+v: %v", c.s, c.p, got)
		}
	}
}

// The dice gives the same shares however the messages come in batches.
func TestDiceIsFair(t *testing.T) {
	for _, ratio := range []float64{0, .001, .01, .3, 1} {
		for _, batch := range []int{1, 7, 256} {
			random := rand.New(rand.NewPCG(3, 4))
			d := NewTracer(nil, Sampling{Ratio: ratio}, random.Uint64).Dice()
			const n = 200_000
			hits := 0
			for left := n; left > 0; left -= batch {
				for i := 0; i < batch; {
					if i += d.Roll(batch - i); i < batch {
						hits++
						i++
					}
				}
			}
			want := ratio * n
			if diff := float64(hits) - want; diff*diff > 25*want*(1-ratio)+batchSlack(batch) { // five standard deviations
				t.Errorf("ratio %v, batches of %d: %d hits, want about %v", ratio, batch, hits, want)
			}
		}
	}
}

func batchSlack(batch int) float64 { return float64(batch * batch) }

func TestDiceAllocatesNothing(t *testing.T) {
	d := NewTracer(nil, Sampling{Ratio: .01}, nil).Dice()
	if n := testing.AllocsPerRun(1000, func() { d.Roll(256) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDice(b *testing.B) {
	d := NewTracer(nil, Sampling{Ratio: .01}, nil).Dice()
	for b.Loop() {
		d.Roll(256)
	}
}

func TestSpanEndsOnceWhenTheLastPartEnded(t *testing.T) {
	k := &kept{}
	s := NewTracer(k, Sampling{Ratio: 1}, nil).Begin(Start{Name: "process f"})
	s.Done(time.Unix(5, 0), "done")
	s.Close(time.Unix(9, 0))
	s.Close(time.Unix(10, 0))
	if got := k.spans[0]; len(got.end) != 1 || !got.end[0].Equal(time.Unix(5, 0)) || got.attrs["penstock.outcome"] != "done" {
		t.Errorf("%+v", got)
	}
}

func TestRequestSpan(t *testing.T) {
	for _, c := range []struct {
		name   string
		ratio  float64
		header string
		answer int
		spans  int
		parent bool
		code   penstock.Code
	}{
		{"sampled", 1, "", 200, 1, false, ""},
		{"not sampled", 0, "", 200, 0, false, ""},
		{"the caller's", 0, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 404, 1, true, ""},
		{"the caller does not record", 1, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", 200, 0, false, ""},
		{"malformed", 1, "nonsense", 503, 1, false, penstock.Unavailable},
	} {
		k := &kept{}
		tr := NewTracer(k, Sampling{Ratio: c.ratio}, nil)
		r := httptest.NewRequest(http.MethodPost, "/orders/7?x=1", nil)
		r.Pattern = "POST /orders/{id}"
		if c.header != "" {
			r.Header.Set("traceparent", c.header)
		}
		var inside penstock.TraceContext
		var annotator penstock.Annotator
		tr.ServeHTTP(httptest.NewRecorder(), r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inside, annotator = penstock.TraceFrom(r.Context()), penstock.AnnotatorFrom(r.Context())
			w.WriteHeader(c.answer)
		}))
		if len(k.spans) != c.spans || (annotator != nil) != (c.spans > 0) {
			t.Errorf("%s: %d spans", c.name, len(k.spans))
			continue
		}
		if c.spans == 0 {
			continue
		}
		s := k.spans[0]
		if s.Name != "POST /orders/{id}" || s.Kind != Server || s.attrs["http.route"] != "/orders/{id}" || s.attrs["http.response.status_code"] != int64(c.answer) || s.attrs["url.path"] != "/orders/7" {
			t.Errorf("%s: %s %v", c.name, s.Name, s.attrs)
		}
		if s.Parent.IsZero() == c.parent || inside.SpanID != s.id.SpanID || s.code != c.code || len(s.end) != 1 {
			t.Errorf("%s: %+v, inside %+v", c.name, s, inside)
		}
	}
}

func TestRequestThatIsNotSampledAllocatesNothing(t *testing.T) {
	tr := NewTracer(&kept{}, Sampling{Ratio: 0}, nil)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := httptest.NewRecorder()
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	if n := testing.AllocsPerRun(100, func() { tr.ServeHTTP(w, r, h) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestLimitOfTraces(t *testing.T) {
	at := time.Unix(100, 0)
	for _, c := range []struct {
		limit float64
		every time.Duration // between messages that are to begin one
		n     int
		want  int
	}{
		{0, time.Microsecond, 5000, 5000},
		{1000, time.Microsecond, 5000, 1005},       // a second's worth at once, and what 5 ms give
		{1000, 2 * time.Millisecond, 5000, 5000},   // below the limit
		{1000, 500 * time.Microsecond, 9000, 5500}, // 4.5 s of 2000/s
		{.1, time.Second, 30, 3},
	} {
		tr := NewTracer(nil, Sampling{Ratio: 1, Limit: c.limit}, nil)
		got := 0
		for i := range c.n {
			if tr.Allow(at.Add(time.Duration(i) * c.every)) {
				got++
			}
		}
		if got < c.want-2 || got > c.want+2 || tr.Passed() != int64(c.n-got) {
			t.Errorf("%v/s, one each %s: %d of %d began, want %d; %d are counted", c.limit, c.every, got, c.n, c.want, tr.Passed())
		}
	}
}
