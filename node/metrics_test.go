package node_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	prometheus "github.com/prometheus/common/model"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

// TestMetrics scrapes a node that has taken events, and one that wants a token.
func TestMetrics(t *testing.T) {
	n := runNode(t, actors.NewRegistry(greeter), t.TempDir())
	res, err := http.Post(n.url+"/v1/events", "application/cloudevents+json", strings.NewReader(guest))
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatal(res, err)
	}
	_ = res.Body.Close()
	if res, err = http.Get(n.url + "/metrics"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	parser := expfmt.NewTextParser(prometheus.LegacyValidation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := families["toka_journal_position"].GetMetric()[0].GetGauge().GetValue(); got < 1 {
		t.Errorf("the position is %v", got)
	}
	commits := families["toka_journal_sync_seconds"].GetMetric()[0].GetHistogram()
	if commits.GetSampleCount() == 0 || commits.GetSampleSum() <= 0 {
		t.Errorf("syncs: %v", commits)
	}
	if families["toka_disk_free_bytes"] == nil || families["toka_agents"] == nil || families["toka_parked"] == nil {
		t.Errorf("numbers are missing: %d families", len(families))
	}
	created := 0.0
	for _, m := range families["toka_http_requests_total"].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if labels["route"] == "POST /v1/events" && labels["code"] == "201" {
			created = m.GetCounter().GetValue()
		}
	}
	if created != 1 {
		t.Errorf("%v appends are counted", created)
	}
	code, token, errs := commandLine(t, "", "token", "create", "--data", n.dir, "--name", "prometheus", "--scope", "read")
	if code != node.ExitDone {
		t.Fatal(errs)
	}
	for _, c := range []struct {
		token string
		want  int
	}{{"", http.StatusUnauthorized}, {strings.TrimSpace(token), http.StatusOK}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("with token %.6q: %d, want %d", c.token, res.StatusCode, c.want)
		}
	}
}
