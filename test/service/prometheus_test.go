package service_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"penstock.dev/penstock/test/service"
)

func TestPrometheusScrapes(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("answer 42\n")) }))
	defer s.Close()
	p := service.NewPrometheus(t, false, []string{strings.TrimPrefix(s.URL, "http://")})
	p.Until(t, "answer", func(got []service.Sample) bool { return len(got) == 1 && got[0].Value == 42 })
	if out, err := service.Promtool(t, strings.NewReader("answer 42\n"), "check", "metrics"); err == nil || !strings.Contains(out, "no help") {
		t.Errorf("promtool finds nothing: %s, %v", out, err)
	}
}
