package penstock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// ClientCredentials gets access tokens by client credentials (RFC 6749, section 4.4) and keeps each until shortly before it expires. It is for connectors whose
// servers take such tokens. It may be used concurrently, and must not be copied once it is used.
type ClientCredentials struct {
	TokenURL string // the token endpoint of the authorization server
	ID       string // of the client
	Secret   Secret // revealed each time it asks, so that it may rotate
	Audience string // not sent if it is ""
	Scope    string // not sent if it is ""
	Clock    Clock

	Op, Path, Hint string // of the errors: the connector, the setting that names TokenURL, and what to look at when no token is given

	mu    sync.Mutex
	token string
	until time.Time
}

// tokenAnswer bounds an authorization server's answer, in bytes.
const tokenAnswer = 1 << 20

// Token gives a token that is good now, and asks for one if need be. An error is Unauthenticated if the server gives none, and Unavailable if it can't be asked.
func (c *ClientCredentials) Token(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && c.Clock.Now().Before(c.until) {
		return c.token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if c.Scope != "" {
		form.Set("scope", c.Scope)
	}
	if c.Audience != "" {
		form.Set("audience", c.Audience)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret.Reveal()))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", c.failure(Unavailable, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, tokenAnswer))
	if err != nil {
		return "", c.failure(Unavailable, err)
	}
	if resp.StatusCode != http.StatusOK {
		code := Unauthenticated
		if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
			code = Unavailable
		}
		e := c.failure(code, fmt.Errorf("no token is given: %s", resp.Status))
		e.Hint = c.Hint
		return "", e
	}
	var answer struct {
		Token   string  `json:"access_token"`
		Expires float64 `json:"expires_in"`
	}
	if err = json.Unmarshal(body, &answer); err == nil && answer.Token == "" {
		err = errors.New("it has no access_token")
	}
	if err != nil {
		return "", c.failure(Unauthenticated, fmt.Errorf("the answer is none of a token endpoint: %w", err))
	}
	// A tenth earlier: it has to be good still when it arrives.
	c.token, c.until = answer.Token, c.Clock.Now().Add(time.Duration(answer.Expires*0.9*float64(time.Second)))
	return c.token, nil
}

func (c *ClientCredentials) failure(code Code, err error) *Error {
	return &Error{Code: code, Op: c.Op, Path: c.Path, Err: err}
}
