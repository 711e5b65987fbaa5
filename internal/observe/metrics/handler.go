package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry collects what s says, and what the Go runtime and the process say of themselves.
func Registry(s Sources) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(&collector{s: s, desc: describe()}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Handler answers scrapes (GET /metrics): in Prometheus's text format, in OpenMetrics with exemplars, or in protobuf with native
// histograms, as the scraper asks.
func Handler(s Sources) http.Handler {
	r := Registry(s)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: 4})
}
