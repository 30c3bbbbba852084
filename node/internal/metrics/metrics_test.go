package metrics_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
	"github.com/tokaworks/toka/node/internal/metrics"
)

// fragile fails at events that say so.
var fragile = actors.NewAgent("fragile", 1, "test.>", func(_ *actors.Turn, e events.Event) error {
	if string(e.Payload) == "bad" {
		return errors.New("as it was told")
	}
	return nil
})

type rig struct {
	t   testing.TB
	m   *metrics.Metrics
	j   *journal.Journal
	sys *actors.System
	set *consumer.Set
}

func start(t testing.TB, o journal.Options) *rig {
	t.Helper()
	m := metrics.New("v1.2.3")
	o.Level, o.OnCommit = journal.LevelMemory, m.Commit
	j, err := journal.Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	set, err := consumer.Open(j)
	if err != nil {
		t.Fatal(err)
	}
	sys, err := actors.Start(j, actors.NewRegistry(fragile), actors.Options{AfterFunc: func(_ time.Duration, f func()) func() bool {
		go f()
		return func() bool { return false }
	}})
	if err != nil {
		t.Fatal(err)
	}
	m.Attach(metrics.Source{
		Journal: j, System: sys, Consumers: set, Readers: func() int { return 7 }, Lag: func() uint64 { return 11 },
		Space: func() (uint64, uint64, bool) { return 3 << 30, 1 << 20, true },
	})
	t.Cleanup(func() {
		_ = sys.Stop(t.Context())
		_ = set.Close()
		_ = j.Close()
	})
	return &rig{t, m, j, sys, set}
}

func (r *rig) append(ds ...events.Draft) {
	r.t.Helper()
	if _, err := r.j.Append(r.t.Context(), journal.Write{Events: ds}); err != nil {
		r.t.Fatal(err)
	}
	if err := r.sys.Settle(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// scrape returns what is served, by name.
func (r *rig) scrape() (map[string]*dto.MetricFamily, string) {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		r.t.Fatalf("%d %s", w.Code, w.Body)
	}
	text := w.Body.String()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		r.t.Fatal(err)
	}
	return families, text
}

