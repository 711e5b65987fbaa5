package http_test

import (
	"context"
	"io"
	"log/slog"
	nethttp "net/http"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/connector/http"
	"penstock.dev/penstock/internal/httpd"
)

func TestServerConforms(t *testing.T) {
	var l *httpd.Server
	client := &nethttp.Client{Transport: &nethttp.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	conform.Server(t, conform.ServerHarness{
		Cancels: true,
		New: func(t testing.TB) penstock.Server {
			var err error
			if l, err = httpd.New(httpd.Options{Address: "127.0.0.1:0"}); err != nil {
				t.Fatal(err)
			}
			own := l
			t.Cleanup(func() { _ = own.Close(context.Background()) })
			if err := own.Listen(context.Background()); err != nil {
				t.Fatal(err)
			}
			s, err := http.NewServer(with(t, http.ServerConfig{Post: "/x"}), penstock.Env{
				Name: "flow/from", Logger: slog.New(slog.DiscardHandler), Clock: penstock.SystemClock{}, Runtime: &penstock.Runtime{Clock: penstock.SystemClock{}},
				Listener: own, Replies: true, RequestSlot: -1,
			})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Send: func(ctx context.Context, t testing.TB, body string) (string, error) {
			req, err := nethttp.NewRequestWithContext(ctx, nethttp.MethodPost, l.URL()+"/x", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			res, err := client.Do(req)
			if err != nil {
				return "", err
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode < 300 {
				return string(b), err
			}
			for _, c := range penstock.Codes() {
				if c.HTTPStatus() == res.StatusCode {
					return "", penstock.E(c, "http", "", string(b))
				}
			}
			return "", penstock.E(penstock.Internal, "http", res.Status, string(b))
		},
	})
}
