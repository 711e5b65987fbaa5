package penstock

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// TLSSecrets is what secures a client's connection, as the `tls` of a Connection has it. A driver fills it from its own configuration, whose
// words and comments are the driver's, and asks it anew for each connection that is opened: secrets are revealed then, so that
// certificates can be renewed while a flow runs. Its errors have the code Config and name the field: tls.ca, tls.certificate.
type TLSSecrets struct {
	// CA holds the certificates (PEM) of the authorities that the server's certificate may come from. Left out, those of the system.
	CA Secret
	// Certificate and PrivateKey are this side's (PEM), for servers that want to know who asks. Both or none.
	Certificate, PrivateKey Secret
	// ServerName is the name that the server's certificate must bear. Left out, the host.
	ServerName string
	// Unverified accepts any certificate of the server: it encrypts, and whoever is in between can read along.
	Unverified bool
}

// Check is for the Validate of a Connection: it refuses half of a pair.
func (t TLSSecrets) Check() error {
	if t.Certificate.IsZero() != t.PrivateKey.IsZero() {
		return errors.New("tls: certificate and privateKey belong together: give both or none")
	}
	return nil
}

// Config makes the configuration for a handshake with a host (no port), from TLS 1.2 on, of what the secrets hold now: those of one provider are of one moment, never
// one from before a rotation beside one from after it. op and at begin the errors: the driver's name, and the Connection, as in "connection
// orders"; at may be "".
func (t TLSSecrets) Config(op, at, host string) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if out.ServerName == "" {
		out.ServerName = host
	}
	out.InsecureSkipVerify = t.Unverified //nolint:gosec // asked for by name
	now := RevealAll(t.CA, t.Certificate, t.PrivateKey)
	var err error
	if !t.CA.IsZero() {
		if out.RootCAs, err = authorities(op, at, now[0]); err != nil {
			return nil, err
		}
	}
	if !t.Certificate.IsZero() {
		pair, err := keyPair(op, at, now[1], now[2])
		if err != nil {
			return nil, err
		}
		out.Certificates = []tls.Certificate{*pair}
	}
	return out, nil
}

// Authorities are the certificates of CA as they are now, for clients that ask for them alone; nil, which stands for those of the system, where CA is left out. op and at are as for Config.
func (t TLSSecrets) Authorities(op, at string) (*x509.CertPool, error) {
	if t.CA.IsZero() {
		return nil, nil //nolint:nilnil // crypto/tls has it so
	}
	return authorities(op, at, t.CA.Reveal())
}

// Pair is this side's certificate with its key as they are now, for clients that ask for it alone; it is without any certificate, which is how crypto/tls shows none, where Certificate is left out. op and
// at are as for Config.
func (t TLSSecrets) Pair(op, at string) (*tls.Certificate, error) {
	if t.Certificate.IsZero() {
		return new(tls.Certificate), nil
	}
	now := RevealAll(t.Certificate, t.PrivateKey)
	return keyPair(op, at, now[0], now[1])
}

func authorities(op, at, pem string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, &Error{Code: Config, Op: op, Path: fieldOf(at, "tls.ca"), Err: errors.New("there is no certificate in it"), Hint: "it is PEM: -----BEGIN CERTIFICATE-----"}
	}
	return pool, nil
}

func keyPair(op, at, certificate, key string) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		return nil, &Error{Code: Config, Op: op, Path: fieldOf(at, "tls.certificate"), Err: err, Hint: "tls.certificate and tls.privateKey are PEM, and belong together"}
	}
	return &pair, nil
}

// fieldOf is the path of a field of what at names.
func fieldOf(at, field string) string {
	if at == "" {
		return field
	}
	return at + ": " + field
}
