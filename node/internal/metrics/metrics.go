package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tokaworks/toka/journal"
)

// Metrics are the numbers of one node. They are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	commitEvents, commitBytes, commitSync prometheus.Histogram

	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

// New returns metrics that count from here on. version is that of the program.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		commitEvents: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "toka_journal_commit_events", Help: "Events that share one sync.",
			Buckets: []float64{0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096},
		}),
		commitBytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "toka_journal_commit_bytes", Help: "Bytes of keys and values that share one sync.",
			Buckets: prometheus.ExponentialBuckets(256, 4, 9),
		}),
		commitSync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "toka_journal_sync_seconds", Help: "How long a group of appends took to become durable, from being written.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "toka_http_requests_total", Help: "Requests that were answered, by route and status.",
		}, []string{"route", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "toka_http_request_seconds", Help: "How long requests took; of streams, how long they lasted.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 10, 100},
		}, []string{"route"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "toka_build_info", Help: "1, with the version of the program.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build, m.commitEvents, m.commitBytes, m.commitSync, m.requests, m.took)
	return m
}

// Commit counts one group commit; it is journal.Options.OnCommit.
func (m *Metrics) Commit(c journal.Commit) {
	m.commitEvents.Observe(float64(c.Events))
	m.commitBytes.Observe(float64(c.Bytes))
	m.commitSync.Observe(c.Sync.Seconds())
}

// Request counts one request. route is one of the server's own, or empty.
func (m *Metrics) Request(route string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.took.WithLabelValues(route).Observe(took.Seconds())
}

// Handler serves the numbers.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 20 * time.Second})
}
