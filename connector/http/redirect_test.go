package http

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"strings"
	"testing"

	"penstock.dev/penstock"
)

func TestRedirects(t *testing.T) {
	other := serve(t, asked)
	main := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/go/"):
			var status int
			_, _ = fmt.Sscanf(r.URL.Path, "/go/%d", &status)
			w.Header().Set("Location", r.URL.Query().Get("to"))
			w.WriteHeader(status)
		case r.URL.Path == "/circle":
			nethttp.Redirect(w, r, "/circle", nethttp.StatusFound)
		case r.URL.Path == "/nowhere":
			w.WriteHeader(nethttp.StatusFound)
		default:
			asked(w, r)
		}
	})
	for _, tt := range []struct {
		method string
		status int
		to     string
		rules  Redirects
		want   string // method, path and body of the last request
		err    string
	}{
		{"GET", 302, "/b?x=%2F", Redirects{Max: 5}, "GET /b?x=%2F ", ""},
		{"GET", 301, "b/../../c", Redirects{Max: 5}, "GET /c ", ""},
		{"POST", 301, "/b", Redirects{Max: 5}, "GET /b ", ""},
		{"POST", 302, "/b", Redirects{Max: 5}, "GET /b ", ""},
		{"POST", 303, "/b", Redirects{Max: 5}, "GET /b ", ""},
		{"PUT", 303, "/b", Redirects{Max: 5}, "GET /b ", ""},
		{"PUT", 302, "/b", Redirects{Max: 5}, `PUT /b {"a":1}`, ""},
		{"POST", 307, "/b", Redirects{Max: 5}, `POST /b {"a":1}`, ""},
		{"POST", 308, "/b#there", Redirects{Max: 5}, `POST /b {"a":1}`, ""},
		{"GET", 302, "/go/302?to=/c", Redirects{Max: 1}, "", "more than 1 redirects"},
		{"GET", 302, "/b", Redirects{}, "", "the answer is 302 Found"},
		{"GET", 302, other.URL + "/b", Redirects{Max: 5}, "", "otherHosts"},
		{"GET", 302, other.URL + "/b", Redirects{Max: 5, OtherHosts: true}, "GET /b ", ""},
		{"POST", 307, other.URL + "/b", Redirects{Max: 5, OtherHosts: true}, `POST /b {"a":1}`, ""},
		{"GET", 302, "//user:pass@localhost/b", Redirects{Max: 5, OtherHosts: true}, "", "user"},
		{"GET", 302, "ftp://localhost/b", Redirects{Max: 5, OtherHosts: true}, "", "ftp"},
		{"GET", 302, "http://[::1", Redirects{Max: 5, OtherHosts: true}, "", "no URL"},
	} {
		t.Run(fmt.Sprintf("%s %d %s", tt.method, tt.status, tt.to), func(t *testing.T) {
			conn := connection(main.URL)
			secret := penstock.NewSecret("s3cret")
			conn.Auth.Bearer = &secret
			conn.Headers = map[string]penstock.Template{"X-Api-Key": {Source: "k"}}
			at := text(fmt.Sprintf("/go/%d", tt.status))
			c := CallConfig{Redirects: &tt.rules, Query: tree(fmt.Sprintf(`{"to":%q}`, tt.to))}
			*map[string]*penstock.Template{"GET": &c.Get, "POST": &c.Post, "PUT": &c.Put}[tt.method] = at
			got, _, err := ask(context.Background(), calling(t, conn, c), `{"a":1}`)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("%v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var q question
			if err := json.Unmarshal([]byte(got), &q); err != nil {
				t.Fatal(err)
			}
			if s := q.Method + " " + q.URI + " " + q.Body; s != tt.want {
				t.Errorf("%s, want %s", s, tt.want)
			}
			elsewhere := strings.HasPrefix(tt.to, "http")
			if leaks := q.Headers["authorization"] != "" || q.Headers["x-api-key"] != ""; leaks == elsewhere {
				t.Errorf("credentials at the redirect's end: %v, another host: %v", leaks, elsewhere)
			}
			if q.Method == nethttp.MethodGet && q.Headers["content-type"] != "" {
				t.Error("a GET with a content-type")
			}
		})
	}
	for at, want := range map[string]string{"/circle": "circle", "/nowhere": "302"} {
		if _, _, err := ask(context.Background(), calling(t, connection(main.URL), CallConfig{Get: text(at), Redirects: &Redirects{Max: 3}}), `{}`); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", at, err)
		}
	}
}

func TestCookies(t *testing.T) {
	s := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		nethttp.SetCookie(w, &nethttp.Cookie{Name: "session", Value: "1", Path: "/"})
		nethttp.SetCookie(w, &nethttp.Cookie{Name: "deep", Value: "2", Path: "/deep"})
		nethttp.SetCookie(w, &nethttp.Cookie{Name: "foreign", Value: "3", Domain: "example.com"})
		_, _ = io.WriteString(w, r.Header.Get("Cookie"))
	})
	for _, keep := range []bool{false, true} {
		conn := connection(s.URL)
		conn.Cookies = keep
		k := calling(t, conn, CallConfig{Get: text("/${body.p}")})
		var got []string
		for _, p := range []string{"x", "x", "deep", "x"} {
			reply, _, err := ask(context.Background(), k, fmt.Sprintf(`{"p":%q}`, p))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, reply)
		}
		want := `null "session=1" "deep=2; session=1" "session=1"`
		if !keep {
			want = "null null null null"
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("kept %v: %s, want %s", keep, s, want)
		}
	}
}
