package actors_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// mostPerAgent is what an idle agent may take where a million of them are to
// fit into 2 GiB.
const mostPerAgent = 2 << 30 / 1_000_000

// Actors that were asked something and have nothing to do are small. TOKA_LIVE
// says how many, instead of the default.
func TestLiveAgentsAreSmall(t *testing.T) {
	n := 20_000
	if underRace {
		n = 1000
	}
	if s := os.Getenv("TOKA_LIVE"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		must(t, err)
	}
	stock := newStock(nil)
	sys := start(t, memory(t), actors.Options{}, stock)
	warm := spawnStock(t, sys, stock, "warm")
	ask(t, warm, Add{1})
	settle(t, sys)
	before := footprint()
	for i := range n {
		must(t, spawnStock(t, sys, stock, "stock "+strconv.Itoa(i)).Tell(t.Context(), Release{"nobody"}))
		if i%10_000 == 0 {
			settle(t, sys)
		}
	}
	settle(t, sys)
	each := (footprint() - before) / int64(n)
	if live := len(sys.Agents()); live != n+1 {
		t.Errorf("%d actors are live, want %d", live, n+1)
	}
	if each > mostPerAgent && !underRace {
		t.Errorf("%d bytes an agent, at most %d", each, mostPerAgent)
	}
	t.Logf("%d live agents, %d bytes of heap and stack each; resident are %s", n, each, resident(t))
}

// footprint is what heap and stacks hold.
func footprint() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) + int64(m.StackInuse)
}

func resident(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// What an agent whose events keep breaking it costs the others: how long four
// agents take for the same events, beside a fifth that deals with all of them
// or that fails at one in fifty. One iteration is both. The metric is by how
// much the second takes longer, in percent of the first, as the median.
func BenchmarkQuarantine(b *testing.B) {
	const agents, publishes, each = 4, 20, 50
	d, err := placed.Encode(Order{ID: "o"})
	must(b, err)
	round := func(broken bool) time.Duration {
		j, err := journal.Open(b.TempDir(), journal.Options{})
		must(b, err)
		var dealt, failed atomic.Int64
		done := make(chan struct{})
		good := clerk(func(*actors.Turn, events.Event) error {
			if dealt.Add(1) == agents*publishes*each {
				close(done)
			}
			return nil
		})
		bad := actors.NewAgent("bad", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
			if e.StreamPosition%each == 0 && broken {
				failed.Add(1)
				return errors.New("as planned")
			}
			return actors.Emit(t, noted, Note{"x"})
		})
		sys, err := actors.Start(j, actors.NewRegistry(good, bad), quick(3))
		must(b, err)
		for i := range agents {
			must(b, good.Spawn(sys, fmt.Sprint("clerk/", i)))
		}
		must(b, bad.Spawn(sys, "bad"))
		begin := time.Now()
		for range publishes {
			_, err := sys.Publish(b.Context(), "shop", slices.Repeat([]events.Draft{d}, each)...)
			must(b, err)
		}
		soon(b, "what the others do", done)
		took := time.Since(begin)
		settle(b, sys)
		if got := failed.Load(); broken && got != 3*publishes {
			b.Errorf("the bad one failed %d times, want %d", got, 3*publishes)
		}
		stopOK(b, sys)
		closeOK(b, j)
		return took
	}
	round(false)
	var more []float64
	for b.Loop() {
		calm, loud := round(false), round(true)
		more = append(more, 100*(float64(loud)/float64(calm)-1))
	}
	slices.Sort(more)
	b.ReportMetric(more[len(more)/2], "%-longer")
}
