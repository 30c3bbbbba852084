package shop

import (
	"strings"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
)

// ParcelDelivered : the goods of an order have arrived.
type ParcelDelivered struct {
	Order string `json:"order"`
	Town  string `json:"town"`
}

// ParcelDeliveredType is its codec.
var ParcelDeliveredType = events.NewType[ParcelDelivered]("parcel.delivered", 1)

// NewCourier returns the behaviour of the agent that delivers what was
// confirmed. road is the world outside, which may be bad: when it panics, the
// courier is restarted and the order comes again. What comes of a delivery
// must not depend on road, so that a replay can do without it.
func NewCourier(road func(order string)) *actors.Agent[struct{}] {
	return actors.NewAgent("demo.courier", 1, "order.confirmed", func(t *actors.Turn, e events.Event) error {
		return with(e, OrderEvents, func(o OrderConfirmed) error {
			// A mistake, made on purpose: an address without a town is out of
			// range, however often it is tried. Such a message is parked.
			town := strings.Split(o.Address, ", ")[1]
			road(e.Stream)
			return actors.Emit(t, ParcelDeliveredType, ParcelDelivered{Order: e.Stream, Town: town})
		})
	})
}
