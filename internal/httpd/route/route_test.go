package route_test

import (
	"strings"
	"testing"

	"penstock.dev/penstock/internal/httpd/route"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct{ path, names, err string }{
		{path: "/"},
		{path: "/a/b"},
		{path: "/a/"},
		{path: "/a%20b"},
		{path: "/orders/{id}/lines/{lineNo}", names: "id lineNo"},
		{path: "/files/{path...}", names: "path"},
		{path: "", err: "does not begin with /"},
		{path: "orders", err: "does not begin with /"},
		{path: "/a?b", err: "without query"},
		{path: "/a//b", err: "empty segment"},
		{path: "/{a}/{a}", err: "twice"},
		{path: "/{a...}/b", err: "nothing can stand behind it"},
		{path: "/x{a}", err: "a name takes a whole segment"},
		{path: "/{a", err: "a name takes a whole segment"},
		{path: "/{A}", err: "a name begins with a-z"},
		{path: "/{}", err: "a name begins with a-z"},
		{path: "/{$}", err: "a name begins with a-z"},
		{path: "/a/../b", err: "malformed"},
		{path: "/a/%2e", err: "malformed"},
		{path: "/a%zz", err: "malformed"},
		{path: "/a%00", err: "malformed"},
	} {
		p, err := route.Parse(tc.path)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: %v, want %q", tc.path, err, tc.err)
			}
			continue
		}
		if err != nil || strings.Join(p.Names(), " ") != tc.names || p.String() != tc.path {
			t.Errorf("%s: %v, %v", tc.path, p, err)
		}
	}
}

func TestConflict(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"GET /a", "GET /a", true},
		{"GET /a", "POST /a", false},
		{"GET /a", " /a", false},
		{" /a", " /a", true},
		{"GET /a", "GET /a/", false},
		{"GET /{x}", "GET /a", false},
		{"GET /{x}", "GET /{y}", true},
		{"GET /{x}", "GET /", false},
		{"GET /{x...}", "GET /", false},
		{"GET /{x...}", "GET /a/{y}", false},
		{"GET /{x...}", "GET /{y...}", true},
		{"GET /a/{x}", "GET /{y}/b", true},
		{"GET /a/{x}", " /{y}/b", true},
		{"GET /a/{x}", "POST /{y}/b", false},
		{"GET /a/{x}/c", "GET /{y}/b/d", false},
		{"GET /a/{x...}", "GET /{y}/b", true},
		{"GET /a/{x...}", "GET /a", false},
		{"GET /a/b", "GET /a%2Fb", false},
		{"GET /a", "GET /%61", true},
	} {
		am, ap, _ := strings.Cut(tc.a, " ")
		bm, bp, _ := strings.Cut(tc.b, " ")
		p, err := route.Parse(ap)
		if err != nil {
			t.Fatal(err)
		}
		q, err := route.Parse(bp)
		if err != nil {
			t.Fatal(err)
		}
		if route.Conflict(am, p, bm, q) != tc.want || route.Conflict(bm, q, am, p) != tc.want {
			t.Errorf("%s and %s: want %v", tc.a, tc.b, tc.want)
		}
	}
}

func table(t testing.TB, routes ...string) *route.Table[string] {
	t.Helper()
	var rs []route.Route[string]
	for _, r := range routes {
		method, path, _ := strings.Cut(r, " ")
		p, err := route.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, route.Route[string]{Method: method, Pattern: p, Value: r})
	}
	return route.NewTable(rs)
}

