package badinput_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
)

// upstreamOf adds a Connection to a server to a configuration.
func upstreamOf(t testing.TB, flow string, fn http.HandlerFunc, more string) string {
	t.Helper()
	s := httptest.NewServer(fn)
	t.Cleanup(s.Close)
	return flow + "---\napiVersion: penstock.dev/v1alpha1\nkind: Connection\nmetadata: { name: up }\nspec: { http: { url: \"" + s.URL + "/base\"" + more + " }, retry: { attempts: 2, backoff: { initial: 1ms } } }\n"
}

// hostile is text that means something to somebody on the way.
var hostile = []string{
	"plain", "a/b", "../../admin", "..", ".", "", "a?b=c", "a&admin=true", "a;b", "a#b", "a b", "a+b", "100%", "%2e%2e", "%2f", "..%2f..", "%00", "\u0000", "a\r\nX-Injected: yes", "a\nb", "\tb\t",
	"grün", "日本", "\"quoted\"", "'; DROP TABLE o; --", "${body.x}", "{{x}}", "<script>", `\`, "http://evil.example/", "//evil.example/", "@evil.example", "a\u2028b", strings.Repeat("x", 3000),
}

// TestValuesStayValues: whatever a message holds, it changes nothing of a request but the place that it was meant for, or the message fails.
func TestValuesStayValues(t *testing.T) {
	type seen struct{ path, query, tree, header, form, file, text string }
	var mu sync.Mutex
	got := map[string]*seen{}
	at := func(id string) *seen {
		mu.Lock()
		defer mu.Unlock()
		if got[id] == nil {
			got[id] = &seen{}
		}
		return got[id]
	}
	serve := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if len(r.Header["X-Injected"]) > 0 || r.Host == "evil.example" || r.URL.Query().Get("admin") != "" {
			t.Errorf("%s %s: something got in: %v", r.Method, r.RequestURI, r.Header)
		}
		s := at(r.Header.Get("X-Id"))
		segments := strings.Split(r.URL.EscapedPath(), "/")
		switch {
		case len(segments) < 3 || segments[1] != "base":
			t.Errorf("%s leads elsewhere", r.RequestURI)
		case segments[2] == "path" && len(segments) == 5 && segments[4] == "end":
			s.path, _ = url.PathUnescape(segments[3])
		case segments[2] == "query" && len(segments) == 3:
			q, err := url.ParseQuery(r.URL.RawQuery)
			if err != nil || len(q) != 3 {
				t.Errorf("%s: %v", r.RequestURI, err)
			}
			s.query, s.tree = q.Get("a"), q.Get("b")
		case segments[2] == "header":
			s.header = r.Header.Get("X-Value")
		case segments[2] == "form":
			if err := r.ParseForm(); err != nil || len(r.PostForm) != 1 {
				t.Errorf("%v, %v", err, r.PostForm)
			}
			s.form = r.PostForm.Get("v")
		case segments[2] == "parts":
			_, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
			m := multipart.NewReader(r.Body, params["boundary"])
			p, err := m.NextRawPart()
			if err != nil {
				t.Error(err)
				return
			}
			b, _ := io.ReadAll(p)
			s.text, s.file = string(b), p.Header.Get("Content-Disposition")
			if _, err := m.NextRawPart(); !errors.Is(err, io.EOF) {
				t.Error("more parts than were sent")
			}
		default:
			t.Errorf("%s leads elsewhere", r.RequestURI)
		}
		_, _ = io.WriteString(w, `{}`)
	}
	id := `headers: { x-id: "${body.id}" }`
	steps := `- { name: path, try: { steps: [ { call: { http: { connection: up, get: "/path/${body.v}/end", ` + id + ` } }, into: vars.r } ], catch: [ { set: { body.path: "${error.code}" } } ] } }
- { call: { http: { connection: up, get: "/query?a=${body.v}&c=1", query: { b: "${body.v}" }, ` + id + ` } }, into: vars.r }
- { name: header, try: { steps: [ { call: { http: { connection: up, get: /header, headers: { x-id: "${body.id}", x-value: "${body.v}" } } }, into: vars.r } ], catch: [ { set: { body.header: "${error.code}" } } ] } }
- { call: { http: { connection: up, post: /form, form: { v: "${body.v}" }, ` + id + ` } }, into: vars.r }
- { call: { http: { connection: up, post: /parts, multipart: [ { name: f, filename: "${body.v}", text: "${body.v}" } ], ` + id + ` } }, into: vars.r }
`
	var in strings.Builder
	for i, v := range hostile {
		_ = json.NewEncoder(&in).Encode(map[string]string{"id": fmt.Sprint(i), "v": v})
	}
	o := runFlow(t, upstreamOf(t, readAndPrint(steps), serve, ""), "in.jsonl", in.String())
	if o.err != nil || len(o.out) != len(hostile) || len(o.dead) > 0 {
		for _, d := range o.dead {
			t.Errorf("%+v", d.Meta.Dead)
		}
		t.Fatalf("%d of %d, %v", len(o.out), len(hostile), o.err)
	}
	for i, row := range o.out {
		v := hostile[i]
		var body struct{ Path, Header penstock.Code }
		if err := json.Unmarshal([]byte(row), &body); err != nil {
			t.Fatal(err)
		}
		s := at(fmt.Sprint(i))
		refusedPath := v == "" || v == "." || v == ".."
		if refusedPath != (body.Path == penstock.Unprocessable) || !refusedPath && s.path != v {
			t.Errorf("%q in a path: %q, %s", v, s.path, body.Path)
		}
		refusedHeader := strings.ContainsAny(v, "\r\n\x00")
		if refusedHeader != (body.Header == penstock.Unprocessable) || !refusedHeader && s.header != strings.Trim(v, " \t") {
			t.Errorf("%q in a header: %q, %s", v, s.header, body.Header)
		}
		if s.query != v || s.tree != v || s.form != v || s.text != v {
			t.Errorf("%q: query %q and %q, form %q, part %q", v, s.query, s.tree, s.form, s.text)
		}
		if strings.ContainsAny(s.file, "\r\n") || strings.Count(s.file, `"`) != 4 {
			t.Errorf("%q as the name of a file: %s", v, s.file)
		}
	}
}

