package penstock_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"penstock.dev/penstock"
)

// selfSigned makes a certificate for a name, and its key, as PEM.
func selfSigned(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return text("CERTIFICATE", der), text("PRIVATE KEY", secret)
}

func TestTLSSecretsAreChecked(t *testing.T) {
	certificate, key := selfSigned(t, "me")
	_, other := selfSigned(t, "other")
	secret := penstock.NewSecret
	for name, c := range map[string]struct {
		from penstock.TLSSecrets
		at   string
		says string // "": nothing
	}{
		"nothing":          {},
		"all":              {from: penstock.TLSSecrets{CA: secret(certificate), Certificate: secret(certificate), PrivateKey: secret(key)}},
		"no authority":     {from: penstock.TLSSecrets{CA: secret("x")}, says: "broker: tls.ca: there is no certificate in it (it is PEM: -----BEGIN CERTIFICATE-----)"},
		"an empty one":     {from: penstock.TLSSecrets{CA: secret("")}, at: "connection orders", says: "broker: connection orders: tls.ca: there is no certificate in it (it is PEM: -----BEGIN CERTIFICATE-----)"},
		"another's key":    {from: penstock.TLSSecrets{Certificate: secret(certificate), PrivateKey: secret(other)}, at: "connection orders", says: "broker: connection orders: tls.certificate: tls: private key does not match public key (tls.certificate and tls.privateKey are PEM, and belong together)"},
		"no certificate":   {from: penstock.TLSSecrets{Certificate: secret("x"), PrivateKey: secret(key)}, says: "broker: tls.certificate: tls: failed to find any PEM data in certificate input (tls.certificate and tls.privateKey are PEM, and belong together)"},
		"only half a pair": {from: penstock.TLSSecrets{Certificate: secret(certificate)}, says: "broker: tls.certificate: tls: failed to find any PEM data in key input (tls.certificate and tls.privateKey are PEM, and belong together)"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := c.from.Config("broker", c.at, "mq.example.com")
			_, authorities := c.from.Authorities("broker", c.at)
			_, pair := c.from.Pair("broker", c.at)
			if authorities == nil {
				authorities = pair
			}
			if c.says == "" {
				if err != nil || authorities != nil || out.ServerName != "mq.example.com" || out.MinVersion != tls.VersionTLS12 {
					t.Fatalf("%v, %v, %+v", err, authorities, out)
				}
				return
			}
			if err == nil || err.Error() != c.says || penstock.CodeOf(err) != penstock.Config || authorities == nil || authorities.Error() != c.says {
				t.Fatalf("%v and %v, want %s", err, authorities, c.says)
			}
		})
	}
	if err := (penstock.TLSSecrets{Certificate: secret(certificate)}).Check(); err == nil {
		t.Error("half a pair is taken")
	}
	if err := (penstock.TLSSecrets{Certificate: secret(certificate), PrivateKey: secret(key)}).Check(); err != nil {
		t.Error(err)
	}
}

// shake makes a handshake, and says what the server got to see of the client.
func shake(t *testing.T, client *tls.Config, certificate, key string) (seen string, err error) {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		server := c.(*tls.Conn)
		if server.Handshake() == nil {
			if all := server.ConnectionState().PeerCertificates; len(all) > 0 {
				seen = all[0].Subject.CommonName
			}
		}
		_ = server.Close()
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	<-done
	if err == nil {
		_ = c.Close()
	}
	if bad := l.Close(); bad != nil {
		t.Fatal(bad)
	}
	return seen, err
}

// TestTLSSecretsRotate: what is made is of what the secrets hold at the time.
func TestTLSSecretsRotate(t *testing.T) {
	values := penstock.NewSecretValues()
	bound := func(name string) penstock.Secret {
		s := penstock.EmptySecret()
		s.Bind(values, name)
		return s
	}
	from := penstock.TLSSecrets{CA: bound("ca"), Certificate: bound("certificate"), PrivateKey: bound("key"), ServerName: "server"}
	for _, name := range []string{"first", "second"} {
		server, serverKey := selfSigned(t, "server")
		certificate, key := selfSigned(t, name)
		values.Replace(map[string]string{"ca": server, "certificate": certificate, "key": key})
		c, err := from.Config("broker", "", "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		if seen, err := shake(t, c, server, serverKey); err != nil || seen != name {
			t.Fatalf("%s: %q, %v", name, seen, err)
		}
		stranger, strangerKey := selfSigned(t, "server")
		if _, err := shake(t, c, stranger, strangerKey); err == nil {
			t.Fatalf("%s: another authority is trusted", name)
		}
		blind := from
		blind.Unverified = true
		if c, err = blind.Config("broker", "", "127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		if _, err := shake(t, c, stranger, strangerKey); err != nil {
			t.Fatalf("%s, unverified: %v", name, err)
		}
	}
}
