package shop

import (
	"fmt"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
)

// TakePayment is the one command of a payment.
type TakePayment Purchase

// The events of a payment.
type (
	// PaymentEvent is PaymentTaken or PaymentDeclined.
	PaymentEvent interface{ paymentEvent() }

	// PaymentTaken : the order is paid.
	PaymentTaken struct {
		Purchase
		Receipt events.ID `json:"receipt"`
	}
	// PaymentDeclined : it is more than anybody is trusted with.
	PaymentDeclined struct {
		Purchase
		Limit int `json:"limit"`
	}
)

func (PaymentTaken) paymentEvent()    {}
func (PaymentDeclined) paymentEvent() {}

// PaymentEvents is the codec of the events, for those who read them.
var PaymentEvents = events.NewUnion(
	events.Case[PaymentEvent, PaymentTaken]("payment.taken", 1),
	events.Case[PaymentEvent, PaymentDeclined]("payment.declined", 1),
)

// PaymentLimit is how much can be paid at once, in cents. It is part of the
// behaviour: a replay with another limit finds the payments that it would have
// decided otherwise.
const PaymentLimit = 100_000

// Payment is the state of the payment of one order.
type Payment struct {
	Taken int `json:"taken"` // cents
}

// PaymentOf returns the name of the payment of an order.
func PaymentOf(order string) string { return "payment-of-" + order }

// Payments is the behaviour of a payment. Commands of a single kind need no
// Union.
var Payments = &actors.Resource[Payment, TakePayment, PaymentEvent]{
	Name: "demo.payment", Version: 1,
	Commands: events.NewType[TakePayment]("payment.take", 1),
	Events:   PaymentEvents,
	Decide: func(t *actors.Turn, p Payment, c TakePayment) ([]PaymentEvent, error) {
		switch {
		case p.Taken > 0:
			return nil, fmt.Errorf("%s is paid", c.Order)
		case c.Cents > PaymentLimit:
			return []PaymentEvent{PaymentDeclined{Purchase(c), PaymentLimit}}, nil
		}
		// An id from anywhere but the turn would be another one each time.
		return []PaymentEvent{PaymentTaken{Purchase(c), t.NewID()}}, nil
	},
	Evolve: func(p Payment, event PaymentEvent) Payment {
		if e, ok := event.(PaymentTaken); ok {
			p.Taken += e.Cents
		}
		return p
	},
}
