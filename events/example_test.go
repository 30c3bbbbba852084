package events_test

import (
	"errors"
	"fmt"

	"github.com/tokaworks/toka/events"
)

// OrderPlaced is the payload of order.placed events.
type OrderPlaced struct {
	Order string `json:"order"`
	Total int    `json:"total"`
}

// OrderPaid is the payload of order.paid events.
type OrderPaid struct {
	Order string `json:"order"`
}

// OrderEvent is what can happen to an order.
type OrderEvent interface{ isOrderEvent() }

func (OrderPlaced) isOrderEvent() {}
func (OrderPaid) isOrderEvent()   {}

// A Go type goes in and the same type comes out.
func ExampleType() {
	orders := events.NewType[OrderPlaced]("order.placed", 1)

	draft, err := orders.Encode(OrderPlaced{Order: "7", Total: 42})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s %s %s\n", draft.Kind, draft.ContentType, draft.Payload)

	// A journal would give the event its id and its place.
	event := events.Event{Kind: draft.Kind, Payload: draft.Payload}
	order, err := orders.Decode(event)
	fmt.Println(order.Total, err)

	event.Kind = "order.paid"
	_, err = orders.Decode(event)
	fmt.Println(errors.Is(err, events.ErrOtherKind))
	// Output:
	// order.placed application/json {"order":"7","total":42}
	// 42 <nil>
	// true
}

// All that can happen to an order goes through one codec.
func ExampleUnion() {
	orders := events.NewUnion(
		events.Case[OrderEvent, OrderPlaced]("order.placed", 1),
		events.Case[OrderEvent, OrderPaid]("order.paid", 1),
	)
	for _, v := range []OrderEvent{OrderPlaced{Order: "7", Total: 42}, OrderPaid{Order: "7"}} {
		draft, err := orders.Encode(v)
		if err != nil {
			fmt.Println(err)
			return
		}
		back, err := orders.Decode(events.Event{Kind: draft.Kind, Payload: draft.Payload})
		if err != nil {
			fmt.Println(err)
			return
		}
		switch e := back.(type) {
		case OrderPlaced:
			fmt.Println(draft.Kind, e.Order, e.Total)
		case OrderPaid:
			fmt.Println(draft.Kind, e.Order)
		}
	}
	// Output:
	// order.placed 7 42
	// order.paid 7
}

// A child commits to its parent: the same two events have the same digests
// wherever they are, and a parent changed by one letter gives another child.
func ExampleDraft_Seal() {
	minted := events.ID{0x01, 0x97, 6: 0x70, 8: 0x80, 15: 1}
	for _, payload := range []string{`{"total":42}`, `{"total":43}`} {
		placed := events.Draft{Stream: "order/7", Kind: "order.placed", Payload: []byte(payload)}
		parent, err := placed.Seal(minted, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		shipped := events.Draft{
			Stream:  "shipping",
			Kind:    "order.shipped",
			Parents: []events.Ref{parent.Ref()},
			Trigger: parent.ID,
		}
		child, err := shipped.Seal(events.ID{0x01, 0x97, 6: 0x70, 8: 0x80, 15: 2}, shipped.Parents)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(parent.Digest.Short(), "<-", child.Digest.Short())
	}
	// Output:
	// 5a0e4645d46f <- b4fb2dc77995
	// 567bed42c6c0 <- 9e153ed017a6
}

// Those who declare no types of their own use one of the six shapes.
func ExampleNewDomain() {
	payload, err := events.JSON(map[string]int{"bytes": 4096})
	if err != nil {
		fmt.Println(err)
		return
	}
	draft, err := events.NewDomain("disk.grown", events.System{Component: "disk", Payload: payload})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(draft.Payload))

	v, err := events.DecodeDomain(events.Event{ContentType: draft.ContentType, Payload: draft.Payload})
	if err != nil {
		fmt.Println(err)
		return
	}
	if s, ok := v.(events.System); ok {
		fmt.Println(s.Component, string(s.Payload))
	}
	// Output:
	// {"type":"system","event":{"component":"disk","payload":{"bytes":4096}}}
	// disk {"bytes":4096}
}

func ExamplePattern() {
	for _, s := range []string{"order.*", "order.>", "*.placed"} {
		p := events.MustPattern(s)
		fmt.Println(s, p.Match("order.placed"), p.Match("order.item.added"))
	}
	// Output:
	// order.* true false
	// order.> true true
	// *.placed true false
}
