package actors_test

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// perSecond reports how many of the benchmark's operations a second holds.
func perSecond(b *testing.B, n int, what string) {
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), what+"/s")
}

// benchStock starts a system over a journal and spawns stocks.
func benchStock(b *testing.B, j *journal.Journal, n int) (*actors.System, []*stockRef) {
	b.Helper()
	stock := newStock(nil)
	sys := start(b, j, actors.Options{}, stock)
	refs := make([]*stockRef, n)
	for i := range refs {
		refs[i] = spawnStock(b, sys, stock, fmt.Sprint("stock/", i))
		state(b, refs[i])
	}
	return sys, refs
}

// What one sender gets through to one actor without waiting, beside what the
// language and the actor library do for the like.
func BenchmarkTell(b *testing.B) {
	b.Run("toka", func(b *testing.B) {
		sys, refs := benchStock(b, memory(b), 1)
		b.ReportAllocs()
		for b.Loop() {
			if err := refs[0].Tell(b.Context(), Release{"nobody"}); err != nil {
				b.Fatal(err)
			}
		}
		settle(b, sys)
		perSecond(b, b.N, "messages")
	})
	b.Run("protoactor", func(b *testing.B) {
		sys, pid, seen := bareActor()
		b.ReportAllocs()
		for b.Loop() {
			sys.Root.Send(pid, Release{"nobody"})
		}
		for seen.Load() < int64(b.N) {
			time.Sleep(time.Microsecond)
		}
		perSecond(b, b.N, "messages")
		sys.Root.Stop(pid)
	})
	b.Run("channel", func(b *testing.B) {
		c, done := make(chan any, 1024), make(chan struct{})
		go func() {
			defer close(done)
			for range c {
			}
		}()
		b.ReportAllocs()
		for b.Loop() {
			c <- Release{"nobody"}
		}
		close(c)
		<-done
		perSecond(b, b.N, "messages")
	})
}

// A question and its answer, one after the other; nothing is journaled.
func BenchmarkAsk(b *testing.B) {
	b.Run("toka", func(b *testing.B) {
		_, refs := benchStock(b, memory(b), 1)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := refs[0].Ask(b.Context(), Release{"nobody"}); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, b.N, "answers")
	})
	b.Run("protoactor", func(b *testing.B) {
		sys, pid, _ := bareActor()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := sys.Root.RequestFuture(pid, Release{"nobody"}, time.Minute).Result(); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, b.N, "answers")
		sys.Root.Stop(pid)
	})
	b.Run("channel", func(b *testing.B) {
		c := make(chan chan any, 1024)
		go func() {
			for reply := range c {
				reply <- nil
			}
		}()
		reply := make(chan any, 1)
		b.ReportAllocs()
		for b.Loop() {
			c <- reply
			<-reply
		}
		perSecond(b, b.N, "answers")
		close(c)
	})
}

func bareActor() (*actor.ActorSystem, *actor.PID, *atomic.Int64) {
	sys := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
	seen := new(atomic.Int64)
	pid := sys.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(Release); ok {
			seen.Add(1)
			if c.Sender() != nil {
				c.Respond(true)
			}
		}
	}))
	return sys, pid, seen
}

// A command that causes an event, over a thousand resources, until it is on
// disk.
func BenchmarkDurableCommand(b *testing.B) {
	const resources = 1000
	for _, level := range []journal.Level{journal.LevelFsync, journal.LevelMemory} {
		for _, callers := range []int{1, 1024} {
			b.Run(fmt.Sprintf("%v/callers=%d", level, callers), func(b *testing.B) {
				dir := ""
				if level != journal.LevelMemory {
					dir = b.TempDir()
				}
				_, refs := benchStock(b, open(b, dir, journal.Options{Level: level}), resources)
				work := make(chan int, callers)
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for n := range work {
							if _, err := refs[n%resources].Ask(b.Context(), Add{1}); err != nil {
								b.Error(err)
							}
						}
					})
				}
				n := 0
				for b.Loop() {
					work <- n
					n++
				}
				close(work)
				wg.Wait()
				perSecond(b, b.N, "commands")
			})
		}
	}
}

// One event in, one reaction of each agent out, durable.
func BenchmarkReaction(b *testing.B) {
	const batch = 100
	for _, level := range []journal.Level{journal.LevelFsync, journal.LevelMemory} {
		for _, agents := range []int{1, 10} {
			b.Run(fmt.Sprintf("%v/agents=%d", level, agents), func(b *testing.B) {
				dir := ""
				if level != journal.LevelMemory {
					dir = b.TempDir()
				}
				a := clerk(nil)
				sys := start(b, open(b, dir, journal.Options{Level: level}), actors.Options{}, a)
				for n := range agents {
					must(b, a.Spawn(sys, fmt.Sprint("clerk/", n)))
				}
				settle(b, sys)
				d, err := placed.Encode(Order{ID: "o"})
				must(b, err)
				n := 0
				for b.Loop() {
					ds := make([]events.Draft, batch)
					for i := range ds {
						ds[i] = d
					}
					if _, err := sys.Publish(b.Context(), "shop", ds...); err != nil {
						b.Fatal(err)
					}
					n += batch * agents
				}
				settle(b, sys)
				perSecond(b, n, "reactions")
			})
		}
	}
}
