package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{}
	var der []byte
	a.key, der = sign(t, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool = x509.NewCertPool()
	a.pool.AddCert(a.cert)
	return a
}

func sign(t testing.TB, c, parent *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// issue makes a certificate for a host, or a client.
func (a *authority) issue(t testing.TB, name string, from, to time.Time) tls.Certificate {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	if ip := net.ParseIP(name); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{name}
	}
	key, der := sign(t, c, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) now(t testing.TB, name string) tls.Certificate {
	return a.issue(t, name, time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
}

// secured runs a server with TLS. With h2 it offers HTTP/2.
func secured(t testing.TB, config *tls.Config, h2 bool, fn http.HandlerFunc) Origin {
	t.Helper()
	s := httptest.NewUnstartedServer(fn)
	s.TLS = config
	s.EnableHTTP2 = h2
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	return originOf(t, s.URL)
}

func TestTrust(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	year := 365 * 24 * time.Hour
	good := a.now(t, "127.0.0.1")
	me := a.now(t, "me")
	for _, tt := range []struct {
		name   string
		server *tls.Config
		client *tls.Config
		err    string
		say    string
	}{
		{"trusted", &tls.Config{Certificates: []tls.Certificate{good}}, &tls.Config{RootCAs: a.pool}, "", ""},
		{"expired", &tls.Config{Certificates: []tls.Certificate{a.issue(t, "127.0.0.1", time.Now().Add(-year), time.Now().Add(-time.Hour))}}, &tls.Config{RootCAs: a.pool}, "tls", "expired"},
		{"not yet valid", &tls.Config{Certificates: []tls.Certificate{a.issue(t, "127.0.0.1", time.Now().Add(time.Hour), time.Now().Add(year))}}, &tls.Config{RootCAs: a.pool}, "tls", "not yet valid"},
		{"another host", &tls.Config{Certificates: []tls.Certificate{a.now(t, "other.example")}}, &tls.Config{RootCAs: a.pool}, "tls", "127.0.0.1"},
		{"another host that is named", &tls.Config{Certificates: []tls.Certificate{a.now(t, "other.example")}}, &tls.Config{RootCAs: a.pool, ServerName: "other.example"}, "", ""},
		{"another authority", &tls.Config{Certificates: []tls.Certificate{good}}, &tls.Config{RootCAs: other.pool}, "tls", "unknown authority"},
		{"nobody checks", &tls.Config{Certificates: []tls.Certificate{good}}, &tls.Config{InsecureSkipVerify: true}, "", ""},
		{"an old version", &tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12}, &tls.Config{RootCAs: a.pool, MinVersion: tls.VersionTLS13}, "tls", "protocol version"},
		{"both show who they are", &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool}, &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{me}}, "", ""},
		{"we don't show who we are", &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool, MaxVersion: tls.VersionTLS12}, &tls.Config{RootCAs: a.pool}, "tls", ""},
		{"we don't show who we are, which TLS 1.3 says later", &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool}, &tls.Config{RootCAs: a.pool}, "tls", "certificate required"},
		{"we are not known", &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: other.pool, MaxVersion: tls.VersionTLS12}, &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{me}}, "tls", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := secured(t, tt.server, false, echo)
			c := client(t, Options{TLS: func() (*tls.Config, error) { return tt.client, nil }, Protocols: Negotiate})
			err := c.Do(context.Background(), get(o), new(Response))
			if kindOf(err) != tt.err || err != nil && !strings.Contains(err.Error(), tt.say) {
				t.Errorf("%v (%s), want %s %q", err, kindOf(err), tt.err, tt.say)
			}
		})
	}
	t.Run("no TLS at all", func(t *testing.T) {
		_, o := answering(t, func(c *peerConn, _ int) { c.request(); c.say("HTTP/1.1 400 Bad Request\r\n\r\n") })
		o.Secure = true
		if err := client(t, Options{}).Do(context.Background(), get(o), new(Response)); kindOf(err) != "tls" {
			t.Errorf("%v", err)
		}
	})
	t.Run("a certificate that can't be read", func(t *testing.T) {
		o := secured(t, &tls.Config{Certificates: []tls.Certificate{good}}, false, echo)
		c := client(t, Options{TLS: func() (*tls.Config, error) { return nil, errors.New("no certificate") }})
		if err := c.Do(context.Background(), get(o), new(Response)); kindOf(err) != "tls" || !strings.Contains(err.Error(), "no certificate") {
			t.Errorf("%v", err)
		}
	})
}