// value returns a number by its name and labels as they are written.
func value(t testing.TB, text, series string) string {
	t.Helper()
	for l := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(l, series+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Errorf("there is no %s", series)
	return ""
}

func TestScrape(t *testing.T) {
	r := start(t, journal.Options{})
	if err := r.sys.Spawn("fragile/1", "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.set.Create(t.Context(), consumer.Config{Name: "mailer"}); err != nil {
		t.Fatal(err)
	}
	_, before := r.scrape()
	if got := value(t, before, `toka_parked{by="agents"}`); got != "0" {
		t.Errorf("parked before: %s", got)
	}
	r.append(events.Draft{Stream: "s", Kind: "test.a"}, events.Draft{Stream: "s", Kind: "test.a", Payload: []byte("x")}, events.Draft{Stream: "q", Kind: "test.b"})
	r.append(events.Draft{Stream: "s", Kind: "test.a", Payload: []byte("bad")})
	r.m.Request("POST /v1/events", 201, time.Millisecond)
	r.m.Request("", 404, time.Millisecond)
	_, text := r.scrape()
	for series, want := range map[string]string{
		`toka_build_info{version="v1.2.3"}`:                            "1",
		`toka_journal_failed`:                                          "0",
		`toka_journal_position`:                                        fmt.Sprint(r.j.Position()),
		`toka_journal_streams`:                                         fmt.Sprint(r.j.Stats().Streams),
		`toka_disk_free_bytes`:                                         "3.221225472e+09",
		`toka_disk_keep_free_bytes`:                                    "1.048576e+06",
		`toka_readers`:                                                 "7",
		`toka_reader_lag_max_events`:                                   "11",
		`toka_agents{behaviour="fragile/1",state="live"}`:              "1",
		`toka_mailbox_messages{behaviour="fragile/1"}`:                 "0",
		`toka_parked{by="agents"}`:                                     "1",
		`toka_parked{by="consumers"}`:                                  "0",
		`toka_consumers`:                                               "1",
		`toka_consumer_lag_events{consumer="mailer"}`:                  fmt.Sprint(r.j.Position()),
		`toka_http_requests_total{code="201",route="POST /v1/events"}`: "1",
		`toka_http_requests_total{code="404",route="none"}`:            "1",
	} {
		if got := value(t, text, series); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
	if got := value(t, text, "toka_agent_restarts_total"); got == "0" {
		t.Error("a failure is not counted")
	}
	families, _ := r.scrape()
	h := families["toka_journal_commit_events"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() < 3 || h.GetSampleSum() != float64(r.j.Position()) {
		t.Errorf("%d commits with %v events, want all %d", h.GetSampleCount(), h.GetSampleSum(), r.j.Position())
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "toka_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// More agents, more consumers than have numbers of their own, and more
// streams do not make more series.
func TestBoundedSeries(t *testing.T) {
	r := start(t, journal.Options{})
	count := func() int {
		_, text := r.scrape()
		n := 0
		for l := range strings.Lines(text) {
			if !strings.HasPrefix(l, "#") && strings.HasPrefix(l, "toka_") {
				n++
			}
		}
		return n
	}
	grow := func(from, to int) {
		for i := from; i < to; i++ {
			if err := r.sys.Spawn("fragile/1", fmt.Sprintf("agent-%d", i)); err != nil {
				t.Fatal(err)
			}
			r.m.Request("GET /v1/events", 200, 0)
		}
		for i := from / 3; i < to/3; i++ {
			if _, err := r.set.Create(t.Context(), consumer.Config{Name: fmt.Sprintf("c-%03d", i)}); err != nil {
				t.Fatal(err)
			}
			r.append(events.Draft{Stream: fmt.Sprint("s-", i), Kind: "test.a"})
		}
	}
	grow(0, 3*metrics.MaxConsumers)
	first := count()
	grow(3*metrics.MaxConsumers, 6*metrics.MaxConsumers)
	if second := count(); second != first || first > 400 {
		t.Errorf("%d series became %d", first, second)
	}
	_, text := r.scrape()
	if got := value(t, text, "toka_consumers"); got != fmt.Sprint(2*metrics.MaxConsumers) {
		t.Errorf("%s consumers are counted", got)
	}
}

func TestScrapeOfAFailedJournal(t *testing.T) {
	d := disktest.New()
	r := start(t, journal.Options{Volume: d.Volume()})
	r.append(events.Draft{Stream: "s", Kind: "test.a"})
	d.Fail(1, true, syscall.EIO, func(op disktest.Op) bool { return op.Kind == disktest.Write })
	_, err := r.j.Append(t.Context(), journal.Write{Events: []events.Draft{{Stream: "s", Kind: "test.a"}}})
	if !errors.Is(err, journal.ErrFatal) {
		t.Fatal(err)
	}
	_, text := r.scrape()
	if got := value(t, text, "toka_journal_failed"); got != "1" {
		t.Errorf("failed is %s", got)
	}
	if got := value(t, text, "toka_journal_position"); got != "1" {
		t.Errorf("position is %s", got)
	}
	value(t, text, "toka_disk_free_bytes")
}

// source is where Grafana gets numbers from.
type source struct{ Type, UID string }

// chosen is the source that the dashboard's own variable chooses: one of another
// name would be looked for in vain.
var chosen = source{"prometheus", "${datasource}"}

// TestDashboard holds the dashboard to what is served.
func TestDashboard(t *testing.T) {
	b, err := os.ReadFile("../../../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Title     string `json:"title"`
		UID       string `json:"uid"`
		Schema    int    `json:"schemaVersion"`
		Variables struct {
			List []struct {
				Name, Type, Query string
				Source            source `json:"datasource"`
			} `json:"list"`
		} `json:"templating"`
		Panels []struct {
			ID      int                      `json:"id"`
			Title   string                   `json:"title"`
			Type    string                   `json:"type"`
			Grid    struct{ H, W, X, Y int } `json:"gridPos"`
			Source  source                   `json:"datasource"`
			Targets []struct {
				Expr   string `json:"expr"`
				Ref    string `json:"refId"`
				Source source `json:"datasource"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(b, &board); err != nil {
		t.Fatal(err)
	}
	r := start(t, journal.Options{})
	if err := r.sys.Spawn("fragile/1", "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.set.Create(t.Context(), consumer.Config{Name: "mailer"}); err != nil {
		t.Fatal(err)
	}
	r.append(events.Draft{Stream: "s", Kind: "test.a"})
	r.m.Request("GET /v1/events", 200, 0)
	families, _ := r.scrape()
	names := regexp.MustCompile(`\b(toka|go|process)_[a-z_]+`)
	asked, ids := map[string]bool{}, map[int]bool{}
	variables := map[string]bool{}
	for _, v := range board.Variables.List {
		variables[v.Name] = true
		if v.Type == "datasource" && v.Query != "prometheus" || v.Type == "query" && v.Source != chosen {
			t.Errorf("variable %s is %+v", v.Name, v)
		}
		for _, name := range names.FindAllString(v.Query, -1) {
			if families[name] == nil {
				t.Errorf("variable %s asks for %s, which is not served", v.Name, name)
			}
		}
	}
	if !variables["datasource"] {
		t.Error("there is no choice of a data source")
	}
	used := regexp.MustCompile(`\$\{?([a-z]+)`)
	cells := map[[2]int]string{}
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" || p.Grid.H == 0 || p.Grid.W == 0 || p.Grid.X+p.Grid.W > 24 {
			t.Errorf("panel %d %q does not lie well", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.Grid.X; x < p.Grid.X+p.Grid.W; x++ {
			for y := p.Grid.Y; y < p.Grid.Y+p.Grid.H; y++ {
				if under := cells[[2]int{x, y}]; under != "" {
					t.Errorf("panel %q lies over %q", p.Title, under)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Source != chosen || !slices.Contains([]string{"stat", "timeseries"}, p.Type) {
			t.Errorf("panel %q is a %s of %v", p.Title, p.Type, p.Source)
		}
		refs := map[string]bool{}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks for nothing", p.Title)
		}
		for _, q := range p.Targets {
			if refs[q.Ref] || q.Ref == "" || q.Source != chosen {
				t.Errorf("panel %q has the query %+v", p.Title, q)
			}
			refs[q.Ref] = true
			for _, v := range used.FindAllStringSubmatch(q.Expr, -1) {
				if !variables[v[1]] {
					t.Errorf("panel %q uses $%s, which is no variable", p.Title, v[1])
				}
			}
			for _, name := range names.FindAllString(q.Expr, -1) {
				asked[name] = true
				f := families[name]
				for _, suffix := range []string{"_bucket", "_sum", "_count"} {
					if base, ok := strings.CutSuffix(name, suffix); ok && f == nil && families[base].GetType() == dto.MetricType_HISTOGRAM {
						f = families[base]
					}
				}
				if f == nil {
					t.Errorf("panel %q asks for %s, which is not served", p.Title, name)
				}
			}
		}
	}
	if board.UID == "" || board.Title == "" || board.Schema < 36 || len(asked) < 15 {
		t.Errorf("%q %q: %d names asked for", board.UID, board.Title, len(asked))
	}
}
