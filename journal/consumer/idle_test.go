package consumer_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
)

const crowd = 10_000

// idle makes consumers that want nothing of what is appended, with every kind
// of filter that leads somewhere else.
func idle(t testing.TB, s *consumer.Set, n int) {
	t.Helper()
	for i := range n {
		c := consumer.Config{Name: fmt.Sprint("idle ", i)}
		switch i % 4 {
		case 0:
			c.Query = kinds(fmt.Sprint("k", i))
		case 1:
			c.Query = kinds(fmt.Sprintf("k%d.>", i))
		case 2:
			c.Query = journal.Query{Stream: fmt.Sprint("stream ", i)}
		case 3:
			c.Query = journal.Query{Agent: fmt.Sprint("agent ", i), Kinds: kinds("busy.>").Kinds}
		}
		create(t, s, c)
	}
}

// What is written to disk for an append does not grow with the number of idle
// consumers: they come forward, and one checkpoint says so for all of them.
func TestIdleConsumersAreNotWrittenToDisk(t *testing.T) {
	defer consumer.Small(100)()
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New()
		o := on(d)
		var bytes, commits atomic.Int64
		o.OnCommit = func(c journal.Commit) { bytes.Add(int64(c.Bytes)); commits.Add(1) }
		j, s := open(t, o)
		const n = 400
		idle(t, s, n)
		synctest.Wait()
		bytes.Store(0)
		add(t, j, "s", "busy.bee", 150) // the first time, each says that it is idle
		synctest.Wait()
		first := bytes.Swap(0)
		commits.Store(0)
		add(t, j, "s", "busy.bee", 1000)
		synctest.Wait()
		each := float64(bytes.Load()) / 1000
		t.Logf("%d idle consumers: %d bytes to say that they are idle, then %.0f bytes an append and %d writes for 1000", n, first, each, commits.Load())
		if each > 220 || commits.Load() > 1000+20 {
			t.Errorf("%.0f bytes and %d writes for 1000 appends of some 150 bytes", each, commits.Load())
		}
		if i := get(t, s, "idle 7").Info(); i.Position != 1150 || i.Lag != 0 {
			t.Errorf("an idle consumer stands at %+v", i)
		}
		at := d.PowerCut(0, 1)
		shut(t, j, s)
		j, s = open(t, on(at))
		synctest.Wait()
		if i := get(t, s, "idle 7").Info(); i.Position != 1150 || i.Lag != 0 {
			t.Errorf("after a crash an idle consumer stands at %+v", i)
		}
		same(t, "there is nothing for it", tries(fetch(t, get(t, s, "idle 7"), 1)))
		add(t, j, "stream 2", "a", 1)
		same(t, "there is something for one", tries(fetch(t, get(t, s, "idle 2"), 1)), "1151/1")
		shut(t, j, s)
	})
}

// However many consumers there are, one goroutine reads for all of them, and
// fetching costs one that waits no more than its own wait.
func TestOneReaderForAll(t *testing.T) {
	j, s := open(t, journal.Options{})
	idle(t, s, 1)
	before := runtime.NumGoroutine()
	idle(t, s, 2000)
	add(t, j, "s", "busy.bee", 100)
	if after := runtime.NumGoroutine(); after > before+4 {
		t.Errorf("%d goroutines with one consumer, %d with 2000", before, after)
	}
	shut(t, j, s)
}

// BenchmarkAppendBesideIdleConsumers appends with none and with ten thousand
// idle consumers in one run.
func BenchmarkAppendBesideIdleConsumers(b *testing.B) {
	for _, n := range []int{0, 1, crowd} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			j, s := open(b, journal.Options{})
			idle(b, s, n)
			payload := []byte(strings.Repeat("x", 200))
			b.ResetTimer()
			b.SetParallelism(256)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := j.Append(b.Context(), journal.Write{Events: []events.Draft{{Stream: "s", Kind: "busy.bee", Payload: payload}}}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			shut(b, j, s)
		})
	}
}
