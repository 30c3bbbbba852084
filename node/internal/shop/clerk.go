package shop

import (
	"fmt"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
)

// Clerk is the behaviour of the agent that takes an order through the shop. It
// decides nothing and remembers nothing: it knows who has to do what next.
// What it sends goes out when the event in hand is dealt with, caused by it.
var Clerk = &actors.Agent[struct{}]{
	Name: "demo.clerk", Version: 1,
	On: []string{"order.placed", "stock.reserved", "stock.short", "payment.taken", "payment.declined"},
	React: func(t *actors.Turn, _ struct{}, e events.Event) error {
		switch e.Kind {
		case "order.placed":
			return with(e, OrderEvents, func(o OrderPlaced) error {
				return Stock.Send(t, StockName, ReserveStock{Order: e.Stream, Item: o.Item, Quantity: o.Quantity})
			})
		case "stock.reserved":
			return with(e, StockEvents, func(s StockReserved) error {
				return Payments.Send(t, PaymentOf(s.Order), TakePayment(s))
			})
		case "stock.short":
			return with(e, StockEvents, func(s StockShort) error {
				return Orders.Send(t, s.Order, CancelOrder{Reason: fmt.Sprintf("only %d of %s left", s.Left, s.Item)})
			})
		case "payment.taken":
			return with(e, PaymentEvents, func(p PaymentTaken) error {
				return Orders.Send(t, p.Order, ConfirmOrder{})
			})
		case "payment.declined":
			return with(e, PaymentEvents, func(p PaymentDeclined) error {
				if err := Stock.Send(t, StockName, ReleaseStock(p.Purchase)); err != nil {
					return err
				}
				return Orders.Send(t, p.Order, CancelOrder{Reason: fmt.Sprintf("%d cents is above the limit of %d", p.Cents, p.Limit)})
			})
		}
		return nil
	},
}

// with decodes an event and calls f with what is in it.
func with[E, T any](e events.Event, codec events.Codec[E], f func(T) error) error {
	v, err := codec.Decode(e)
	if err != nil {
		return err
	}
	if t, ok := any(v).(T); ok {
		return f(t)
	}
	return fmt.Errorf("event %s holds a %T", e.ID, v)
}
