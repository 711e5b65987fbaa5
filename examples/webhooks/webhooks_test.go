package webhooks_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

const githubSecret, stripeSecret = "a secret of GitHub's", "whsec_of_stripe"

// process is the example while it runs.
type process struct {
	t    *testing.T
	out  string
	url  string
	stop context.CancelFunc
	done chan error
}

// service is the example, checked.
func service(t *testing.T, out string) (*control.Service, *control.Checked) {
	t.Helper()
	s := &control.Service{Registry: edition.Standard(), Secrets: func(name string) (string, bool) {
		v, ok := map[string]string{"github-webhook": githubSecret, "stripe-webhook": stripeSecret}[name]
		return v, ok
	}}
	checked := s.Check(control.Project{Paths: []string{"."}, Params: map[string]string{"out": out}}, true)
	if !checked.OK {
		t.Fatal(checked.Findings)
	}
	return s, checked
}

// finish works off what is in the channel.
func finish(t *testing.T, out string) {
	t.Helper()
	s, checked := service(t, out)
	if _, err := s.Run(t.Context(), checked, control.RunOptions{Store: filepath.Join(out, "store.db"), Once: true}); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, out string) *process {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close() // it was only there to find a free port
	s, checked := service(t, out)
	ctx, stop := context.WithCancel(context.Background())
	p := &process{t: t, out: out, url: "http://" + address, stop: stop, done: make(chan error, 1)}
	go func() {
		_, err := s.Run(ctx, checked, control.RunOptions{Store: filepath.Join(out, "store.db"), Address: address})
		p.done <- err
	}()
	for { // until it listens
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = c.Close() // it answers
			return p
		}
		select {
		case err := <-p.done:
			t.Fatalf("it has ended: %v", err)
		default:
		}
	}
}

// end stops it, when everything that came is worked off.
func (p *process) end() {
	p.t.Helper()
	p.stop()
	if err := <-p.done; err != nil {
		p.t.Error(err)
	}
}

func (p *process) post(path string, body []byte, header map[string]string) int {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.url+path, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
	return resp.StatusCode
}

func sign(secret string, text []byte) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil))
}

func (p *process) github(delivery, event string, body []byte, signature string) int {
	return p.post("/webhooks/github", body, map[string]string{"X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": "sha256=" + signature})
}

// lines counts what was written to each file, by event.
func (p *process) lines() map[string]map[string]int {
	p.t.Helper()
	out := map[string]map[string]int{}
	for _, name := range []string{"payments", "reviews", "code", "security", "other"} {
		text, err := os.ReadFile(filepath.Join(p.out, name+".jsonl"))
		if err != nil && !os.IsNotExist(err) {
			p.t.Fatal(err)
		}
		out[name] = map[string]int{}
		for line := range strings.Lines(string(text)) {
			var e struct {
				Event string `json:"event"`
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				p.t.Fatal(err)
			}
			out[name][e.Event]++
		}
	}
	return out
}

func TestSignedDeliveriesComeOnce(t *testing.T) {
	out := t.TempDir()
	p := start(t, out)
	issue := []byte(`{"action":"opened","issue":{"number":7},"repository":{"full_name":"acme/shop"},"sender":{"login":"octo"}}`)
	for _, c := range []struct {
		what, signature string
		body            []byte
		status          int
	}{
		{"signed", sign(githubSecret, issue), issue, 202},
		{"once more", sign(githubSecret, issue), issue, 202},
		{"with another secret", sign("x", issue), issue, 401},
		{"changed on the way", sign(githubSecret, issue), bytes.Replace(issue, []byte("7"), []byte("8"), 1), 401},
		{"not signed", "", issue, 401},
		{"signed, and no JSON", sign(githubSecret, []byte("{")), []byte("{"), 400},
	} {
		if got := p.github("d1", "issues", c.body, c.signature); got != c.status {
			t.Errorf("%s: %d, want %d", c.what, got, c.status)
		}
	}
	payment := []byte(`{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{"id":"pi_1"}}}`)
	stamp := fmt.Sprint(time.Now().Unix())
	stripe := func(stamp string) int {
		return p.post("/webhooks/stripe", payment, map[string]string{"Stripe-Signature": "t=" + stamp + ",v1=" + sign(stripeSecret, []byte(stamp+"."+string(payment)))})
	}
	if got := stripe(stamp); got != 202 {
		t.Errorf("a payment: %d", got)
	}
	if got := stripe("1700000000"); got != 401 {
		t.Errorf("a payment that was signed years ago: %d", got)
	}
	p.end()
	p = start(t, out) // what was there before is known after
	if got := p.github("d1", "issues", issue, sign(githubSecret, issue)); got != 202 {
		t.Errorf("after a restart: %d", got)
	}
	if got := p.github("d2", "issues", issue, sign(githubSecret, issue)); got != 202 {
		t.Errorf("another delivery: %d", got)
	}
	p.end()
	finish(t, out)
	if got := p.lines(); got["reviews"]["issues"] != 2 || got["payments"]["payment_intent.succeeded"] != 1 {
		t.Errorf("%v", got)
	}
}

// TestGitHubsPayloads sends all payloads that GitHub publishes, each twice.
func TestGitHubsPayloads(t *testing.T) {
	text, err := os.ReadFile("../../../shared/data/webhooks-github/index.json")
	if err != nil {
		t.Skipf("the real data is not here: %v", err)
	}
	var events []struct {
		Name     string            `json:"name"`
		Examples []json.RawMessage `json:"examples"`
	}
	if err := json.Unmarshal(text, &events); err != nil {
		t.Fatal(err)
	}
	p := start(t, t.TempDir())
	n, want := 0, map[string]int{}
	for _, e := range events {
		for _, body := range e.Examples {
			n++
			want[e.Name]++
			for range 2 {
				if got := p.github(fmt.Sprintf("d%d", n), e.Name, body, sign(githubSecret, body)); got != 202 {
					t.Fatalf("%s: %d", e.Name, got)
				}
			}
		}
	}
	if n != 329 {
		t.Errorf("%d payloads", n)
	}
	p.end()
	finish(t, p.out)
	got := map[string]int{}
	for _, byEvent := range p.lines() {
		for event, k := range byEvent {
			got[event] += k
		}
	}
	for event, k := range want {
		if got[event] != k {
			t.Errorf("%s: %d, want %d", event, got[event], k)
		}
	}
}
