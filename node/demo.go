package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/shop"
)

const maxDemoEvents = 10_000_000

func (a *app) demoCommand() *cobra.Command {
	var n int
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run a small shop of agents and show what they journal",
		Long: `Runs a small shop: orders, a stock and payments are resources that answer
commands; a clerk, a courier, a bookkeeper and a postman are agents that react
to events, and a supervisor keeps them alive.
Each event is shown as it becomes durable: position, short digest, agent, kind,
and the short digests of the events that caused it.

Not all goes well: one order is larger than the stock, one dearer than anybody
may pay, the courier crashes on some roads and is restarted, and one address
crashes it each time, so that this message is parked. Letters of thanks are an
effect on the world outside: it happens once, and its result is journaled. The
post is closed now and then, and then it is tried again. A timer says when the
copy is put away.

Without --data everything is in memory and gone at the end. With it the journal
is on disk, synced, and another run goes on where the last one ended. With
-o json, events are printed one object a line, as log prints them, and the last
line is an object with the one field "summary".`,
		Example: lines(
			"toka-node demo",
			"toka-node demo --data ./shop --events 200",
			"toka-node demo -o json | jq -c '[.position, .stream, .kind]'"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if n < 1 || n > maxDemoEvents {
				return usage("events %d: use 1 to %d", n, maxDemoEvents)
			}
			return a.demo(c.Context(), n)
		},
	}
	c.Flags().IntVar(&n, "events", 60, "stop after about so many events")
	c.Flags().StringVar(&a.data, "data", "", "directory of the journal; without it, everything is in memory")
	return a.withOutput(c)
}

// demoSummary is what the demonstration says at its end.
type demoSummary struct {
	Data        string         `json:"data,omitempty"`
	Durability  string         `json:"durability"`
	Interrupted bool           `json:"interrupted,omitempty"`
	Events      uint64         `json:"events"` // of this run
	Orders      int            `json:"orders"`
	Agents      int            `json:"agents"` // live at the end, resources included
	Failures    uint64         `json:"failures"`
	Restarts    uint64         `json:"restarts"`
	Parked      uint64         `json:"parked"`
	Seconds     float64        `json:"seconds"`
	EventsPerS  float64        `json:"events_per_s"`
	Verified    journal.Report `json:"verified"`

	example events.Digest // an event worth looking at
}

// settleWithin bounds how long an interrupted demonstration finishes what it
// has begun.
const settleWithin = 5 * time.Second

func (a *app) demo(ctx context.Context, n int) error {
	level := journal.LevelFsync
	if a.data == "" {
		level = journal.LevelMemory
	}
	j, err := a.open(journal.Options{Level: level})
	if err != nil {
		return err
	}
	p := a.newDemoPrinter()
	p.head(a.data, j.Position())
	s := demoSummary{Data: a.data, Durability: level.String()}
	err = a.runDemo(ctx, j, p, n, &s)
	if err == nil {
		// The whole journal, also what earlier runs have written; and to the
		// end, also when this run was interrupted.
		s.Verified, err = j.Verify(context.WithoutCancel(ctx), nil)
	}
	if err = errors.Join(err, j.Close()); err != nil {
		return err
	}
	if err := p.summary(&s); err != nil {
		return err
	}
	if !s.Verified.OK {
		return &exit{ExitDamage, errors.New("the journal does not verify")}
	}
	return nil
}

// runDemo runs the shop over j until its orders are dealt with or ctx ends.
func (a *app) runDemo(ctx context.Context, j *journal.Journal, p *demoPrinter, n int, s *demoSummary) error {
	first, start := j.Position(), time.Now()
	sys, err := actors.Start(j, a.registry, actors.Options{})
	if err != nil {
		return err
	}
	// The demonstration ends with ctx, or when nobody reads what it prints.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	follow, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	var printing sync.WaitGroup
	printing.Go(func() {
		if err := p.follow(follow, j, first); err != nil {
			cancel(err)
		}
	})

	s.Orders, err = openShop(ctx, sys, first, n)
	// Interrupted, it stops taking orders, and finishes those that it has.
	settle, done := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	defer done()
	if ctx.Err() != nil {
		s.Interrupted, err = true, sys.Settle(settle)
	}
	for _, info := range sys.Agents() {
		s.Agents++
		s.Restarts += info.Restarts
	}
	err = errors.Join(err, sys.Stop(settle))
	unfollow()
	printing.Wait()
	if err = errors.Join(err, p.rest(j)); err != nil {
		return err
	}
	s.Events, s.Failures, s.Parked, s.example = p.events, p.failures, p.parked, p.example
	s.Seconds = time.Since(start).Seconds()
	s.EventsPerS = float64(s.Events) / s.Seconds
	return nil
}

