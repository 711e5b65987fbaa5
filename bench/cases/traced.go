package cases

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// Traced is the name of our side with traces on.
const Traced = "penstock, traces at 1 %"

// Unlimited is our side with traces on, any number of which may begin in a second. There is no bar for it: it is the price of what the limit spares.
const Unlimited = "penstock, traces at 1 %, no limit a second"

// collector takes spans, and throws them away.
func collector() (endpoint string, stop func(), err error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	})}
	go func() { _ = s.Serve(l) }()
	return "http://" + l.Addr().String(), func() { _ = s.Close() }, nil
}