func TestFind(t *testing.T) {
	tab := table(t, "GET /", "POST /hello", " /any", "GET /any", "GET /orders/{id}", "GET /orders/new", "DELETE /orders/{id}", "GET /orders/{id}/lines/{no}",
		"PUT /orders/new", "GET /files/{path...}", "GET /files/index", "GET /a%20b", "GET /dir/", "GET /x/{a}/c", "GET /{b}/y/{d...}")
	for _, tc := range []struct{ method, path, want string }{
		{"GET", "/", "GET /"},
		{"HEAD", "/", "GET /"},
		{"POST", "/hello", "POST /hello"},
		{"GET", "/hello", "allowed: POST"},
		{"POST", "/hello/", "nothing"},
		{"POST", "/Hello", "nothing"},
		{"POST", "//hello", "nothing"},
		{"POST", "/hell%6F", "POST /hello"},
		{"POST", "/hell%256F", "nothing"},
		{"GET", "/any", "GET /any"},
		{"HEAD", "/any", "GET /any"},
		{"PURGE", "/any", " /any"},
		{"GET", "/orders/7", "GET /orders/{id} id=7"},
		{"GET", "/orders/new", "GET /orders/new"},
		{"DELETE", "/orders/new", "DELETE /orders/{id} id=new"},
		{"PATCH", "/orders/new", "allowed: DELETE GET HEAD PUT"},
		{"GET", "/orders/", "nothing"},
		{"GET", "/orders/a%2Fb", "GET /orders/{id} id=a/b"},
		{"GET", "/orders/a%252Fb", "GET /orders/{id} id=a%2Fb"},
		{"GET", "/orders/%2Fnew", "GET /orders/{id} id=/new"},
		{"GET", "/orders/ä", "GET /orders/{id} id=ä"},
		{"GET", "/orders/..", "malformed"},
		{"GET", "/orders/.", "malformed"},
		{"GET", "/orders/%2e%2E", "malformed"},
		{"GET", "/orders/.%2e", "malformed"},
		{"GET", "/orders/%252e%252e", "GET /orders/{id} id=%2e%2e"},
		{"GET", "/orders/../orders/new", "malformed"},
		{"GET", "/files/a/../../etc", "malformed"},
		{"GET", "/orders/...", "GET /orders/{id} id=..."},
		{"GET", "/orders/a%00", "malformed"},
		{"GET", "/orders/a%", "malformed"},
		{"GET", "/orders/a%2", "malformed"},
		{"GET", "/orders/a%g0", "malformed"},
		{"GET", "/orders/%ff", "malformed"},
		{"GET", "/orders/7/lines/2", "GET /orders/{id}/lines/{no} id=7 no=2"},
		{"GET", "/orders/7/lines", "nothing"},
		{"GET", "/files/", "GET /files/{path...} path="},
		{"GET", "/files", "nothing"},
		{"GET", "/files/a/b//c", "GET /files/{path...} path=a/b//c"},
		{"GET", "/files/index", "GET /files/index"},
		{"GET", "/files/a%2Fb", "malformed"},
		{"GET", "/files/.well-known/x", "GET /files/{path...} path=.well-known/x"},
		{"GET", "/a%20b", "GET /a%20b"},
		{"GET", "/dir/", "GET /dir/"},
		{"GET", "/dir", "nothing"},
		{"GET", "/x/y/c", "GET /x/{a}/c a=y"},
		{"GET", "/x/y/d", "GET /{b}/y/{d...} b=x d=d"},
		{"GET", "*", "malformed"},
		{"GET", "", "malformed"},
	} {
		m, err := tab.Find(tc.method, tc.path)
		got := "nothing"
		switch {
		case err != nil:
			got = "malformed"
		case m.Found:
			got = m.Value
			for i, n := range m.Names {
				got += " " + n + "=" + m.Values[i]
			}
		case len(m.Allowed) > 0:
			got = "allowed: " + strings.Join(m.Allowed, " ")
		}
		if got != tc.want {
			t.Errorf("%s %s: %s, want %s", tc.method, tc.path, got, tc.want)
		}
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	tab := table(t, "POST /hello", "GET /orders/{id}")
	if n := testing.AllocsPerRun(100, func() { _, _ = tab.Find("POST", "/hello") }); n > 0 {
		t.Errorf("a path without names: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = tab.Find("GET", "/orders/7") }); n > 3 {
		t.Errorf("a path with one name: %v allocations", n)
	}
}

// FuzzFind holds that nothing that is found was cleaned, decoded twice, or made of what separates.
func FuzzFind(f *testing.F) {
	for _, s := range []string{"/a/b", "/a%2Fb/c", "/../a", "/%2e%2e/x", "/a//b", "/%25", "/x/y/z/"} {
		f.Add(s)
	}
	tab := table(f, "GET /{a}/{b}", "GET /s/{rest...}", "GET /s/fixed")
	f.Fuzz(func(t *testing.T, path string) {
		m, err := tab.Find("GET", path)
		if err != nil || !m.Found {
			return
		}
		parts := strings.Split(path[1:], "/")
		switch m.Value {
		case "GET /{a}/{b}":
			if len(parts) != 2 || m.Values[0] == "" || m.Values[1] == "" {
				t.Errorf("%q matches two segments: %q", path, m.Values)
			}
			for i, v := range m.Values {
				if v == ".." || v == "." || !strings.Contains(parts[i], "%") && v != parts[i] {
					t.Errorf("%q gives %q", path, m.Values)
				}
			}
		case "GET /s/{rest...}":
			if strings.Count(m.Values[0], "/") != len(parts)-2 {
				t.Errorf("%q gives %q", path, m.Values)
			}
		}
	})
}
