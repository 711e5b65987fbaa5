package postgres

import (
	"crypto/x509"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock/internal/mutation"
)

// secured says what to do where a connection was not secured as it was to be; "": that is not what is wrong. config says that what is written is, and not what the server has.
func secured(err error) (hint string, config bool) {
	if err == nil || mutation.On("pg-tls-unsaid") {
		return "", false
	}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var answer *pgconn.PgError
	switch text := err.Error(); {
	case errors.As(err, &unknown):
		return "the server's certificate is of an authority that is not trusted here: name the file of that authority in the url (sslrootcert=/path/ca.pem)", true
	case errors.As(err, &name):
		return "the server's certificate is for other names: write one of these as the host of the url, or have one issued for " + name.Host, true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired, or is not valid yet: renew it, and look at the clock of this machine", false
	case strings.Contains(text, "server refused TLS") && !errors.As(err, &answer): // else it was tried without, and something else is wrong
		return "the server has no TLS: set ssl = on there, with a certificate; write sslmode=disable only where nobody else can read what is sent", true
	case strings.Contains(text, "remote error: tls:"):
		return "the server does not take the certificate of this process: name one of an authority that the server trusts (ssl_ca_file there) in the url (sslcert=, sslkey=)", true
	case strings.Contains(text, "failed to write startup message"): // its alert was lost with the connection
		return "the server has ended the connection as soon as it was set up: its log says why; it may be that it does not take the certificate of this process (sslcert=, sslkey= in the url; ssl_ca_file there)", false
	case strings.Contains(text, "requires a valid client certificate"):
		return "the server wants a certificate of this process: name it and its key in the url (sslcert=/path/client.pem&sslkey=/path/client.key)", true
	}
	return "", false
}
