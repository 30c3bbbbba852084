package node_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// TestKilledUnderLoad kills a node, again and again, while clients append to
// it and one follows. Whatever was acknowledged, and whatever the follower
// saw, is there afterwards. TOKA_KILLS sets how often.
func TestKilledUnderLoad(t *testing.T) {
	kills := 3
	if n, err := strconv.Atoi(os.Getenv("TOKA_KILLS")); err == nil {
		kills = n
	}
	dir := t.TempDir()
	var mu sync.Mutex
	acknowledged, observed := map[string]uint64{}, map[string]uint64{} // positions by id
	for round := range kills {
		child, url := serveChild(t, dir)
		var load sync.WaitGroup
		enough := make(chan struct{})
		stop := sync.OnceFunc(func() { close(enough) })
		before := len(acknowledged)
		note := func(m map[string]uint64, id string, position uint64) {
			mu.Lock()
			defer mu.Unlock()
			m[id] = position
			if len(acknowledged) >= before+300 && (len(observed) > 0 || round > 0) {
				stop()
			}
		}
		for w := range 8 {
			load.Go(func() {
				for i := 0; appendOne(url, fmt.Sprintf("w%d", w), fmt.Sprintf("%d-%d", round, i), func(id string, p uint64) { note(acknowledged, id, p) }); i++ {
				}
			})
		}
		load.Go(func() { observe(url, func(id string, p uint64) { note(observed, id, p) }) })
		<-enough
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
		load.Wait()
	}
	j, err := journal.Open(dir, journal.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	lost := 0
	for what, m := range map[string]map[string]uint64{"acknowledged": acknowledged, "observed": observed} {
		for id, position := range m {
			u, err := events.ParseID(id)
			if err != nil {
				t.Fatal(err)
			}
			if e, err := j.ByID(t.Context(), u); err != nil || e.Position != position {
				lost++
				t.Errorf("%s and lost: %s at %d: %v", what, id, position, err)
			}
		}
	}
	t.Logf("%d kills, %d acknowledged, %d observed, lost %d", kills, len(acknowledged), len(observed), lost)
	if len(acknowledged) < 300*kills || len(observed) == 0 {
		t.Errorf("only %d acknowledged, %d observed", len(acknowledged), len(observed))
	}
	if r, err := j.Verify(t.Context(), nil); err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
}

// serveChild runs a node in a process of its own.
func serveChild(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, "run", "--data", dir, "--listen", "127.0.0.1:0", "--keep-free", "0")
	c.Env = append(os.Environ(), childEnv+"=serve", noRaceSleep)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	ready, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, url, _ := strings.Cut(strings.TrimSpace(line), " at ")
	logged := bufio.NewScanner(ready)
	for logged.Scan() && !strings.Contains(logged.Text(), "the node is ready") {
	}
	go func() {
		for logged.Scan() {
		}
	}()
	return c, url
}

// appendOne appends one event and reports it if it is acknowledged. It returns
// whether the node is there.
func appendOne(url, source, id string, note func(id string, position uint64)) bool {
	body := fmt.Sprintf(`{"specversion":"1.0","source":%q,"id":%q,"type":"a.b"}`, source, id)
	res, err := http.Post(url+"/v1/events", "application/cloudevents+json", strings.NewReader(body))
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	var a struct {
		Events []struct {
			ID       string `json:"id"`
			Position uint64 `json:"position"`
		} `json:"events"`
	}
	if res.StatusCode != http.StatusCreated || json.NewDecoder(res.Body).Decode(&a) != nil {
		return false
	}
	note(a.Events[0].ID, a.Events[0].Position)
	return true
}

// observe follows a node until it is gone.
func observe(url string, note func(id string, position uint64)) {
	res, err := http.Get(url + "/v1/events/stream?as=record")
	if err != nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: {")
		if !ok {
			continue
		}
		var e struct {
			ID       string `json:"id"`
			Position uint64 `json:"position"`
		}
		if json.Unmarshal([]byte("{"+data), &e) == nil && e.ID != "" {
			note(e.ID, e.Position)
		}
	}
}
