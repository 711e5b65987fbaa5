package http

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
	"log"
	"log/slog"
	"math/big"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
)

// pair is a certificate that signs itself, and its key, as PEM.
func pair(t testing.TB, name string) (certificate, key string) {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	der2, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der2}))
}

// TestSecretsAreReadEachTime: those of requests at each request, those of TLS at each connection; what is wrong with them is said without
// showing them.
func TestSecretsAreReadEachTime(t *testing.T) {
	serverCert, serverKey := pair(t, "server")
	myCert, myKey := pair(t, "me")
	identity, err := tls.X509KeyPair([]byte(serverCert), []byte(serverKey))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header().Set("Connection", "close")
		who := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			who = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_, _ = io.WriteString(w, who+" "+r.Header.Get("Authorization")+r.Header.Get("X-Key"))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{identity}, ClientAuth: tls.RequestClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)

	values := penstock.NewSecretValues()
	bind := func(name string) *penstock.Secret {
		secret := penstock.EmptySecret()
		secret.Bind(values, name)
		return &secret
	}
	set := func(ca, cert, key, token string) {
		values.Replace(map[string]string{"ca": ca, "cert": cert, "key": key, "token": token})
	}
	conn := connection(s.URL)
	conn.HTTP2 = "never"
	conn.TLS = TLSConfig{CA: bind("ca"), Certificate: bind("cert"), PrivateKey: bind("key"), MinVersion: "1.3"}
	otherCert, otherKey := pair(t, "another")
	for _, auth := range []struct {
		auth Auth
		want string
	}{
		{Auth{Bearer: bind("token")}, "Bearer token-"},
		{Auth{Header: &HeaderAuth{Name: "X-Key", Value: *bind("token")}}, "token-"},
	} {
		conn.Auth = auth.auth
		k := calling(t, conn, CallConfig{Get: text("/")})
		set(serverCert, myCert, myKey, "token-1\n")
		if got, _, err := ask(context.Background(), k, `{}`); err != nil || got != `"me `+auth.want+`1"` {
			t.Errorf("%s, %v", got, err)
		}
		set(serverCert, otherCert, otherKey, "token-2")
		if got, _, err := ask(context.Background(), k, `{}`); err != nil || got != `"another `+auth.want+`2"` {
			t.Errorf("%s, %v", got, err)
		}
		for _, bad := range [][4]string{{serverCert, myCert, myKey, "to\r\nken-3"}, {serverCert, myCert, myKey, ""}, {"ca-3", myCert, myKey, "x"}, {serverCert, myCert, otherKey, "x"}, {otherCert, myCert, myKey, "x"}} {
			set(bad[0], bad[1], bad[2], bad[3])
			_, _, err := ask(context.Background(), k, `{}`)
			if err == nil || strings.Contains(err.Error(), "ken-3") || strings.Contains(err.Error(), "ca-3") {
				t.Errorf("%q: %v", bad[3], err)
			}
		}
	}
	conn.Auth = Auth{Basic: &BasicAuth{User: penstock.Template{Source: "anna"}, Password: *bind("token")}}
	set(serverCert, myCert, myKey, "pass\n")
	if got, _, err := ask(context.Background(), calling(t, conn, CallConfig{Get: text("/")}), `{}`); err != nil || got != `"me Basic YW5uYTpwYXNz"` {
		t.Errorf("%s, %v", got, err)
	}
}

// TestInsecureWarns, once for all uses, and loudly.
func TestInsecureWarns(t *testing.T) {
	s := httptest.NewTLSServer(nethttp.HandlerFunc(asked))
	t.Cleanup(s.Close)
	var out bytes.Buffer
	env := environment(t)
	env.Logger = slog.New(slog.NewTextHandler(&out, nil))
	conn := connection(s.URL)
	c := CallConfig{Get: text("/"), Connection: penstock.ConnectionRef{Name: "server", Config: conn}}
	k, err := newCaller(penstock.NewRegistry(), c, env)
	if err != nil {
		t.Fatal(err)
	}
	_ = k.Open(context.Background())
	if _, _, err := ask(context.Background(), k, `{}`); penstock.CodeOf(err) != penstock.Unavailable || !penstock.IsUnsent(err) {
		t.Errorf("an unknown authority: %v", err)
	}
	_ = k.Close(context.Background())
	if out.Len() > 0 {
		t.Error(out.String())
	}
	insecure := connection(s.URL)
	insecure.TLS.Insecure = true
	c.Connection = penstock.ConnectionRef{Name: "insecure", Config: insecure}
	for range 2 {
		k, err := newCaller(penstock.NewRegistry(), c, env)
		if err != nil {
			t.Fatal(err)
		}
		_ = k.Open(context.Background())
		if _, _, err := ask(context.Background(), k, `{}`); err != nil {
			t.Error(err)
		}
		_ = k.Close(context.Background())
	}
	if got := out.String(); strings.Count(got, "CERTIFICATES ARE NOT CHECKED") != 1 || !strings.Contains(got, "level=WARN") {
		t.Error(got)
	}
}

// TestNothingStaysOpen: when the last use of a Connection is closed, none of its connections is kept.
func TestNothingStaysOpen(t *testing.T) {
	s := serve(t, asked)
	env := environment(t)
	conn := connection(s.URL)
	ref := penstock.ConnectionRef{Name: "server", Config: conn}
	k, err := newCaller(penstock.NewRegistry(), CallConfig{Get: text("/"), Connection: ref}, env)
	if err != nil {
		t.Fatal(err)
	}
	out, err := newSink(SinkConfig{Post: text("/"), Connection: ref}, env)
	if err != nil {
		t.Fatal(err)
	}
	if k.up != out.up {
		t.Error("two uses of a Connection don't share its pool")
	}
	ctx := context.Background()
	_, _ = k.Open(ctx), out.Open(ctx)
	if _, _, err := ask(ctx, k, `{}`); err != nil {
		t.Fatal(err)
	}
	if err := out.Write(ctx, batch("1")); err != nil {
		t.Fatal(err)
	}
	if st := k.up.up.Stats(); st.Dialled != 1 || st.Idle != 1 {
		t.Errorf("%+v", st)
	}
	_ = k.Close(ctx)
	if st := k.up.up.Stats(); st.Idle != 1 {
		t.Errorf("one use is left: %+v", st)
	}
	_, _ = out.Close(ctx), out.Close(ctx)
	if st := k.up.up.Stats(); st.Open != 0 {
		t.Errorf("%+v", st)
	}
}