// TestUnaskedOverTLS: what comes behind an answer, in its own packet or one of its own, is never taken for the next answer.
func TestUnaskedOverTLS(t *testing.T) {
	a := newAuthority(t)
	cert := a.now(t, "127.0.0.1")
	for _, together := range []bool{true, false} {
		more := make(chan struct{})
		_, o := answering(t, func(c *peerConn, n int) {
			packet := &gathered{Conn: c.Conn}
			sc := tls.Server(packet, &tls.Config{Certificates: []tls.Certificate{cert}})
			pc := &peerConn{Conn: sc, r: bufio.NewReader(sc)}
			pc.request()
			packet.hold = together && n == 0
			pc.say(ok)
			if n == 0 {
				if !together {
					<-more
				}
				pc.say("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned")
				packet.release()
				if !together {
					more <- struct{}{}
				}
			}
			pc.stall()
		})
		o.Secure = true
		c := client(t, Options{TLS: func() (*tls.Config, error) { return &tls.Config{RootCAs: a.pool}, nil }})
		if err := c.Do(context.Background(), get(o), new(Response)); err != nil {
			t.Fatal(err)
		}
		h, _ := c.host(o)
		if !together {
			more <- struct{}{}
			<-more
			for h.idle[0].fresh() { // it arrives a moment later
				runtime.Gosched()
			}
		}
		var res Response
		if err := c.Do(context.Background(), get(o), &res); err != nil || string(res.Body) != "ok" {
			t.Errorf("in one packet %v: %q, %v", together, res.Body, err)
		}
	}
}

// gathered is a connection that can hold back what is written, to send it as one packet.
type gathered struct {
	net.Conn
	hold bool
	buf  []byte
}

func (g *gathered) Write(b []byte) (int, error) {
	if !g.hold {
		return g.Conn.Write(b)
	}
	g.buf = append(g.buf, b...)
	return len(b), nil
}

func (g *gathered) release() {
	g.hold = false
	_, _ = g.Conn.Write(g.buf)
}

// TestCertificatesChange: each new connection uses what is there by then.
func TestCertificatesChange(t *testing.T) {
	a := newAuthority(t)
	o := secured(t, &tls.Config{Certificates: []tls.Certificate{a.now(t, "127.0.0.1")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool}, false, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	var me atomic.Pointer[tls.Config]
	set := func(name string) {
		me.Store(&tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{a.now(t, name)}})
	}
	var m moved
	c := client(t, m.options(Options{Lifetime: time.Minute, TLS: func() (*tls.Config, error) { return me.Load(), nil }}))
	ask := func() string {
		var res Response
		if err := c.Do(context.Background(), get(o), &res); err != nil {
			t.Fatal(err)
		}
		return string(res.Body)
	}
	set("one")
	first := ask()
	set("two")
	second := ask()
	m.advance(2 * time.Minute)
	if third := ask(); first != "one" || second != "one" || third != "two" {
		t.Errorf("%s, %s, %s", first, second, third)
	}
}

// TestHTTP2 is the same client where the other side speaks HTTP/2.
func TestHTTP2(t *testing.T) {
	a := newAuthority(t)
	fn := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", r.Header.Get("X-Sent"))
		switch r.URL.Path {
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		case "/large":
			_, _ = w.Write(make([]byte, 2000))
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/stall":
			<-r.Context().Done()
		case "/half":
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			echo(w, r)
		}
	}
	o := secured(t, &tls.Config{Certificates: []tls.Certificate{a.now(t, "127.0.0.1")}}, true, fn)
	trust := func() (*tls.Config, error) { return &tls.Config{RootCAs: a.pool}, nil }
	c := client(t, Options{TLS: trust, Protocols: Negotiate, Times: Times{Header: 5 * time.Second, Stall: 5 * time.Second}})
	head, _ := AppendField(nil, "X-Sent", "here")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			body := bytes.Repeat([]byte("x"), 100_000)
			var res Response
			if err := c.Do(context.Background(), &Request{Method: "POST", Origin: o, Target: []byte("/a%2Fb?x=1&y=%20"), Header: head, Body: body[:50_000], Parts: [][]byte{body[50_000:]}}, &res); err != nil {
				t.Error(err)
				return
			}
			if !res.HTTP2() || res.Status != 200 || len(res.Body) != len(body) || string(res.Get("x-seen")) != "here" && string(res.Get("x-target")) != "/a%2Fb?x=1&y=%20" || string(res.Get("x-proto")) != "HTTP/2.0" {
				t.Errorf("%d, %d bytes, %s, %s", res.Status, len(res.Body), res.Get("x-target"), res.Get("x-proto"))
			}
		})
	}
	wg.Wait()
	if s := c.Stats(); s.HTTP2 != 1 || s.Dialled != 1 || s.Open != 0 {
		t.Errorf("%+v, want one connection for all", s)
	}
	var res Response
	q := get(o)
	q.Target = []byte("/missing")
	if err := c.Do(context.Background(), q, &res); err != nil || res.Status != 404 {
		t.Errorf("%v, %d", err, res.Status)
	}
	q.Method = "HEAD"
	if err := c.Do(context.Background(), q, &res); err != nil || res.Status != 404 || res.Body != nil {
		t.Errorf("%v, %d", err, res.Status)
	}
	q.Method, q.Target, q.MaxBody = "GET", []byte("/large"), 1999
	if err := c.Do(context.Background(), q, &res); kindOf(err) != "tooLarge" {
		t.Errorf("%v", err)
	}
	q.Target = []byte("/abort")
	if err := c.Do(context.Background(), q, &res); kindOf(err) != "closed" {
		t.Errorf("%v", err)
	}
	for _, target := range []string{"/stall", "/half"} {
		q.Target = []byte(target)
		q.Deadline = time.Now().Add(30 * time.Millisecond)
		if err := c.Do(context.Background(), q, &res); kindOf(err) != "timeout" {
			t.Errorf("%s: %v", target, err)
		}
		q.Deadline = time.Time{}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		if err := c.Do(ctx, q, &res); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", target, err)
		}
		cancel()
		slow := client(t, Options{TLS: trust, Protocols: Negotiate, Times: Times{Header: 30 * time.Millisecond, Stall: 30 * time.Millisecond}})
		if err := slow.Do(context.Background(), q, &res); kindOf(err) != "timeout" {
			t.Errorf("%s: %v", target, err)
		}
	}
	q.Target, q.Header = []byte("/"), []byte("no header\r\n")
	if err := c.Do(context.Background(), q, &res); kindOf(err) != "refused" {
		t.Errorf("%v", err)
	}
	// It can be left out, and asked for.
	plain := client(t, Options{TLS: trust})
	if err := plain.Do(context.Background(), get(o), &res); err != nil || res.HTTP2() {
		t.Errorf("%v, %v", err, res.HTTP2())
	}
	only := secured(t, &tls.Config{Certificates: []tls.Certificate{a.now(t, "127.0.0.1")}}, false, fn)
	if err := client(t, Options{TLS: trust, Protocols: HTTP2}).Do(context.Background(), get(only), &res); err == nil {
		t.Error("HTTP/2 with a server that does not speak it")
	}
	if err := client(t, Options{TLS: trust, Protocols: Negotiate}).Do(context.Background(), get(only), &res); err != nil || res.HTTP2() {
		t.Errorf("%v, %v", err, res.HTTP2())
	}
}

