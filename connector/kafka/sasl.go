package kafka

import (
	"context"
	"net/url"
	"strings"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"penstock.dev/penstock"
)

// mechanism is how clients log in. It asks for the secrets at each login.
func (c *cluster) mechanism(s *SASL) (sasl.Mechanism, error) {
	user, err := fixed(s.User, c.env)
	if err != nil {
		return nil, err
	}
	scrams := func(context.Context) (scram.Auth, error) {
		return scram.Auth{User: user, Pass: s.Password.Reveal()}, nil
	}
	switch s.Mechanism {
	case saslPlain:
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			return plain.Auth{User: user, Pass: s.Password.Reveal()}, nil
		}), nil
	case saslScram256:
		return scram.Sha256(scrams), nil
	case saslScram512:
		return scram.Sha512(scrams), nil
	}
	if !s.Token.IsZero() {
		return oauth.Oauth(func(context.Context) (oauth.Auth, error) {
			return oauth.Auth{Token: strings.TrimSpace(s.Token.Reveal()), Extensions: s.Extensions}, nil
		}), nil
	}
	t := &penstock.ClientCredentials{Secret: s.ClientSecret, Scope: s.Scope, Clock: c.env.Clock, Op: "kafka", Path: "sasl.tokenUrl", Hint: "check clientId, clientSecret and scope"}
	if t.TokenURL, err = fixed(s.TokenURL, c.env); err == nil {
		t.ID, err = fixed(s.ClientID, c.env)
	}
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(t.TokenURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, wrong(s.TokenURL.Pos.String(), "sasl.tokenUrl is no URL: "+t.TokenURL, "as in https://id.example.com/oauth2/token")
	}
	c.tokens = t
	return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
		token, err := t.Token(ctx)
		return oauth.Auth{Token: token, Extensions: s.Extensions}, err
	}), nil
}