// TestServersThatFail: what becomes of messages whose server fails in the middle, tries again where that is safe, and what a dead letter says.
func TestServersThatFail(t *testing.T) {
	faults := map[string]func(w http.ResponseWriter){
		"unavailable": func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"reset":       func(w http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"half": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"half":`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"garbage": func(w http.ResponseWriter) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}")
				_ = c.Close()
			}
		},
	}
	for _, step := range []struct {
		call  string
		tries int // that the server sees of each message
	}{
		{`get: "/x?f=${body.f}&id=${body.id}"`, 2},
		{`put: "/x?f=${body.f}&id=${body.id}"`, 2},
		{`post: "/x?f=${body.f}&id=${body.id}"`, 2}, // the step declares tries
	} {
		var mu sync.Mutex
		tries := map[string]int{}
		serve := func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			key := r.URL.Query().Get("f") + r.URL.Query().Get("id")
			mu.Lock()
			tries[key]++
			n := tries[key]
			mu.Unlock()
			if n == 1 || r.URL.Query().Get("id") == "always" {
				faults[r.URL.Query().Get("f")](w)
				return
			}
			_, _ = io.WriteString(w, `{"ok":true}`)
		}
		var in strings.Builder
		names := make([]string, 0, len(faults))
		for f := range faults {
			names = append(names, f)
		}
		slices.Sort(names)
		for _, f := range names {
			fmt.Fprintf(&in, "{\"f\":%q,\"id\":\"once\"}\n{\"f\":%q,\"id\":\"always\"}\n", f, f)
		}
		o := runFlow(t, upstreamOf(t, readAndPrint("- { name: ask, call: { http: { connection: up, "+step.call+" } }, retry: { attempts: 2, backoff: { initial: 1ms } } }\n"), serve, ""), "in.jsonl", in.String())
		if o.err != nil || len(o.out) != len(faults) || len(o.dead) != len(faults) {
			t.Fatalf("%s: %d printed, %d dead, %v", step.call, len(o.out), len(o.dead), o.err)
		}
		for _, d := range o.dead {
			if d.Meta.Dead.Code != penstock.Unavailable || d.Meta.Dead.Step != "ask" || d.Meta.Dead.Attempts != 2 || !strings.Contains(d.Meta.Dead.Message, "/base/x") && d.Meta.Dead.Path == "" {
				t.Errorf("%s: %+v", step.call, d.Meta.Dead)
			}
		}
		for key, n := range tries {
			// A connection that was kept and ends before an answer begins is one try, in which a request that may be repeated goes out twice.
			if n != step.tries && (n != step.tries+1 || !strings.HasPrefix(key, "reset") || strings.HasPrefix(step.call, "post")) {
				t.Errorf("%s, %s: %d tries, want %d", step.call, key, n, step.tries)
			}
		}
	}
}

// TestTriesAreSafe: without a word about tries, what may be asked twice is, and what may not is not.
func TestTriesAreSafe(t *testing.T) {
	for call, want := range map[string]int{
		`call: { http: { connection: up, get: /x } }`:                                          3,
		`call: { http: { connection: up, delete: /x } }`:                                       3,
		`call: { http: { connection: up, post: /x } }`:                                         1,
		`call: { http: { connection: up, patch: /x } }`:                                        1,
		`call: { http: { connection: up, post: /x, idempotencyKey: "k-${body.id}" } }`:         3,
		`to: { http: { connection: up, put: "/x/${body.id}" } }`:                               3,
		`to: { http: { connection: up, post: /x } }`:                                           1,
		`to: { http: { connection: up, post: /x, idempotencyKey: "k-${body.id}" } }`:           3,
		`to: { http: { connection: up, post: /x, batch: { size: 10 } } }`:                      1,
		`to: { http: { connection: up, delete: "/x/${body.id}", headers: { x-a: "${key}" } }}`: 3,
	} {
		var mu sync.Mutex
		tries, keys := 0, map[string]bool{}
		serve := func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			tries++
			keys[r.Header.Get("Idempotency-Key")] = true
			if tries < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
		flow := strings.Replace(upstreamOf(t, readAndPrint("- { "+call+" }\n")+"  onError: {}\n", serve, ""), ", retry: { attempts: 2, backoff: { initial: 1ms } }", "", 1)
		flow = strings.Replace(flow, "  onError: {}\n", "", 1)
		o := runFlow(t, flow, "in.jsonl", "{\"id\":1}\n")
		if tries != want || (want == 1) != (len(o.dead) == 1) || len(keys) != 1 {
			t.Errorf("%s: %d tries, %d dead letters, keys %v, %v; want %d", call, tries, len(o.dead), keys, o.err, want)
		}
	}
}

// TestSinkInOrder: many requests at once, some of which fail at first: those of each key arrive in order, each once.
func TestSinkInOrder(t *testing.T) {
	var mu sync.Mutex
	seen, failed := map[string][]int{}, map[int]bool{}
	serve := func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			Key string
			N   int
		}
		_ = json.NewDecoder(r.Body).Decode(&m)
		mu.Lock()
		defer mu.Unlock()
		if m.N%7 == 0 && !failed[m.N] {
			failed[m.N] = true
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		seen[m.Key] = append(seen[m.Key], m.N)
	}
	var in strings.Builder
	const n = 2000
	for i := range n {
		fmt.Fprintf(&in, "{\"key\":\"k%d\",\"n\":%d}\n", i*i%37, i)
	}
	for _, order := range []string{"per-key", "total"} {
		clear(seen)
		clear(failed)
		flow := flowOf("from: { file: { path: \"${params.src}\" } }\nkey: body.key\norder: " + order + "\nto: { http: { connection: up, put: \"/x/${body.key}\" } }\n")
		o := runFlow(t, upstreamOf(t, flow, serve, ""), "in.jsonl", in.String())
		if o.err != nil || len(o.dead) > 0 {
			t.Fatalf("%v, %d dead letters", o.err, len(o.dead))
		}
		total := 0
		for key, ns := range seen {
			total += len(ns)
			if !slices.IsSorted(ns) {
				t.Errorf("order %s: %s: %v", order, key, ns)
			}
		}
		if total != n {
			t.Errorf("order %s: %d arrived", order, total)
		}
	}
}
