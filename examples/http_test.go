package examples_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

// shop is the server that examples/http asks.
type shop struct {
	t       *testing.T
	mu      sync.Mutex
	busy    map[string]bool // every path fails once
	orders  map[string][]string
	uploads map[string]string
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer t0ken" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if !s.busy[r.RequestURI] {
		s.busy[r.RequestURI] = true
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/v1")
	switch {
	case r.Method == http.MethodGet && strings.HasPrefix(path, "/countries/"):
		known := map[string]string{"DE": `{"name":"Germany","currency":"EUR"}`, "FR": `{"name":"France","currency":"EUR"}`, "US": `{"name":"United States","currency":"USD"}`}
		c, ok := known[strings.TrimPrefix(path, "/countries/")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, c)
	case r.Method == http.MethodGet && path == "/products":
		page := r.URL.Query().Get("page")
		if page == "" {
			w.Header().Set("Link", `</v1/products?sort=sku&page=2>; rel="next"`)
			_, _ = io.WriteString(w, `{"products":[{"sku":"cup","name":"Cup"},{"sku":"lid","name":"Lid"}]}`)
			return
		}
		_, _ = io.WriteString(w, `{"products":[{"sku":"pot","name":"Pot"}]}`)
	case r.Method == http.MethodPut && strings.HasPrefix(path, "/orders/"):
		s.orders[r.Header.Get("X-Customer")] = append(s.orders[r.Header.Get("X-Customer")], strings.TrimPrefix(path, "/orders/"))
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPost && path == "/files":
		s.upload(w, r)
	default:
		s.t.Errorf("%s %s", r.Method, r.RequestURI)
	}
}

// upload keeps the file of a form.
func (s *shop) upload(w http.ResponseWriter, r *http.Request) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		s.t.Error(err)
		return
	}
	for m := multipart.NewReader(r.Body, params["boundary"]); ; {
		p, err := m.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.t.Error(err)
			return
		}
		b, _ := io.ReadAll(p)
		if p.FileName() != "" {
			s.uploads[p.FileName()] = r.Header.Get("Idempotency-Key")
			if !json.Valid(b) {
				s.t.Errorf("%q", b)
			}
		}
	}
	w.Header().Set("Location", fmt.Sprintf("/v1/files/%d", len(s.uploads)))
	w.WriteHeader(http.StatusCreated)
}

var fileNumber = regexp.MustCompile(`/v1/files/[0-9]`)

// TestHTTP runs examples/http against a server that refuses everything once.
func TestHTTP(t *testing.T) {
	s := &shop{t: t, busy: map[string]bool{}, orders: map[string][]string{}, uploads: map[string]string{}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	out := t.TempDir()
	svc := &control.Service{Registry: edition.Standard(), Secrets: func(name string) (string, bool) { return "t0ken", name == "shop-token" }}
	checked := svc.Check(control.Project{Paths: []string{"http"}, Params: map[string]string{"api": srv.URL, "samples": "http/samples", "out": out}}, true)
	for _, f := range checked.Findings {
		t.Error(f)
	}
	sum, err := svc.Run(context.Background(), checked, control.RunOptions{DeadLetters: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range sum.Flows {
		if f.Dead > 0 {
			t.Errorf("flow %s: %d dead letters", f.Name, f.Dead)
		}
	}
	for name, want := range map[string]string{
		"enrich.jsonl": `{"id":"1001","country":"Germany","total":48.90,"currency":"EUR"}
{"id":"1002","country":"United States","total":112.60,"currency":"USD"}
{"id":"1003","country":"France","total":52.20,"currency":"EUR"}
{"id":"1004","country":"unknown","total":7.00}
{"id":"1005","country":"United States","total":319.95,"currency":"USD"}
`,
		"catalogue.jsonl": `{"sku":"cup","name":"Cup"}
{"sku":"lid","name":"Lid"}
{"sku":"pot","name":"Pot"}
`,
		"upload.jsonl": `{"id":"1002","at":"/v1/files/N"}
{"id":"1005","at":"/v1/files/N"}
`,
	} {
		got, err := os.ReadFile(filepath.Join(out, name))
		got = fileNumber.ReplaceAll(got, []byte("/v1/files/N")) // uploads run at once: which comes first, nobody says
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
	if !slices.Equal(s.orders["ada"], []string{"1001", "1003"}) || !slices.Equal(s.orders["grace"], []string{"1002", "1005"}) || len(s.orders) != 3 {
		t.Errorf("%v", s.orders)
	}
	if s.uploads["order-1002.json"] != "order-1002" || len(s.uploads) != 2 {
		t.Errorf("%v", s.uploads)
	}
}
