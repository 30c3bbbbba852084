package shop_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/shop"
	"github.com/tokaworks/toka/simulations"
	"github.com/tokaworks/toka/supervisor"
)

func registry() *actors.Registry {
	r := actors.NewRegistry()
	for _, b := range shop.Behaviours() {
		r.Add(b)
	}
	return r
}

func TestBehavioursAreUnderTheirNames(t *testing.T) {
	var want []string
	for key := range shop.Behaviours() {
		want = append(want, key)
	}
	have := strings.Join(registry().Behaviours(), " ")
	for _, key := range want {
		if !strings.Contains(have, key) {
			t.Errorf("%s is not registered under that name: %s", key, have)
		}
	}
}

// A shop under all kinds of load, with bad roads, and its replay.
func TestReplayOfAShop(t *testing.T) {
	seeds := 20
	if testing.Short() {
		seeds = 6
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			random := rand.New(rand.NewPCG(seed, 1))
			state := openShop(t, j, random)
			check(t, j, state)
		})
	}
}

// openShop serves customers and returns what the stock came to.
func openShop(t *testing.T, j *journal.Journal, random *rand.Rand) shop.Goodsroom {
	ctx := t.Context()
	sys, err := actors.Start(j, registry(), actors.Options{
		Mailbox: 1 + random.IntN(64), DigestEvery: 1 + random.Uint64N(20),
		Supervision: supervisor.Policy{MaxRestarts: 10_000, Backoff: supervisor.Backoff{Initial: time.Microsecond}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	badness := random.Float64()
	roads := rand.New(rand.NewPCG(random.Uint64(), 2))
	courier := shop.NewCourier(func(order string) {
		if !tried[order] && roads.Float64() < badness {
			tried[order] = true
			panic("bad road")
		}
	})
	stock, err := shop.Stock.Spawn(sys, shop.StockName)
	if err = errors.Join(err, shop.Clerk.Spawn(sys, "clerk"), courier.Spawn(sys, "courier"), shop.Bookkeeper.Spawn(sys, "bookkeeper")); err != nil {
		t.Fatal(err)
	}
	_, err = stock.Ask(ctx, shop.FillStock{Items: map[string]shop.Goods{"a": {Count: 40, Cents: 7}, "b": {Count: 60, Cents: 30_000}}})
	if err != nil {
		t.Fatal(err)
	}
	var customers sync.WaitGroup
	for c := range 1 + random.IntN(6) {
		own := rand.New(rand.NewPCG(random.Uint64(), uint64(c)))
		customers.Go(func() {
			for i := range 1 + own.IntN(25) {
				order, err := shop.Orders.Spawn(sys, fmt.Sprintf("order-%d-%d", c, i))
				if err != nil {
					t.Error(err)
					return
				}
				address := "street, town"
				if own.IntN(12) == 0 {
					address = "nowhere"
				}
				_, err = order.Ask(ctx, shop.PlaceOrder{Customer: "x", Address: address, Item: string(rune('a' + own.IntN(2))), Quantity: 1 + own.IntN(5)})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	customers.Wait()
	if err := sys.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	room, err := stock.State(ctx)
	if err = errors.Join(err, sys.Stop(ctx)); err != nil {
		t.Fatal(err)
	}
	return room
}

// check holds the shop's books against its journal, and replays it.
func check(t *testing.T, j *journal.Journal, room shop.Goodsroom) {
	ctx := t.Context()
	count := map[string]int{}
	paid, earned, opened := 0, 0, 0
	left := shop.Goodsroom{"a": {Count: 40, Cents: 7}, "b": {Count: 60, Cents: 30_000}}
	add := func(item string, n int) {
		goods := left[item]
		goods.Count += n
		left[item] = goods
	}
	for e, err := range j.Read(ctx, journal.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		count[e.Kind]++
		if v, err := shop.StockEvents.Decode(e); err == nil {
			switch v := v.(type) {
			case shop.StockReserved:
				add(v.Item, -v.Quantity)
			case shop.StockReleased:
				add(v.Item, v.Quantity)
			}
		}
		if v, err := shop.PaymentEvents.Decode(e); err == nil {
			if v, ok := v.(shop.PaymentTaken); ok {
				paid += v.Cents
			}
		}
		if v, err := shop.BookEvents.Decode(e); err == nil {
			switch v := v.(type) {
			case shop.EntryOpened:
				opened += v.Cents
			case shop.EntryClosed:
				earned = v.Earned
				if len(e.Parents) != 2 || e.Trigger == (events.ID{}) {
					t.Errorf("position %d: a closed entry has %d parents", e.Position, len(e.Parents))
				}
			}
		}
	}
	for item, goods := range left {
		if room[item] != goods || goods.Count < 0 {
			t.Errorf("%s: the stock says %v, its events %v", item, room[item], goods)
		}
	}
	if paid != opened || earned > paid || (count["toka.agent.parked"] == 0) != (earned == paid) {
		t.Errorf("paid %d, entered %d, earned %d, parked %d", paid, opened, earned, count["toka.agent.parked"])
	}
	if count["order.placed"] != count["order.confirmed"]+count["order.cancelled"] ||
		count["order.confirmed"] != count["parcel.delivered"]+count["toka.agent.parked"] ||
		count["payment.declined"] != count["stock.released"] {
		t.Error(count)
	}
	r, err := simulations.Replay(ctx, j, registry(), simulations.ReplayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK || r.Commands == 0 || r.StateDigests == 0 || r.NotReplayed > 0 {
		t.Errorf("%+v", r)
	}
}

func TestRejections(t *testing.T) {
	ctx := t.Context()
	err := actors.Run(ctx, "", registry(), func(sys *actors.System) error {
		order, err := shop.Orders.Spawn(sys, "order")
		if err != nil {
			return err
		}
		place := shop.PlaceOrder{Item: "a", Quantity: 1}
		for _, c := range []struct {
			command shop.OrderCommand
			want    string
		}{
			{shop.ConfirmOrder{}, "cannot be confirmed"},
			{shop.CancelOrder{}, "cannot be cancelled"},
			{shop.PlaceOrder{Item: "a"}, "at least one"},
			{place, ""},
			{place, "placed already"},
			{shop.ConfirmOrder{}, ""},
			{shop.CancelOrder{}, "confirmed"},
		} {
			_, err := order.Ask(ctx, c.command)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%T: %v, want %q", c.command, err, c.want)
			}
		}
		stock, err := shop.Stock.Spawn(sys, shop.StockName)
		if err != nil {
			return err
		}
		if _, err := stock.Ask(ctx, shop.FillStock{Items: map[string]shop.Goods{"a": {Count: -1}}}); err == nil {
			t.Error("less than nothing was filled in")
		}
		payment, err := shop.Payments.Spawn(sys, shop.PaymentOf("order"))
		if err != nil {
			return err
		}
		take := shop.TakePayment{Order: "order", Cents: 1}
		if _, err := payment.Ask(ctx, take); err != nil {
			t.Error(err)
		}
		if _, err := payment.Ask(ctx, take); err == nil {
			t.Error("it was paid twice")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
