// Command httpload makes the load of the HTTP cases, and is the plain server that they are compared with. See bench/README.md.
package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"penstock.dev/penstock/bench/load"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "httpload:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("httpload", flag.ContinueOnError)
	echo := flags.String("echo", "", "serve at this `address`: net/http, which answers with the request's body")
	proxy := flags.String("proxy", "", "serve at this `address`: net/http's ReverseProxy, which hands requests on to -address")
	address := flags.String("address", "127.0.0.1:8080", "where the server is, `host:port`")
	path := flags.String("path", "/", "`path` of the requests")
	body := flags.String("body", `{"name":"Ann"}`, "`body` of the requests, JSON")
	want := flags.String("want", "", "`body` that each answer must have")
	connections := flags.Int("connections", 64, "`number` of connections, each with one request at a time")
	warm := flags.Duration("warm", time.Second, "how `long` before counting")
	duration := flags.Duration("duration", 5*time.Second, "how `long` is counted")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *echo != "" {
		s := &http.Server{Addr: *echo, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(b)
		})}
		return s.ListenAndServe()
	}
	if *proxy != "" {
		// The transport keeps as many connections as there are requests at a time; as it comes it keeps two, and dials for most requests.
		p := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: *address}) },
			Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256}}
		return (&http.Server{Addr: *proxy, ReadHeaderTimeout: 10 * time.Second, Handler: p}).ListenAndServe()
	}
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: httpload\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", *path, *address, len(*body), *body)
	r, err := load.HTTPLoad{Address: *address, Request: request, Want: []byte(*want), Connections: *connections, Warm: *warm, Duration: *duration}.Run()
	if err != nil {
		return err
	}
	return r.Print(os.Stdout)
}
