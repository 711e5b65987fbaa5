package health

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestProbes(t *testing.T) {
	well := Check{Name: "store", Probe: func(context.Context) error { return nil }}
	ill := Check{Name: "draining", Probe: func(context.Context) error { return errors.New("the run\nstops") }}
	aside := Check{Name: "views", Probe: func(context.Context) error { return errors.New("one\nstopped") }, Aside: true}
	for _, c := range []struct {
		name, method, target string
		checks               []Check
		code                 int
		body                 string
	}{
		{"all well", "GET", "/readyz", []Check{well}, 200, "ok"},
		{"nothing to check", "GET", "/livez", nil, 200, "ok"},
		{"verbose", "GET", "/readyz?verbose", []Check{well}, 200, "[+]store ok\nreadyz check passed\n"},
		{"one is ill", "GET", "/readyz", []Check{well, ill}, 503, "[+]store ok\n[-]draining failed: the run stops\nreadyz check failed\n"},
		{"the ill one is excluded", "GET", "/readyz?verbose&exclude=draining", []Check{well, ill}, 200, "[+]store ok\n[+]draining excluded: ok\nreadyz check passed\n"},
		{"one alone", "GET", "/readyz/store", []Check{well, ill}, 200, "ok"},
		{"one that is not there", "GET", "/readyz/other", []Check{well}, 404, "404 page not found\n"},
		{"degraded", "GET", "/readyz", []Check{well, aside}, 200, "ok"},
		{"degraded, verbose", "GET", "/readyz?verbose", []Check{aside, well}, 200, "[~]views degraded: one stopped\n[+]store ok\nreadyz check passed\n"},
		{"degraded, alone", "GET", "/readyz/views", []Check{well, aside}, 503, "[-]views failed: one stopped\nreadyz check failed\n"},
		{"degraded and ill", "GET", "/readyz", []Check{ill, aside}, 503, "[-]draining failed: the run stops\n[~]views degraded: one stopped\nreadyz check failed\n"},
		{"changed", "POST", "/readyz", []Check{well}, 405, "a probe is a GET\n"},
	} {
		path := "/readyz"
		if c.target == "/livez" {
			path = "/livez"
		}
		w := httptest.NewRecorder()
		Handler(path, c.checks).ServeHTTP(w, httptest.NewRequest(c.method, c.target, http.NoBody))
		if w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("%s: %d %q", c.name, w.Code, w.Body.String())
		}
	}
}
