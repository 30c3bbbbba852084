package actors_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/actors"
)

// held is a stock of which the first command hangs until it is let go.
func held(names *[]string) (stock *stockResource, reached, letGo chan struct{}) {
	reached, letGo = make(chan struct{}), make(chan struct{})
	var once sync.Once
	return newStock(func(_ *actors.Turn, _ Stock, c stockCommand) {
		once.Do(func() { close(reached); <-letGo })
		*names = append(*names, c.(Release).Order)
	}), reached, letGo
}

// What becomes of a command that comes to a full mailbox is its sender's
// choice, and everybody who asks is told.
func TestFullMailbox(t *testing.T) {
	for _, c := range []struct {
		policy  actors.WhenFull
		decided []string
		told    map[string]error // who asked
		tell    error            // of the command that is too many
	}{
		{actors.Wait, []string{"first", "a", "b"}, map[string]error{"a": nil, "b": nil}, context.DeadlineExceeded},
		{actors.Reject, []string{"first", "a", "b"}, map[string]error{"a": nil, "b": nil}, actors.ErrMailboxFull},
		{actors.DropNewest, []string{"first", "a", "b"}, map[string]error{"a": nil, "b": nil}, nil},
		{actors.DropOldest, []string{"first", "b", "more"}, map[string]error{"a": actors.ErrDropped, "b": nil}, nil},
	} {
		t.Run(fmt.Sprint(c.policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var decided []string
				stock, reached, letGo := held(&decided)
				sys := start(t, memory(t), actors.Options{Mailbox: 2}, stock)
				ref := spawnStock(t, sys, stock, "apples")
				must(t, ref.Tell(t.Context(), Release{"first"}))
				<-reached
				told := map[string]error{}
				var mu sync.Mutex
				var asking sync.WaitGroup
				for _, name := range []string{"a", "b"} {
					asking.Go(func() {
						_, err := ref.Ask(t.Context(), Release{name})
						mu.Lock()
						defer mu.Unlock()
						told[name] = err
					})
					synctest.Wait()
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := ref.Tell(ctx, Release{"more"}, actors.IfFull(c.policy)); !errors.Is(err, c.tell) {
					t.Errorf("tell: %v, want %v", err, c.tell)
				}
				if c.policy == actors.DropNewest {
					if _, err := ref.Ask(ctx, Release{"asked"}, actors.IfFull(c.policy)); !errors.Is(err, actors.ErrDropped) {
						t.Errorf("ask: %v, want %v", err, actors.ErrDropped)
					}
				}
				close(letGo)
				asking.Wait()
				settle(t, sys)
				if !slices.Equal(decided, c.decided) {
					t.Errorf("decided were %v, want %v", decided, c.decided)
				}
				for name, want := range c.told {
					if !errors.Is(told[name], want) {
						t.Errorf("%s was told %v, want %v", name, told[name], want)
					}
				}
				dropped := uint64(0)
				for _, i := range sys.Agents() {
					dropped += i.Dropped
				}
				if want := map[actors.WhenFull]uint64{actors.DropNewest: 2, actors.DropOldest: 1}[c.policy]; dropped != want {
					t.Errorf("%d were counted as dropped, want %d", dropped, want)
				}
				stopOK(t, sys)
				closeOK(t, sys.Journal())
			})
		})
	}
}

// A mailbox holds no more than its bound however many senders there are, and
// each sender's commands are decided in order.
func TestManySendersToASmallMailbox(t *testing.T) {
	const senders, each, bound = 16, 500, 8
	last := map[int]int{}
	var most, disorder int
	var sys *actors.System
	stock := newStock(func(_ *actors.Turn, _ Stock, c stockCommand) {
		var who, n int
		if _, err := fmt.Sscanf(c.(Release).Order, "%d %d", &who, &n); err != nil || n != last[who]+1 {
			disorder++
		}
		last[who] = n
		if n%50 == 0 {
			most = max(most, sys.Agents()[0].Mailbox)
		}
	})
	sys = start(t, memory(t), actors.Options{Mailbox: bound}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	var wg sync.WaitGroup
	for who := range senders {
		wg.Go(func() {
			for n := range each {
				if err := ref.Tell(within(t), Release{fmt.Sprint(who, " ", n+1)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	settle(t, sys)
	if disorder > 0 || most > bound {
		t.Errorf("%d out of order, and up to %d waited, the bound is %d", disorder, most, bound)
	}
	for who := range senders {
		if last[who] != each {
			t.Errorf("of sender %d, %d were decided", who, last[who])
		}
	}
}

// Many spawns and stops leave no goroutine and no actor behind. TOKA_SPAWNS
// says how many, instead of the default.
func TestManySpawnsAndStops(t *testing.T) {
	n := 20_000
	if testing.Short() || underRace {
		n = 2000
	}
	if s := os.Getenv("TOKA_SPAWNS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		must(t, err)
	}
	before := runtime.NumGoroutine()
	j := memory(t)
	stock := newStock(nil)
	sys, err := actors.Start(j, actors.NewRegistry(stock), actors.Options{})
	must(t, err)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range n / 8 {
				name := fmt.Sprint("stock ", w, " ", i)
				ref, err := stock.Spawn(sys, name)
				if err == nil {
					err = ref.Tell(t.Context(), Release{"nobody"})
				}
				if err == nil {
					err = sys.StopActor(t.Context(), name)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if left := sys.Agents(); len(left) > 0 {
		t.Errorf("%d actors are left", len(left))
	}
	stopOK(t, sys)
	closeOK(t, j)
	deadline := time.Now().Add(bound)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left, %d were there before", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
	t.Logf("%d spawns and stops", n)
}
