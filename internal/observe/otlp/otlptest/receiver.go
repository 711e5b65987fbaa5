// Package otlptest is a collector for tests: it takes spans by OTLP, over HTTP and over gRPC, and decodes them with the protocol's
// official types.
package otlptest

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sort"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Receiver takes spans. It is safe for concurrent use.
type Receiver struct {
	collector.UnimplementedTraceServiceServer

	// URL is where it is reached.
	URL string

	mu       sync.Mutex
	spans    []*Span
	resource map[string]string
	headers  http.Header
	requests int
	refuse   int // status to answer with; 0: all is well
	hold     chan struct{}
}

// Span is one span that came.
type Span struct {
	*trace.Span
	Attrs map[string]string
}

// ID is the identity of the span, in hexadecimal digits.
func (s *Span) ID() string { return hex.EncodeToString(s.SpanId) }

// Trace is the identity of its trace.
func (s *Span) Trace() string { return hex.EncodeToString(s.TraceId) }

// Parent is the identity of the span above it; "" if there is none.
func (s *Span) Parent() string { return hex.EncodeToString(s.ParentSpanId) }

// NewHTTP starts a receiver of OTLP over HTTP, which ends with the test.
func NewHTTP(t testing.TB) *Receiver {
	t.Helper()
	r := &Receiver{}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	r.URL = s.URL
	return r
}

// NewGRPC starts a receiver of OTLP over gRPC, which ends with the test.
func NewGRPC(t testing.TB) *Receiver {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Receiver{URL: "http://" + l.Addr().String()}
	s := grpc.NewServer()
	collector.RegisterTraceServiceServer(s, r)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) }) // it ends with Stop
	t.Cleanup(func() {
		s.Stop()
		wg.Wait()
	})
	return r
}

// Refuse answers what comes with an HTTP status from now on; 0 takes it again.
func (r *Receiver) Refuse(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = status
}

// Hold lets what comes wait until the returned function is called.
func (r *Receiver) Hold() (release func()) {
	c := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold = c
	return sync.OnceFunc(func() { close(c) })
}

// ServeHTTP takes an export over HTTP.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	refuse, hold := r.refuse, r.hold
	r.requests++
	r.headers = q.Header.Clone()
	r.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-q.Context().Done():
			return
		}
	}
	if refuse != 0 {
		w.WriteHeader(refuse)
		return
	}
	body := io.Reader(q.Body)
	if q.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(q.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	data, err := io.ReadAll(body)
	var e collector.ExportTraceServiceRequest
	if err == nil && q.URL.Path != "/v1/traces" {
		err = fmt.Errorf("the path is %s", q.URL.Path)
	}
	if err == nil {
		err = proto.Unmarshal(data, &e)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.take(&e)
	out, _ := proto.Marshal(&collector.ExportTraceServiceResponse{}) // it has nothing in it
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(out) // who exported may be gone
}

// Export takes an export over gRPC.
func (r *Receiver) Export(_ context.Context, e *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.take(e)
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *Receiver) take(e *collector.ExportTraceServiceRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range e.ResourceSpans {
		r.resource = texts(rs.Resource.Attributes)
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				r.spans = append(r.spans, &Span{Span: s, Attrs: texts(s.Attributes)})
			}
		}
	}
}

func texts(kvs []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range kvs {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			out[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.Key] = fmt.Sprint(v.IntValue)
		default:
			out[kv.Key] = kv.Value.String()
		}
	}
	return out
}

// Spans lists what came, by when it began.
func (r *Receiver) Spans() []*Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := append([]*Span(nil), r.spans...)
	sort.SliceStable(out, func(i, j int) bool { return out[i].StartTimeUnixNano < out[j].StartTimeUnixNano })
	return out
}

// Resource says who the spans come from.
func (r *Receiver) Resource() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.resource
}

// Requests is how many exports came over HTTP, and the headers of the last.
func (r *Receiver) Requests() (int, http.Header) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests, r.headers
}

// Tree writes the spans as a tree: kind and name, links and errors, each below its parent. A span whose parent did not come is an error.
func (r *Receiver) Tree(t testing.TB) string {
	t.Helper()
	all := r.Spans()
	known := map[string]bool{}
	for _, s := range all {
		known[s.ID()] = true
	}
	var b strings.Builder
	var write func(above string, depth int)
	write = func(above string, depth int) {
		for _, s := range all {
			parent := s.Parent()
			if depth == 0 && parent != "" && !known[parent] {
				t.Errorf("the parent %s of %s did not come", parent, s.Name)
			}
			if parent != above {
				continue
			}
			kind := strings.ToLower(strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_"))
			fmt.Fprintf(&b, "%s%s %s", strings.Repeat("  ", depth), kind, s.Name)
			if s.Status.GetCode() == trace.Status_STATUS_CODE_ERROR {
				fmt.Fprintf(&b, " !%s", s.Attrs["error.type"])
			}
			if len(s.Links) > 0 {
				fmt.Fprintf(&b, " links=%d", len(s.Links))
			}
			b.WriteByte('\n')
			write(s.ID(), depth+1)
		}
	}
	write("", 0)
	return b.String()
}