// openShop makes the agents live, fills the stock, and places orders until
// they come to about n events. It returns how many it placed.
func openShop(ctx context.Context, sys *actors.System, first uint64, n int) (int, error) {
	var r road
	var p post
	courier, postman := shop.NewCourier(r.drive), shop.NewPostman(p.send)
	_, err := sys.Supervise(actors.Tree{Name: "shop", Children: []actors.ChildSpec{
		shop.Clerk.Child("clerk"), courier.Child("courier"), shop.Bookkeeper.Child("bookkeeper"), postman.Child("postman"),
	}})
	if err != nil {
		return 0, err
	}
	orders := planDemo(n)
	stock, err := shop.Stock.Spawn(sys, shop.StockName)
	if err != nil {
		return 0, err
	}
	if _, err := stock.Ask(ctx, demoGoods(len(orders))); err != nil {
		return 0, err
	}
	for i, command := range orders {
		// Numbers go on from the journal's position: each order takes more
		// than one event, so no two runs use the same one.
		order, err := shop.Orders.Spawn(sys, fmt.Sprintf("order-%d", first+uint64(i)+1))
		if err != nil {
			return i, err
		}
		if _, err := order.Ask(ctx, command); err != nil {
			return i, err
		}
		// Now and then it waits for the shop, so that what is under way is
		// bounded however long the run.
		if i%64 == 63 {
			if err := sys.Settle(ctx); err != nil {
				return i + 1, err
			}
		}
	}
	if err := sys.Settle(ctx); err != nil {
		return len(orders), err
	}
	// The copies of the last letters are still to be put away.
	for late := time.Now().Add(settleWithin); sys.Timers() > 0 && time.Now().Before(late); {
		select {
		case <-time.After(shop.KeepLetters / 4):
		case <-ctx.Done():
			return len(orders), ctx.Err()
		}
	}
	return len(orders), sys.Settle(ctx)
}

// post is closed when the 2nd, 4th, 8th … letter is brought, and open when that
// is tried again.
type post struct {
	mu      sync.Mutex
	letters int
}

func (p *post) send(ctx context.Context, call actors.EffectCall) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if call.Attempt == 1 {
		p.letters++
		if n := p.letters; n > 1 && n&(n-1) == 0 {
			return "", errors.New("the post is closed")
		}
	}
	return shop.OpenPost(ctx, call)
}

// planDemo returns orders that come to about n events in all.
func planDemo(n int) []shop.PlaceOrder {
	const filling = 2 // events until the stock is filled
	// What becomes of each kind of order, and in how many events.
	kinds := []struct {
		order  shop.PlaceOrder
		events int
	}{
		{shop.PlaceOrder{Customer: "ada", Address: "1 Analytical Row, Marylebone", Item: "teapot", Quantity: 2}, 16},
		{shop.PlaceOrder{Customer: "grace", Address: "7 Compiler Court, Arlington", Item: "lamp", Quantity: 1}, 16},
		// More than there ever is.
		{shop.PlaceOrder{Customer: "alan", Address: "9 Tape Lane, Wilmslow", Item: "teapot", Quantity: 1_000_000_000}, 6},
		// The first of these has no town.
		{shop.PlaceOrder{Customer: "barbara", Address: "3 Abstraction Avenue, Cambridge", Item: "lamp", Quantity: 1}, 16},
		// Above the limit of a payment.
		{shop.PlaceOrder{Customer: "niklaus", Address: "12 Module Mews, Winterthur", Item: "piano", Quantity: 1}, 10},
	}
	var orders []shop.PlaceOrder
	for planned := filling; planned < n; {
		i := len(orders)
		k := kinds[i%len(kinds)]
		if i == 3 {
			k.order.Address = "nowhere"
		}
		orders = append(orders, k.order)
		planned += k.events
	}
	return orders
}

// demoGoods is enough for so many orders, but for those that want a billion.
func demoGoods(orders int) shop.FillStock {
	return shop.FillStock{Items: map[string]shop.Goods{
		"teapot": {Count: 2 * (orders + 1), Cents: 2_450},
		"lamp":   {Count: orders + 1, Cents: 5_900},
		"piano":  {Count: orders + 1, Cents: 1_250_000},
	}}
}

// road is bad at the 2nd, 4th, 8th … parcel, the first time the courier goes
// there.
type road struct {
	parcels int
	bad     string // where the courier crashed last
}

func (r *road) drive(order string) {
	if r.bad == order {
		return
	}
	r.parcels++
	if n := r.parcels; n > 1 && n&(n-1) == 0 {
		r.bad = order
		panic("the road to " + order + " is bad")
	}
}

// withBuiltins adds the behaviours of the demonstration to those of the
// caller, except where the caller has his own under the same name and version,
// and returns which were added, now or before. Nil is a registry without any.
func withBuiltins(r *actors.Registry) (*actors.Registry, map[string]bool) {
	if r == nil {
		r = actors.NewRegistry()
	}
	builtins.Lock()
	defer builtins.Unlock()
	added := builtins.added[r]
	if added == nil {
		added = map[string]bool{}
		builtins.added[r] = added
	}
	have := r.Behaviours()
	for key, b := range shop.Behaviours() {
		if !slices.Contains(have, key) {
			r.Add(b)
			added[key] = true
		}
	}
	return r, added
}

// builtins is held while a registry is looked at and added to, since a
// registry panics when it is given the same twice. Registries live as long as
// their program.
var builtins = struct {
	sync.Mutex
	added map[*actors.Registry]map[string]bool
}{added: map[*actors.Registry]map[string]bool{}}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
