package http

import (
	"context"
	"fmt"
	nethttp "net/http"
	"strconv"
	"strings"
	"testing"

	"penstock.dev/penstock"
)

func path(t testing.TB, s string) penstock.Path {
	t.Helper()
	p, err := penstock.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPages(t *testing.T) {
	const total = 7
	// rows are the elements from..to.
	rows := func(from, to int) string {
		var b []string
		for i := from; i < min(to, total); i++ {
			b = append(b, fmt.Sprintf(`{"id": %d}`, i))
		}
		return "[" + strings.Join(b, ",") + "]"
	}
	number := func(r *nethttp.Request, name string) int {
		n, err := strconv.Atoi(r.URL.Query().Get(name))
		if err != nil {
			t.Errorf("%s: %v", r.RequestURI, err)
		}
		return n
	}
	list := `[` + strings.TrimSuffix(strings.Repeat(`{"id": %d},`, total), ",") + `]`
	var ids []any
	for i := range total {
		ids = append(ids, i)
	}
	all := fmt.Sprintf(list, ids...)
	for _, tt := range []struct {
		name  string
		pages penstock.Pages
		serve nethttp.HandlerFunc
		want  string
		code  penstock.Code
	}{
		{"the header Link", penstock.Pages{Link: "next", Max: 10}, func(w nethttp.ResponseWriter, r *nethttp.Request) {
			from, _ := strconv.Atoi(r.URL.Query().Get("from"))
			if from+3 < total {
				w.Header().Add("Link", `</items?from=0>; rel="first"`)
				w.Header().Add("Link", fmt.Sprintf(`</items?x=a,b>; title="a, \"b\"; c"; rel="x prev", <?from=%d>; rel=next`, from+3))
			}
			_, _ = fmt.Fprint(w, rows(from, from+3))
		}, all, ""},
		{"the next URL", penstock.Pages{Next: path(t, "body.links.next"), Items: path(t, "body.data[0].rows"), Max: 10}, func(w nethttp.ResponseWriter, r *nethttp.Request) {
			from, _ := strconv.Atoi(r.URL.Query().Get("from"))
			next := "null"
			if from+2 < total {
				next = fmt.Sprintf(`"http://%s/items?from=%d"`, r.Host, from+2)
			}
			_, _ = fmt.Fprintf(w, `{"data":[{"rows":%s}],"links":{"next":%s}}`, rows(from, from+2), next)
		}, all, ""},
		{"a cursor", penstock.Pages{Cursor: "after", CursorFrom: path(t, "body.meta.next"), Items: path(t, "body.rows"), SizeQuery: "limit", Size: 4, Max: 10}, func(w nethttp.ResponseWriter, r *nethttp.Request) {
			from := 0
			if c := r.URL.Query().Get("after"); c != "" {
				from, _ = strconv.Atoi(strings.TrimPrefix(c, "c&="))
			}
			next := ""
			if from+number(r, "limit") < total {
				next = fmt.Sprintf("c&=%d", from+4)
			}
			_, _ = fmt.Fprintf(w, `{"rows":%s,"meta":{"next":%q}}`, rows(from, from+4), next)
		}, all, ""},
		{"page numbers", penstock.Pages{Page: "p", First: 1, Max: 10}, func(w nethttp.ResponseWriter, r *nethttp.Request) {
			from := 3 * (number(r, "p") - 1)
			_, _ = fmt.Fprint(w, rows(from, from+3))
		}, all, ""},
		{"page numbers with a size", penstock.Pages{Page: "p", First: 0, SizeQuery: "n", Size: 4, Max: 2}, func(w nethttp.ResponseWriter, r *nethttp.Request) {
			n := number(r, "n")
			_, _ = fmt.Fprint(w, rows(n*number(r, "p"), n*number(r, "p")+n))
		}, all, ""},
		{"offsets", penstock.Pages{Offset: "skip", Max: 10}, func(w nethttp.ResponseWriter, r *nethttp.Request) {
			_, _ = fmt.Fprint(w, rows(number(r, "skip"), number(r, "skip")+2))
		}, all, ""},
		{"nothing there", penstock.Pages{Offset: "skip", Items: path(t, "body.rows"), Max: 10}, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			_, _ = fmt.Fprint(w, `{"rows":null}`)
		}, `[]`, ""},
		{"no list", penstock.Pages{Offset: "skip", Items: path(t, "body.items"), Max: 10}, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			_, _ = fmt.Fprint(w, `{"rows":[]}`)
		}, "", penstock.Invalid},
		{"too many", penstock.Pages{Page: "p", Max: 3}, func(w nethttp.ResponseWriter, _ *nethttp.Request) { _, _ = fmt.Fprint(w, `[1]`) }, "", penstock.TooLarge},
		{"too much", penstock.Pages{Page: "p", Max: 1000}, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			_, _ = fmt.Fprintf(w, `[%q]`, strings.Repeat("x", 1000))
		}, "", penstock.TooLarge},
		{"round and round", penstock.Pages{Next: path(t, "body.next"), Items: path(t, "body.rows"), Max: 1000}, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			_, _ = fmt.Fprint(w, `{"rows":[1],"next":"?a=1"}`)
		}, "", penstock.Invalid},
		{"the same cursor again", penstock.Pages{Cursor: "c", CursorFrom: path(t, "body.next"), Items: path(t, "body.rows"), Max: 1000}, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			_, _ = fmt.Fprint(w, `{"rows":[1],"next":7}`)
		}, "", penstock.Invalid},
		{"elsewhere", penstock.Pages{Next: path(t, "body.next"), Items: path(t, "body.rows"), Max: 10}, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			_, _ = fmt.Fprint(w, `{"rows":[1],"next":"http://169.254.169.254/latest"}`)
		}, "", penstock.Invalid},
		{"a page fails", penstock.Pages{Page: "p", First: 1, Max: 10}, func(w nethttp.ResponseWriter, r *nethttp.Request) {
			if number(r, "p") == 2 {
				w.WriteHeader(nethttp.StatusTooManyRequests)
				return
			}
			_, _ = fmt.Fprint(w, `[1]`)
		}, "", penstock.Limited},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
				w.Header().Set("Content-Type", "application/json")
				tt.serve(w, r)
			})
			c := CallConfig{Get: text("/items"), MaxResponse: 64 << 10}
			if err := c.Paginate(tt.pages); err != nil {
				t.Fatal(err)
			}
			got, _, err := ask(context.Background(), calling(t, connection(s.URL), c), `{}`)
			if penstock.CodeOf(err) != tt.code || got != tt.want {
				t.Errorf("%s, %v; want %s, %s", got, err, tt.want, tt.code)
			}
		})
	}
}

func TestPagesAreOfCallsThatRead(t *testing.T) {
	for _, c := range []CallConfig{{Post: text("/")}, {Get: text("/"), Reply: "full"}, {Head: text("/")}} {
		if c.Paginate(penstock.Pages{Page: "p"}) == nil {
			t.Errorf("%+v", c)
		}
	}
}

func FuzzFindLink(f *testing.F) {
	for _, s := range []string{`<a>; rel=next`, `<a>; rel="x next"; title="\"", <b>;rel=next`, `<a>;;rel=next`, `<a`, `<a>; rel="next`, `, <a>; rel = next`, `<a>; x, <b>; rel=next`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := findLink(s, "next"); got != "" && !strings.Contains(s, "<"+got+">") {
			t.Errorf("%q gives %q", s, got)
		}
	})
}
