package actors_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

type (
	Arrived struct{ Name string }
	Greeted struct{ Text string }
)

var (
	arrived = events.NewType[Arrived]("guest.arrived", 1)
	greeted = events.NewType[Greeted]("guest.greeted", 1)
)

func Example() {
	ctx := context.Background()
	greeter := actors.NewAgent("greeter", 1, "guest.*", func(t *actors.Turn, e events.Event) error {
		guest, err := arrived.Decode(e)
		if err != nil {
			return err
		}
		return actors.Emit(t, greeted, Greeted{"Hello, " + guest.Name + "!"})
	})
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		log.Fatal(err)
	}
	defer j.Close()
	sys, err := actors.Start(j, actors.NewRegistry(greeter), actors.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := greeter.Spawn(sys, "butler"); err != nil {
		log.Fatal(err)
	}
	if _, err := actors.Publish(ctx, sys, "front-door", arrived, Arrived{"Ada"}); err != nil {
		log.Fatal(err)
	}
	if err := sys.Settle(ctx); err != nil {
		log.Fatal(err)
	}
	for e, err := range j.Read(ctx, journal.Query{}) {
		fmt.Println(e.Position, e.Stream, e.Kind, string(e.Payload), len(e.Parents), err)
	}
	fmt.Println(sys.Stop(ctx))
	// Output:
	// 1 front-door guest.arrived {"Name":"Ada"} 0 <nil>
	// 2 butler guest.greeted {"Text":"Hello, Ada!"} 1 <nil>
	// <nil>
}

// An account is a resource: commands in, events out, state folded from them.
type (
	Deposit   struct{ Cents int }
	Withdraw  struct{ Cents int }
	Deposited struct{ Cents int }
	Withdrawn struct{ Cents int }

	AccountCommand interface{ accountCommand() }
	AccountEvent   interface{ accountEvent() }
)

func (Deposit) accountCommand()  {}
func (Withdraw) accountCommand() {}
func (Deposited) accountEvent()  {}
func (Withdrawn) accountEvent()  {}

var ErrNoFunds = errors.New("not enough on the account")

var account = &actors.Resource[int, AccountCommand, AccountEvent]{
	Name: "account", Version: 1,
	Commands: events.NewUnion(
		events.Case[AccountCommand, Deposit]("account.deposit", 1),
		events.Case[AccountCommand, Withdraw]("account.withdraw", 1),
	),
	Events: events.NewUnion(
		events.Case[AccountEvent, Deposited]("account.deposited", 1),
		events.Case[AccountEvent, Withdrawn]("account.withdrawn", 1),
	),
	Decide: func(_ *actors.Turn, cents int, c AccountCommand) ([]AccountEvent, error) {
		switch c := c.(type) {
		case Deposit:
			return []AccountEvent{Deposited(c)}, nil
		case Withdraw:
			if c.Cents > cents {
				return nil, ErrNoFunds
			}
			return []AccountEvent{Withdrawn(c)}, nil
		}
		return nil, nil
	},
	Evolve: func(cents int, e AccountEvent) int {
		switch e := e.(type) {
		case Deposited:
			return cents + e.Cents
		case Withdrawn:
			return cents - e.Cents
		}
		return cents
	},
}

func ExampleResource() {
	ctx := context.Background()
	err := actors.Run(ctx, "", actors.NewRegistry(account), func(sys *actors.System) error {
		ada, err := account.Spawn(sys, "account/ada")
		if err != nil {
			return err
		}
		out, err := ada.Ask(ctx, Deposit{100})
		fmt.Println(out.Events[0].Kind, err)
		_, err = ada.Ask(ctx, Withdraw{250})
		fmt.Println(errors.Is(err, ErrNoFunds))
		cents, err := ada.State(ctx)
		fmt.Println(cents, err)
		return nil
	})
	fmt.Println(err)
	// Output:
	// account.deposited <nil>
	// true
	// 100 <nil>
	// <nil>
}

// An agent with state: it greets the regulars by name and counts who came.
func ExampleAgent() {
	ctx := context.Background()
	doorman := &actors.Agent[int]{
		Name: "doorman", Version: 1, On: []string{"guest.arrived"},
		React: func(t *actors.Turn, guests int, e events.Event) error {
			guest, err := arrived.Decode(e)
			if err != nil {
				return err
			}
			return actors.Emit(t, greeted, Greeted{fmt.Sprintf("%s is guest %d.", guest.Name, guests+1)})
		},
		Evolve: func(guests int, e events.Event) int { return guests + 1 },
	}
	err := actors.Run(ctx, "", actors.NewRegistry(doorman), func(sys *actors.System) error {
		if err := doorman.Spawn(sys, "dora"); err != nil {
			return err
		}
		for _, name := range []string{"Ada", "Bob"} {
			if _, err := actors.Publish(ctx, sys, "front-door", arrived, Arrived{name}); err != nil {
				return err
			}
		}
		if err := sys.Settle(ctx); err != nil {
			return err
		}
		for e, err := range sys.Journal().ReadStream(ctx, "dora", 0) {
			fmt.Println(string(e.Payload), err)
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// {"Text":"Ada is guest 1."} <nil>
	// {"Text":"Bob is guest 2."} <nil>
	// <nil>
}
