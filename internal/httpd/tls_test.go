package httpd_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/httpd"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key, a.pem, _ = sign(t, nil, "authority")
	return a
}

// lifetime is how long certificates last that sign makes.
var lifetime = time.Hour

// sign makes a certificate; without an authority it is one itself.
func sign(t *testing.T, by *authority, name string) (*x509.Certificate, *ecdsa.PrivateKey, string, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lifetime),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, parentKey := template, key
	if by == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		parent, parentKey = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}))
}

// secured is an HTTPS listener whose handler tells what came.
type secured struct {
	s      *httpd.Server
	values *penstock.SecretValues
	log    *bytes.Buffer
	ca     *authority
}

func openTLS(t *testing.T, auth httpd.ClientAuth, clients *authority) *secured {
	t.Helper()
	x := &secured{values: penstock.NewSecretValues(), ca: newAuthority(t), log: &bytes.Buffer{}}
	o := &httpd.TLS{Certificate: penstock.EmptySecret(), PrivateKey: penstock.EmptySecret(), ClientAuth: auth}
	o.Certificate.Bind(x.values, "cert")
	o.PrivateKey.Bind(x.values, "key")
	if clients != nil {
		o.ClientCA = penstock.NewSecret(clients.pem)
	}
	x.renew(t, "first")
	var err error
	if x.s, err = httpd.New(httpd.Options{Address: "127.0.0.1:0", TLS: o, Logger: slog.New(slog.NewTextHandler(x.log, nil)), HeaderTimeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	_, err = x.s.Mount(penstock.HTTPRoute{Owner: "a", Path: "/{rest...}", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := "nobody"
		if r.TLS == nil {
			client = "not secured"
		} else if len(r.TLS.PeerCertificates) > 0 {
			client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_, _ = io.WriteString(w, r.Proto+" "+client)
	})})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// renew puts a new certificate in place.
func (x *secured) renew(t *testing.T, name string) {
	t.Helper()
	_, _, cert, key := sign(t, x.ca, name)
	x.values.Replace(map[string]string{"cert": cert, "key": key})
}

// ask sends one request, and gives the answer and the name of the server's certificate.
func (x *secured) ask(t *testing.T, h2 bool, client *tls.Certificate) (string, error) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(x.ca.cert)
	config := &tls.Config{RootCAs: pool}
	if client != nil {
		config.Certificates = []tls.Certificate{*client}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: h2}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, x.s.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b) + ", " + res.TLS.PeerCertificates[0].Subject.CommonName, err
}

func TestCertificatesAreRenewed(t *testing.T) {
	x := openTLS(t, "", nil)
	if !strings.HasPrefix(x.s.URL(), "https://") {
		t.Error(x.s.URL())
	}
	for _, tc := range []struct {
		h2   bool
		want string
	}{{false, "HTTP/1.1 nobody, first"}, {true, "HTTP/2.0 nobody, first"}} {
		if got, err := x.ask(t, tc.h2, nil); got != tc.want {
			t.Errorf("%s, %v; want %s", got, err, tc.want)
		}
	}
	x.renew(t, "second")
	if got, err := x.ask(t, true, nil); got != "HTTP/2.0 nobody, second" {
		t.Errorf("after it was renewed: %s, %v", got, err)
	}
	x.values.Replace(map[string]string{"cert": "x", "key": "very secret"})
	for range 2 {
		if got, err := x.ask(t, false, nil); got != "HTTP/1.1 nobody, second" {
			t.Errorf("after it was made useless: %s, %v", got, err)
		}
	}
	if n := strings.Count(x.log.String(), "can't be used"); n != 1 || strings.Contains(x.log.String(), "very secret") {
		t.Errorf("that was logged %d times: %s", n, x.log)
	}
	x.renew(t, "third")
	if got, err := x.ask(t, false, nil); got != "HTTP/1.1 nobody, third" {
		t.Errorf("after it was mended: %s, %v", got, err)
	}
}

func TestClientsCertificates(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	pair := func(by *authority) *tls.Certificate {
		_, _, cert, key := sign(t, by, "client")
		p, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		return &p
	}
	good, bad := pair(ours), pair(others)
	for _, tc := range []struct {
		auth    httpd.ClientAuth
		client  *tls.Certificate
		want    string
		refused bool
	}{
		{"", good, "client", false}, {"", nil, "", true}, {"", bad, "", true},
		{httpd.OptionalClient, good, "client", false}, {httpd.OptionalClient, nil, "nobody", false}, {httpd.OptionalClient, bad, "", true},
		{httpd.NoClientCert, good, "nobody", false},
	} {
		for _, h2 := range []bool{false, true} {
			x := openTLS(t, tc.auth, ours)
			got, err := x.ask(t, h2, tc.client)
			if (err != nil) != tc.refused || !tc.refused && !strings.Contains(got, " "+tc.want+",") {
				t.Errorf("%q, h2 %v: %s, %v", tc.auth, h2, got, err)
			}
		}
	}
}

func TestBadCertificates(t *testing.T) {
	a := newAuthority(t)
	_, _, cert, key := sign(t, a, "x")
	_, _, _, otherKey := sign(t, a, "y")
	s := penstock.NewSecret
	for name, o := range map[string]httpd.TLS{
		"no PEM":               {Certificate: s("x"), PrivateKey: s(key)},
		"another's key":        {Certificate: s(cert), PrivateKey: s(otherKey)},
		"an authority of none": {Certificate: s(cert), PrivateKey: s(key), ClientCA: s("x")},
		"who checks?":          {Certificate: s(cert), PrivateKey: s(key), ClientAuth: httpd.RequireClientCert},
	} {
		_, err := httpd.New(httpd.Options{TLS: &o})
		if penstock.CodeOf(err) != penstock.Config || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGateBehindTLS holds that HTTP/1.1 is watched there, too, and that a handshake that stalls is given up.
func TestGateBehindTLS(t *testing.T) {
	x := openTLS(t, "", nil)
	pool := x509.NewCertPool()
	pool.AddCert(x.ca.cert)
	c, err := tls.Dial("tcp", x.s.Addr().String(), &tls.Config{RootCAs: pool, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG")
	if got := statuses(t, c, 0); got != "400 closed" {
		t.Errorf("answers %q", got)
	}
	plain, err := net.Dial("tcp", x.s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_, _ = io.WriteString(plain, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if b, _ := io.ReadAll(plain); strings.Contains(string(b), "200") {
		t.Errorf("who does not speak TLS is answered with %q", b)
	}
}

// TestSpokenToWithoutTLS holds that who forgets the s of https is told so.
func TestSpokenToWithoutTLS(t *testing.T) {
	x := openTLS(t, httpd.NoClientCert, nil)
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		req, err := http.NewRequestWithContext(t.Context(), method, strings.Replace(x.s.URL(), "https:", "http:", 1), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{}
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		transport.CloseIdleConnections()
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "https://") {
			t.Errorf("%s: %d %q", method, res.StatusCode, body)
		}
	}
}

// TestExpiredCertificates holds that a certificate that callers refuse is told of at the start.
func TestExpiredCertificates(t *testing.T) {
	for _, expired := range []bool{false, true} {
		lifetime = time.Hour
		if expired {
			lifetime = -time.Minute
		}
		x := openTLS(t, httpd.NoClientCert, nil)
		lifetime = time.Hour
		if got := strings.Contains(x.log.String(), "has expired"); got != expired {
			t.Errorf("expired: %v, and the log says %s", expired, x.log)
		}
	}
}
