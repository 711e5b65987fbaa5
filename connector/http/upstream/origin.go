package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Origin is where requests go: a scheme, a host and a port (RFC 6454). It is comparable.
type Origin struct {
	Secure bool
	// Host is the name or address without a port and without brackets; it is lower-case.
	Host string
	// Port is decimal; it is never empty.
	Port string
}

// ParseOrigin reads the origin of an http or https URL. What else stands in the URL is left alone, but user information, which is refused:
// it would stand in logs.
func ParseOrigin(u *url.URL) (Origin, error) {
	var o Origin
	switch strings.ToLower(u.Scheme) {
	case "http":
		o.Port = "80"
	case "https":
		o.Secure, o.Port = true, "443"
	default:
		return Origin{}, fmt.Errorf("the scheme %q is not http or https", u.Scheme)
	}
	if u.User != nil {
		return Origin{}, errors.New("the URL holds a user or a password")
	}
	o.Host = strings.ToLower(u.Hostname())
	if o.Host == "" {
		return Origin{}, errors.New("the URL names no host")
	}
	for i := range len(o.Host) {
		if c := o.Host[i]; c <= ' ' || c >= 0x7f {
			return Origin{}, fmt.Errorf("the host %q has a character that no host name has; write an international name as xn--…", o.Host)
		}
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return Origin{}, fmt.Errorf("%q is no port", p)
		}
		o.Port = p
	}
	return o, nil
}

// Address is what is dialled: host:port.
func (o Origin) Address() string { return net.JoinHostPort(o.Host, o.Port) }

// Authority is the value of the header Host: without the port where that is the scheme's own (RFC 9110, section 7.2).
func (o Origin) Authority() string {
	if o.Secure && o.Port == "443" || !o.Secure && o.Port == "80" {
		if strings.Contains(o.Host, ":") {
			return "[" + o.Host + "]"
		}
		return o.Host
	}
	return o.Address()
}

// String gives scheme://authority.
func (o Origin) String() string {
	if o.Secure {
		return "https://" + o.Authority()
	}
	return "http://" + o.Authority()
}
