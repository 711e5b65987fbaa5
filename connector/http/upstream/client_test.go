package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// originOf is the origin of a test server.
func originOf(t testing.TB, address string) Origin {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	o, err := ParseOrigin(u)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// echo answers with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Method", r.Method)
	w.Header().Set("X-Target", r.RequestURI)
	w.Header().Set("X-Proto", r.Proto)
	if r.URL.Query().Get("chunked") != "" {
		for len(b) > 0 {
			n := min(len(b), 1000)
			_, _ = w.Write(b[:n])
			b = b[n:]
			_ = http.NewResponseController(w).Flush()
		}
		return
	}
	_, _ = w.Write(b)
}

func TestEcho(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(echo))
	defer s.Close()
	c := New(Options{})
	defer c.Close()
	o := originOf(t, s.URL)
	for _, size := range []int{0, 1, 100, smallBody, smallBody + 1, parallel, parallel + 1, 1 << 20} {
		for _, target := range []string{"/a%2Fb?x=%20", "/?chunked=1"} {
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(i)
			}
			var res Response
			err := c.Do(context.Background(), &Request{Method: "POST", Origin: o, Target: []byte(target), Body: body[:size/2], Parts: [][]byte{body[size/2:]}}, &res)
			if err != nil {
				t.Fatalf("%d bytes to %s: %v", size, target, err)
			}
			if res.Status != 200 || string(res.Body) != string(body) || string(res.Get("x-target")) != target || string(res.Get("x-method")) != "POST" {
				t.Fatalf("%d bytes to %s: %d, %d bytes, %s %s", size, target, res.Status, len(res.Body), res.Get("x-method"), res.Get("x-target"))
			}
		}
	}
	if got := c.Stats(); got.Dialled != 1 || got.Open != 1 || got.Idle != 1 {
		t.Errorf("%+v, want one connection for all", got)
	}
}

func BenchmarkDo(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(echo))
	defer s.Close()
	body := []byte(`{"id":1234567,"text":"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"}`)
	b.Run("ours", func(b *testing.B) {
		c := New(Options{})
		defer c.Close()
		o := originOf(b, s.URL)
		head, _ := AppendField(nil, "Content-Type", "application/json")
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			var res Response
			q := &Request{Method: "POST", Origin: o, Target: []byte("/"), Header: head, Body: body}
			for pb.Next() {
				if err := c.Do(context.Background(), q, &res); err != nil || len(res.Body) != len(body) {
					b.Error(err)
					return
				}
			}
		})
	})
	b.Run("net/http", func(b *testing.B) {
		tr := &http.Transport{MaxIdleConnsPerHost: 64}
		defer tr.CloseIdleConnections()
		hc := &http.Client{Transport: tr}
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := post(hc, s.URL, body); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

func post(hc *http.Client, to string, body []byte) error {
	res, err := hc.Post(to, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err == nil && len(got) != len(body) {
		err = fmt.Errorf("%d bytes", len(got))
	}
	return err
}
