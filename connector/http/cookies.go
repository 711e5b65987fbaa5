package http

import (
	nethttp "net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"

	"penstock.dev/penstock/connector/http/upstream"
)

// cookies keeps what servers set (RFC 6265), for as long as the run. Each host has a jar of its own, so that no host's cookies are ever sent to
// another, whatever domain they say that they are for. It is safe for concurrent use.
type cookies struct {
	mu   sync.Mutex
	jars map[upstream.Origin]*cookiejar.Jar
}

func (c *cookies) jar(o upstream.Origin, target []byte) (*cookiejar.Jar, *url.URL) {
	u, err := url.Parse(o.String() + string(target))
	if err != nil {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.jars[o]
	if j == nil {
		j, _ = cookiejar.New(nil) // it has no errors
		c.jars[o] = j
	}
	return j, u
}

// add appends the header Cookie.
func (c *cookies) add(dst []byte, o upstream.Origin, target []byte) ([]byte, error) {
	j, u := c.jar(o, target)
	if j == nil {
		return dst, nil
	}
	var b strings.Builder
	for i, cookie := range j.Cookies(u) {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(cookie.Name + "=" + cookie.Value)
	}
	if b.Len() == 0 {
		return dst, nil
	}
	return upstream.AppendField(dst, "Cookie", b.String())
}

// keep takes up the cookies of an answer.
func (c *cookies) keep(res *upstream.Response, o upstream.Origin, target []byte) {
	var set []*nethttp.Cookie
	res.Each(func(name, value []byte) {
		if strings.EqualFold(string(name), "set-cookie") {
			if cookie, err := nethttp.ParseSetCookie(string(value)); err == nil {
				set = append(set, cookie)
			}
		}
	})
	if len(set) == 0 {
		return
	}
	if j, u := c.jar(o, target); j != nil {
		j.SetCookies(u, set)
	}
}