// TestHTTP2WithoutTLS speaks it with prior knowledge.
func TestHTTP2WithoutTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	s.Config.Protocols = &p
	s.Start()
	t.Cleanup(s.Close)
	var m moved
	c := client(t, m.options(Options{Protocols: HTTP2, Lifetime: time.Minute}))
	var res Response
	for range 2 {
		if err := c.Do(context.Background(), get(originOf(t, s.URL)), &res); err != nil || string(res.Get("x-proto")) != "HTTP/2.0" {
			t.Errorf("%v, %s", err, res.Get("x-proto"))
		}
	}
	m.advance(2 * time.Minute)
	if err := c.Do(context.Background(), get(originOf(t, s.URL)), &res); err != nil {
		t.Error(err)
	}
	if st := c.Stats(); st.Dialled != 2 || st.HTTP2 != 1 {
		t.Errorf("%+v", st)
	}
}

// TestProxy: requests are given to it whole, or go through its tunnel.
func TestProxy(t *testing.T) {
	a := newAuthority(t)
	secure := secured(t, &tls.Config{Certificates: []tls.Certificate{a.now(t, "127.0.0.1")}}, true, echo)
	var seen atomic.Pointer[http.Request]
	refuse := false
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r)
		switch {
		case refuse:
			w.WriteHeader(http.StatusProxyAuthRequired)
		case r.Method != http.MethodConnect:
			echo(w, r)
		default:
			to, err := net.Dial("tcp", r.Host)
			if err != nil {
				t.Error(err)
				return
			}
			w.WriteHeader(http.StatusOK)
			from, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			go func() { _, _ = io.Copy(to, rw); _ = to.Close() }()
			_, _ = io.Copy(from, to)
			_ = from.Close()
		}
	}))
	t.Cleanup(proxy.Close)
	options := Options{Protocols: Negotiate, Proxy: &Proxy{Origin: originOf(t, proxy.URL), Authorization: func() string { return "Basic eA==" }},
		TLS: func() (*tls.Config, error) { return &tls.Config{RootCAs: a.pool}, nil }}
	c := client(t, options)
	var res Response
	if err := c.Do(context.Background(), get(Origin{Host: "inside.example", Port: "8080"}), &res); err != nil {
		t.Fatal(err)
	}
	if r := seen.Load(); r.RequestURI != "http://inside.example:8080/" || r.Host != "inside.example:8080" || r.Header.Get("Proxy-Authorization") != "Basic eA==" {
		t.Errorf("%s, %s, %v", r.RequestURI, r.Host, r.Header)
	}
	if err := c.Do(context.Background(), get(secure), &res); err != nil || !res.HTTP2() {
		t.Errorf("%v", err)
	}
	if r := seen.Load(); r.Method != http.MethodConnect || r.Host != secure.Address() || r.Header.Get("Proxy-Authorization") != "Basic eA==" {
		t.Errorf("%s %s %v", r.Method, r.Host, r.Header)
	}
	refuse = true
	err := client(t, options).Do(context.Background(), get(secure), &res)
	if kindOf(err) != "dial" || !strings.Contains(err.Error(), "407") {
		t.Errorf("%v", err)
	}
}
