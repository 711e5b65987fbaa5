package http

import (
	"context"
	"errors"
	"fmt"
	nethttp "net/http"
	"net/url"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http/upstream"
)

// Redirects say whether an answer that points elsewhere is followed.
type Redirects struct {
	// How many redirects of one request are followed; 0 is none: then a redirect is an answer like any other, and a failure unless it is
	// expected. 303 is followed with GET; 301 and 302 with GET where the request was a POST, as browsers do; 307 and 308 send the same
	// request again, body and all.
	Max int `json:"max" penstock:"min=0,max=50,default=10"`
	// Whether a redirect may lead to another host, port or scheme. It is then followed without credentials, cookies, and the headers of the
	// Connection and the call. Whoever runs the server decides where such requests go, also into your own network: allow it only where you trust
	// them. From https to http none is ever followed.
	OtherHosts bool `json:"otherHosts"`
}

// exchange sends the request of w, and follows where it is pointed. Its errors are *penstock.Error.
func (k *requester) exchange(ctx context.Context, w *work) error {
	err := k.hops(ctx, w)
	if a := penstock.AnnotatorFrom(ctx); a != nil {
		a.SetText("http.request.method", k.method)
		a.SetText("server.address", k.up.origin.Host)
		if port, err := strconv.ParseInt(k.up.origin.Port, 10, 64); err == nil {
			a.SetInt("server.port", port)
		}
		a.SetText("url.template", k.up.base+k.path.Source)
		if w.res.Status > 0 {
			a.SetInt("http.response.status_code", int64(w.res.Status))
		}
	}
	return err
}

// hops is exchange, without what a span says of it.
func (k *requester) hops(ctx context.Context, w *work) error {
	w.res.Status = 0
	for hops := 0; ; hops++ {
		err := k.once(ctx, w)
		k.annotate(ctx, w, err)
		if err != nil {
			return failure(err, k.place)
		}
		location := w.res.Get("location")
		if !isRedirect(w.res.Status) || location == nil || k.redirects.Max == 0 {
			return nil
		}
		if hops == k.redirects.Max {
			return &penstock.Error{Code: penstock.Unprocessable, Op: "http", Path: k.place, Err: fmt.Errorf("more than %d redirects, one after the other", hops), Hint: "they go in a circle, or redirects.max is too low"}
		}
		if err := k.follow(w, string(location)); err != nil {
			return &penstock.Error{Code: penstock.Unprocessable, Op: "http", Path: k.place, Err: fmt.Errorf("the answer is %d: %w", w.res.Status, err), Hint: redirectHint(err)}
		}
	}
}

// once is one request and its answer, with cookies where the Connection keeps them.
func (k *requester) once(ctx context.Context, w *work) error {
	jar := k.up.cookies
	if jar == nil {
		return k.up.up.Do(ctx, &w.req, &w.res)
	}
	plain := len(w.req.Header)
	var err error
	if w.req.Header, err = jar.add(w.req.Header, w.req.Origin, w.req.Target); err != nil {
		return err
	}
	w.head = w.req.Header[:plain]
	if err := k.up.up.Do(ctx, &w.req, &w.res); err != nil {
		return err
	}
	w.req.Header = w.head
	jar.keep(&w.res, w.req.Origin, w.req.Target)
	return nil
}

func isRedirect(status int) bool {
	switch status {
	case nethttp.StatusMovedPermanently, nethttp.StatusFound, nethttp.StatusSeeOther, nethttp.StatusTemporaryRedirect, nethttp.StatusPermanentRedirect:
		return true
	}
	return false
}

var errElsewhere = errors.New("it leads to another host")

func redirectHint(err error) string {
	if errors.Is(err, errElsewhere) {
		return "if that host is to be trusted, say redirects: { otherHosts: true }"
	}
	return ""
}

// follow makes the request that a redirect asks for (RFC 9110, section 15.4).
func (k *requester) follow(w *work, location string) error {
	q := &w.req
	target, origin, err := resolve(q, location)
	if err != nil {
		return err
	}
	if origin != q.Origin {
		switch {
		case q.Origin.Secure && !origin.Secure:
			return errors.New("it leads from https to http")
		case !k.redirects.OtherHosts:
			return fmt.Errorf("%w: %s", errElsewhere, origin)
		}
		w.head = filterHeader(w.head[:0], q.Header, harmless)
		q.Header = w.head
	}
	switch s := w.res.Status; {
	case s == nethttp.StatusSeeOther && q.Method != nethttp.MethodHead, (s == nethttp.StatusMovedPermanently || s == nethttp.StatusFound) && q.Method == nethttp.MethodPost:
		q.Method, q.Body, q.Parts, q.Repeatable = nethttp.MethodGet, nil, nil, true
		w.head = filterHeader(w.head[:0], q.Header, notContent)
		q.Header = w.head
	}
	q.Origin = origin
	w.target = append(w.target[:0], target...)
	q.Target = w.target
	return nil
}

// resolve makes the target of a URL that an answer to q holds, perhaps a relative one (RFC 3986, section 5).
func resolve(q *upstream.Request, ref string) (target []byte, origin upstream.Origin, err error) {
	now, err := url.Parse(q.Origin.String() + string(q.Target))
	if err != nil {
		return nil, origin, errors.New("its own path can't be read")
	}
	to, err := now.Parse(ref)
	if err != nil {
		return nil, origin, errors.New("what it points to is no URL")
	}
	if origin, err = upstream.ParseOrigin(to); err != nil {
		return nil, origin, err
	}
	target = append(target, to.EscapedPath()...)
	if len(target) == 0 {
		target = append(target, '/')
	}
	if to.RawQuery != "" {
		target = append(append(target, '?'), to.RawQuery...)
	}
	return target, origin, nil
}

// harmless are the headers that another host may see.
func harmless(name string) bool {
	switch name {
	case "accept", "accept-encoding", "user-agent", "content-type", "content-encoding":
		return true
	}
	return false
}

// notContent are the headers that do not speak of a body.
func notContent(name string) bool { return !strings.HasPrefix(name, "content-") }

// filterHeader appends the header lines of from whose names, in lower case, are wanted. dst may be the beginning of from.
func filterHeader(dst, from []byte, wanted func(name string) bool) []byte {
	for line := range strings.SplitAfterSeq(string(from), "\r\n") {
		if name, _, ok := strings.Cut(line, ":"); ok && wanted(strings.ToLower(name)) {
			dst = append(dst, line...)
		}
	}
	return dst
}
