package shop

import (
	"errors"
	"fmt"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
)

// The commands of an order.
type (
	// OrderCommand is PlaceOrder, ConfirmOrder or CancelOrder.
	OrderCommand interface{ orderCommand() }

	// PlaceOrder opens the order.
	PlaceOrder struct {
		Customer string `json:"customer"`
		Address  string `json:"address"` // street, town
		Item     string `json:"item"`
		Quantity int    `json:"quantity"`
	}
	// ConfirmOrder says that it is paid and can go out.
	ConfirmOrder struct{}
	// CancelOrder closes it, and says why.
	CancelOrder struct {
		Reason string `json:"reason"`
	}
)

// The events of an order.
type (
	// OrderEvent is OrderPlaced, OrderConfirmed or OrderCancelled.
	OrderEvent interface{ orderEvent() }

	// OrderPlaced : a customer wants something.
	OrderPlaced PlaceOrder
	// OrderConfirmed : it will be sent to this address.
	OrderConfirmed struct {
		Address string `json:"address"`
	}
	// OrderCancelled : it will not be sent.
	OrderCancelled CancelOrder
)

func (PlaceOrder) orderCommand()   {}
func (ConfirmOrder) orderCommand() {}
func (CancelOrder) orderCommand()  {}

func (OrderPlaced) orderEvent()    {}
func (OrderConfirmed) orderEvent() {}
func (OrderCancelled) orderEvent() {}

// OrderEvents is the codec of the events, for those who read them.
var OrderEvents = events.NewUnion(
	events.Case[OrderEvent, OrderPlaced]("order.placed", 1),
	events.Case[OrderEvent, OrderConfirmed]("order.confirmed", 1),
	events.Case[OrderEvent, OrderCancelled]("order.cancelled", 1),
)

// Order is the state of one order: what its events fold to.
type Order struct {
	Status  string `json:"status"` // "", placed, confirmed or cancelled
	Address string `json:"address"`
}

// Orders is the behaviour of an order. Each order is a resource of its own,
// named by whoever places it.
var Orders = &actors.Resource[Order, OrderCommand, OrderEvent]{
	Name: "demo.order", Version: 1,
	Commands: events.NewUnion(
		events.Case[OrderCommand, PlaceOrder]("order.place", 1),
		events.Case[OrderCommand, ConfirmOrder]("order.confirm", 1),
		events.Case[OrderCommand, CancelOrder]("order.cancel", 1),
	),
	Events: OrderEvents,
	Decide: decideOrder,
	Evolve: evolveOrder,
}

func decideOrder(t *actors.Turn, o Order, command OrderCommand) ([]OrderEvent, error) {
	switch c := command.(type) {
	case PlaceOrder:
		if o.Status != "" {
			return nil, fmt.Errorf("%s is %s already", t.Agent(), o.Status)
		}
		if c.Quantity < 1 {
			return nil, fmt.Errorf("%s: quantity %d: order at least one", t.Agent(), c.Quantity)
		}
		return []OrderEvent{OrderPlaced(c)}, nil
	case ConfirmOrder:
		if o.Status != "placed" {
			return nil, fmt.Errorf("%s cannot be confirmed: it is %q", t.Agent(), o.Status)
		}
		return []OrderEvent{OrderConfirmed{Address: o.Address}}, nil
	case CancelOrder:
		if o.Status != "placed" {
			return nil, fmt.Errorf("%s cannot be cancelled: it is %q", t.Agent(), o.Status)
		}
		return []OrderEvent{OrderCancelled(c)}, nil
	}
	return nil, errors.New("no such command")
}

func evolveOrder(o Order, event OrderEvent) Order {
	switch e := event.(type) {
	case OrderPlaced:
		return Order{Status: "placed", Address: e.Address}
	case OrderConfirmed:
		o.Status = "confirmed"
	case OrderCancelled:
		o.Status = "cancelled"
	}
	return o
}
