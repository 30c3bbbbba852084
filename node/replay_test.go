package node_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/node"
	"github.com/tokaworks/toka/node/internal/shop"
	"github.com/tokaworks/toka/simulations"
)

func replayWith(t *testing.T, r *actors.Registry, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := node.Run(t.Context(), r, append([]string{"replay"}, args...), node.Streams{Out: &out, Err: &errs})
	return result{code, out.String(), errs.String()}
}

func TestReplay(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	must(t, node.ExitDone, "demo", "--data", data)
	var first simulations.Report
	for i := range 2 {
		var r simulations.Report
		out := must(t, node.ExitDone, "replay", "--data", data, "-o", "json").out
		if err := json.Unmarshal([]byte(out), &r); err != nil || strings.Count(out, "\n") != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		if !r.OK || r.Events == 0 || r.Commands == 0 || r.Reactions == 0 || r.StateDigests == 0 || r.NotReplayed != 0 {
			t.Errorf("%+v", r)
		}
		if i == 1 && r.State != first.State {
			t.Errorf("state %s, then %s", first.State, r.State)
		}
		first = r
	}
	must(t, node.ExitUsage, "replay", "--data", data, "all")
	must(t, node.ExitRefused, "replay", "--data", data+"/none")
}

// Each of these behaves otherwise than what is recorded, and is found.
func TestReplayFindsAPlantedFault(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	must(t, node.ExitDone, "demo", "--data", data)

	dearer := *shop.Payments
	dearer.Decide = func(t *actors.Turn, p shop.Payment, c shop.TakePayment) ([]shop.PaymentEvent, error) {
		es, err := shop.Payments.Decide(t, p, c)
		for i, e := range es {
			if taken, ok := e.(shop.PaymentTaken); ok {
				taken.Cents++
				es[i] = taken
			}
		}
		return es, err
	}
	stubborn := *shop.Orders
	stubborn.Decide = func(t *actors.Turn, o shop.Order, c shop.OrderCommand) ([]shop.OrderEvent, error) {
		if _, ok := c.(shop.CancelOrder); ok {
			return nil, errors.New("no order is ever cancelled")
		}
		return shop.Orders.Decide(t, o, c)
	}
	forgetful := *shop.Stock
	forgetful.Evolve = func(room shop.Goodsroom, e shop.StockEvent) shop.Goodsroom {
		if _, ok := e.(shop.StockReleased); ok {
			return room
		}
		return shop.Stock.Evolve(room, e)
	}
	lazy := shop.NewCourier(func(string) { panic("never") })
	for _, c := range []struct {
		name               string
		b                  actors.Behaviour
		agent              string // the beginning of its name
		field              string
		recorded, produced string
	}{
		{"another price", &dearer, "payment-of-", "payload", `00,"receipt"`, `01,"receipt"`},
		{"another decision", &stubborn, "order-", "kind", "order.cancelled", "error: no order is ever cancelled"},
		{"another fold", &forgetful, "stock", "state", "", ""},
		{"another end", lazy, "courier", "kind", "parcel.delivered", "panic: never"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := replayWith(t, actors.NewRegistry(c.b), "--data", data, "-o", "json")
			var report simulations.Report
			if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != node.ExitDamage {
				t.Fatalf("code %d, %v, %s%s", r.code, err, r.out, r.err)
			}
			d, ok := report.First()
			if !ok || report.OK || !strings.HasPrefix(d.Agent, c.agent) || d.Field != c.field {
				t.Fatalf("found %v, want agent %s, field %s", d, c.agent, c.field)
			}
			if !strings.Contains(d.Recorded, c.recorded) || !strings.Contains(d.Produced, c.produced) || d.Recorded == d.Produced {
				t.Errorf("recorded %q, produced %q", d.Recorded, d.Produced)
			}
			r = replayWith(t, actors.NewRegistry(c.b), "--data", data)
			if r.code != node.ExitDamage || !strings.HasPrefix(r.out, "DIVERGED") || r.err != "" {
				t.Errorf("code %d, %s%s", r.code, r.out, r.err)
			}
			for _, want := range []string{"agent " + d.Agent, "recorded  " + d.Recorded, "produced  " + d.Produced} {
				if !strings.Contains(r.out, want) {
					t.Errorf("no %q in\n%s", want, r.out)
				}
			}
		})
	}
}

func TestReplayOfAnUnknownBehaviour(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	greeter := actors.NewAgent("greeter", 7, "order.placed", func(t *actors.Turn, _ events.Event) error {
		return t.Emit(events.Draft{Kind: "guest.greeted"})
	})
	err := actors.Run(t.Context(), data, actors.NewRegistry(greeter), func(sys *actors.System) error {
		_, err := sys.Publish(t.Context(), "door", events.Draft{Kind: "order.placed"})
		return errors.Join(err, greeter.Spawn(sys, "butler"), sys.Settle(t.Context()))
	})
	if err != nil {
		t.Fatal(err)
	}
	r := must(t, node.ExitFailed, "replay", "--data", data)
	for _, want := range []string{"butler", "greeter/7", "--skip-unknown"} {
		if !strings.Contains(r.err, want) {
			t.Errorf("no %q in %q", want, r.err)
		}
	}
	if r.out != "" {
		t.Errorf("and yet it reports %q", r.out)
	}
	r = must(t, node.ExitDone, "replay", "--data", data, "--skip-unknown")
	if !strings.Contains(r.out, "1 stream") {
		t.Error(r.out)
	}
	if r := replayWith(t, actors.NewRegistry(greeter), "--data", data); r.code != node.ExitDone {
		t.Error(r)
	}
}

// A registry is given to several runs, and may be shared by them.
func TestBuiltinsAreAddedOnce(t *testing.T) {
	mine := *shop.Orders
	r := actors.NewRegistry(&mine)
	done := make(chan int)
	for range 4 {
		go func() {
			done <- node.Run(t.Context(), r, []string{"version"}, node.Streams{Out: new(bytes.Buffer), Err: new(bytes.Buffer)})
		}()
	}
	for range 4 {
		if code := <-done; code != node.ExitDone {
			t.Error(code)
		}
	}
	if n := len(r.Behaviours()); n != len(shop.Behaviours())+1 {
		t.Errorf("%d behaviours: %v", n, r.Behaviours())
	}
}
