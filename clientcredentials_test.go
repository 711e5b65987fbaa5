package penstock_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"penstock.dev/penstock"
)

// later is a clock that the test moves.
type later struct {
	penstock.SystemClock
	now time.Time
}

// Now implements penstock.Clock.
func (l *later) Now() time.Time { return l.now }

func TestClientCredentials(t *testing.T) {
	asked, status, answer := 0, http.StatusOK, ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		id, secret, _ := r.BasicAuth()
		if err := r.ParseForm(); err != nil || id != "me" || secret != "%26" || r.Form.Get("grant_type") != "client_credentials" || r.Form.Get("audience") != "them" || r.Form.Has("scope") {
			t.Errorf("asked as %q %q with %v, %v", id, secret, r.Form, err)
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, answer)
	}))
	t.Cleanup(s.Close)
	clock := &later{now: time.Unix(1e9, 0)}
	c := &penstock.ClientCredentials{TokenURL: s.URL, ID: "me", Secret: penstock.NewSecret("&"), Audience: "them", Clock: clock, Op: "x", Path: "here", Hint: "look"}
	for _, step := range []struct {
		after  time.Duration
		status int
		answer string
		token  string
		code   penstock.Code
		asked  int
	}{
		{0, http.StatusOK, `{"access_token":"one","expires_in":100}`, "one", "", 1},
		{89 * time.Second, http.StatusOK, `{"access_token":"two","expires_in":100}`, "one", "", 1},
		{time.Second, http.StatusOK, `{"access_token":"two","expires_in":100}`, "two", "", 2},
		{time.Hour, http.StatusUnauthorized, "", "", penstock.Unauthenticated, 3},
		{0, http.StatusServiceUnavailable, "", "", penstock.Unavailable, 4},
		{0, http.StatusTooManyRequests, "", "", penstock.Unavailable, 5},
		{0, http.StatusOK, `{}`, "", penstock.Unauthenticated, 6},
		{0, http.StatusOK, `<html>`, "", penstock.Unauthenticated, 7},
	} {
		clock.now = clock.now.Add(step.after)
		status, answer = step.status, step.answer
		token, err := c.Token(t.Context())
		if token != step.token || asked != step.asked || err == nil != (step.code == "") || err != nil && penstock.CodeOf(err) != step.code {
			t.Errorf("%+v: %q, %v, asked %d times", step, token, err, asked)
		}
	}
}
