package httpd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"time"

	"penstock.dev/penstock"
)

// TLS is what an HTTPS listener shows, and asks of clients. The secrets are read at each handshake, so that a certificate
// that was renewed is used from the next connection on.
type TLS struct {
	Certificate penstock.Secret // PEM, the server's own first, then what signed it
	PrivateKey  penstock.Secret // PEM
	ClientCA    penstock.Secret // PEM: who signs clients' certificates; zero: nobody
	// ClientAuth says whether clients must show a certificate.
	ClientAuth ClientAuth
}

// ClientAuth is whether clients must show a certificate.
type ClientAuth string

// The ways with clients' certificates.
const (
	NoClientCert      ClientAuth = "none"    // not asked for (the default without ClientCA)
	OptionalClient    ClientAuth = "request" // asked for; one that is shown must be signed by ClientCA
	RequireClientCert ClientAuth = "require" // the handshake fails without one that ClientCA signed (the default with it)
)

// Config is a server's configuration that reads the secrets at each handshake. An error says what is wrong with them now.
func (t *TLS) Config() (*tls.Config, error) {
	c, err := newCertificates(t)
	if err != nil {
		return nil, err
	}
	own := c.config.Clone() // says what is asked of clients; each handshake has the newest
	own.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now, err := c.current()
		if err != nil {
			now = c.config // what was there before goes on
		}
		return now, nil
	}
	return own, nil
}

// certificates gives what is current.
type certificates struct {
	from *TLS

	mu     sync.Mutex
	tried  [3]string // certificate, key and CA that were last looked at
	config *tls.Config
}

// newCertificates reads them once, so that what is wrong is said at the start.
func newCertificates(from *TLS) (*certificates, error) {
	c := &certificates{from: from}
	if _, err := c.current(); err != nil {
		return nil, err
	}
	return c, nil
}

// current is the configuration of the next handshake. Certificates that were changed to something that can't be used leave those in
// place that were there; the error says why, once for each change.
func (c *certificates) current() (*tls.Config, error) {
	now := [3]string(penstock.RevealAll(c.from.Certificate, c.from.PrivateKey, c.from.ClientCA)) // of one version
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.config != nil && now == c.tried {
		return c.config, nil
	}
	c.tried = now
	config, err := c.build(now[0], now[1], now[2])
	if err == nil {
		c.config = config
	}
	return c.config, err
}

// expired says when the certificate has ended that is current; not ok for one that is good.
func (c *certificates) expired(now time.Time) (at time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	leaf := c.config.Certificates[0].Leaf
	return leaf.NotAfter, now.After(leaf.NotAfter)
}

func (c *certificates) build(cert, key, ca string) (*tls.Config, error) {
	bad := func(path string, err error, hint string) error {
		return &penstock.Error{Code: penstock.Config, Op: "http listener", Path: path, Err: err, Hint: hint}
	}
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		return nil, bad("tls", err, "certificate and privateKey are PEM, and belong to each other") // the error quotes nothing of the key
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	auth := c.from.ClientAuth
	if !c.from.ClientCA.IsZero() {
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, bad("tls.clientCA", errors.New("there is no certificate in it"), "it is PEM")
		}
		if auth == "" {
			auth = RequireClientCert
		}
	} else if auth == OptionalClient || auth == RequireClientCert {
		return nil, bad("tls.clientAuth", errors.New("clients' certificates can't be checked without clientCA"), "name the authority that signs them")
	}
	switch auth {
	case OptionalClient:
		config.ClientAuth = tls.VerifyClientCertIfGiven
	case RequireClientCert:
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}
