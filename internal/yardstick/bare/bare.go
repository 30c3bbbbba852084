// Package bare does with a channel, and with the actor library alone, what
// Toka's buses and actors do with more: it is what they are measured beside.
//
// It keeps nothing, checks nothing and knows nothing of Toka. Like all
// yardsticks it is for benchmarks only.
package bare

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// slack is how many messages a receiver may be behind.
const slack = 1024

// every is how often the loops look at the clock.
const every = 64

// ChannelFanOut sends what next makes to receivers for about d, each over a channel
// of its own, and returns how many a second were received by all of them
// together.
func ChannelFanOut[M any](ctx context.Context, receivers int, d time.Duration, next func() M) float64 {
	channels := make([]chan M, receivers)
	got := make([]uint64, receivers)
	var receiving sync.WaitGroup
	for i := range channels {
		channels[i] = make(chan M, slack)
		receiving.Go(func() {
			n := uint64(0)
			for range channels[i] {
				n++
			}
			got[i] = n
		})
	}
	began := time.Now()
	for n := 0; ; n++ {
		if n%every == 0 && (time.Since(began) > d || ctx.Err() != nil) {
			break
		}
		m := next()
		for _, c := range channels {
			c <- m
		}
	}
	for _, c := range channels {
		close(c)
	}
	receiving.Wait()
	return perSecond(got, time.Since(began))
}

// ActorFanOut is ChannelFanOut over actors that count what they get.
func ActorFanOut[M any](ctx context.Context, receivers int, d time.Duration, next func() M) float64 {
	quiet := func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }
	sys := actor.NewActorSystem(actor.WithLoggerFactory(quiet))
	defer sys.Shutdown()
	counts := make([]struct {
		n atomic.Uint64
		_ [56]byte // a line for each
	}, receivers)
	pids := make([]*actor.PID, receivers)
	for i := range pids {
		n := &counts[i].n
		pids[i] = sys.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(M); ok {
				n.Add(1)
			}
		}))
	}
	// The library's mailboxes have no bound: wait now and then for everybody.
	caughtUp := func(sent uint64) {
		for i := range counts {
			for counts[i].n.Load() < sent {
				runtime.Gosched()
			}
		}
	}
	began := time.Now()
	sent := uint64(0)
	for ; ; sent++ {
		if sent%every == 0 && (time.Since(began) > d || ctx.Err() != nil) {
			break
		}
		if sent >= slack && sent%every == 0 {
			caughtUp(sent - slack)
		}
		m := next()
		for _, pid := range pids {
			sys.Root.Send(pid, m)
		}
	}
	caughtUp(sent)
	took := time.Since(began)
	got := make([]uint64, receivers)
	for i := range counts {
		got[i] = counts[i].n.Load()
		sys.Root.Stop(pids[i])
	}
	return perSecond(got, took)
}

func perSecond(got []uint64, took time.Duration) float64 {
	total := uint64(0)
	for _, n := range got {
		total += n
	}
	return float64(total) / took.Seconds()
}
