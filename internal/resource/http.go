package resource

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// HTTP is the one HTTP listener of an [Integration], which all flows that are called over HTTP share. It is opened only where there
// is such a flow.
type HTTP struct {
	Place
	// Where it listens, as host:port: 127.0.0.1 is this machine only, 0.0.0.0 every address, and port 0 one that is free. `--listen` on the command line
	// goes before it.
	Address string `json:"address" penstock:"default=127.0.0.1:8080,nonempty"`
	// Left out, it speaks plain HTTP/1.1; with it, HTTPS with HTTP/1.1 and HTTP/2.
	TLS *HTTPTLS `json:"tls"`
	// How long peers may take.
	Timeouts HTTPTimeouts `json:"timeouts"`
	// The largest head of a request, in bytes: its line and its headers. A larger one is answered with 431.
	MaxHeader penstock.Size `json:"maxHeader" penstock:"default=64Ki,min=4Ki,max=16Mi"`
	// How many connections may be open; those beyond wait.
	MaxConnections int `json:"maxConnections" penstock:"default=10000,min=1,max=1000000"`
}

// HTTPTLS makes a listener speak HTTPS. Certificates are read at each handshake, so that one that was renewed is used without a
// restart; one that can't be used is logged, and the one before stays.
type HTTPTLS struct {
	Place
	// The certificate, in PEM: the server's own first, then those that signed it.
	Certificate penstock.Secret `json:"certificate" penstock:"required"`
	// The private key of the certificate, in PEM.
	PrivateKey penstock.Secret `json:"privateKey" penstock:"required"`
	// The certificates of who signs clients' certificates, in PEM.
	ClientCA penstock.Secret `json:"clientCA"`
	// Whether clients must show a certificate: none does not ask, request checks one that is shown, require refuses clients without. Default: require where there is a clientCA, else none.
	ClientAuth string `json:"clientAuth" penstock:"enum=none|request|require"`
}

func (t *HTTPTLS) check(d *Decoder) {
	if t.Has("clientAuth") && t.ClientAuth != "none" && t.ClientAuth != "" && !t.Has("clientCA") {
		d.errorf(t.AtKey("clientAuth"), "missing-field", t.ClientAuth, "add `clientCA: { secret: … }`", "clients' certificates can't be checked without `clientCA`")
	}
}

// HTTPTimeouts are how long the peers of a listener may take. They close the connection; how long a flow may take to answer is its own
// affair (`timeout` of its source).
type HTTPTimeouts struct {
	Place
	// For the head of a request, and for the handshake of TLS.
	Header penstock.Duration `json:"header" penstock:"default=10s,min=100ms"`
	// For the body of a request.
	Body penstock.Duration `json:"body" penstock:"default=1m,min=100ms"`
	// For accepting the next part of an answer.
	Write penstock.Duration `json:"write" penstock:"default=30s,min=100ms"`
	// Between two requests on a connection.
	Idle penstock.Duration `json:"idle" penstock:"default=2m,min=100ms"`
}

// DefaultHTTP is the listener of a folder whose Integration says nothing of it.
func DefaultHTTP() HTTP {
	var h HTTP
	Decode(&Node{Kind: NodeMap}, &h, &diag.List{})
	return h
}
