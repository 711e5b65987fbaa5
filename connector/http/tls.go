package http

import (
	"crypto/tls"

	"penstock.dev/penstock"
)

func secretOf(s *penstock.Secret) penstock.Secret {
	if s == nil {
		return penstock.Secret{}
	}
	return *s
}

func (c *TLSConfig) secrets() penstock.TLSSecrets {
	return penstock.TLSSecrets{CA: secretOf(c.CA), Certificate: secretOf(c.Certificate), PrivateKey: secretOf(c.PrivateKey), ServerName: c.ServerName, Unverified: c.Insecure}
}

// make gives the configuration for one handshake. It is not to be changed.
func (m *tlsMaker) make() (*tls.Config, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	secrets := m.config.secrets()
	now := penstock.RevealAll(secrets.CA, secrets.Certificate, secrets.PrivateKey)
	ca, certificate, key := now[0], now[1], now[2]
	if m.made != nil && ca == m.ca && certificate == m.certificate && key == m.key {
		return m.made, nil
	}
	c, err := secrets.Config("http", "", "") // the name is that of whoever is connected to
	if err != nil {
		return nil, err
	}
	c.ClientSessionCache = tls.NewLRUClientSessionCache(32)
	if m.config.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	m.made, m.ca, m.certificate, m.key = c, ca, certificate, key
	return c, nil
}
