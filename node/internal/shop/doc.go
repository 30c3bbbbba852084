// Package shop is the behaviours of toka-node's demonstration: a small shop
// that sells, is paid and delivers. It is also meant to be read, as an example
// of agents and resources that work together:
//
//	order.placed      -> the clerk asks the stock for the goods
//	stock.reserved    -> the clerk asks for the payment
//	payment.taken     -> the clerk confirms the order, the bookkeeper enters it
//	order.confirmed   -> the courier delivers the parcel
//	parcel.delivered  -> the bookkeeper closes the entry, the postman has a
//	                     letter sent and sets a timer
//	letter.due        -> the postman puts the copy away
//
// and where something is wanting
//
//	stock.short       -> the clerk cancels the order
//	payment.declined  -> the clerk cancels the order and gives the goods back
//
// [Orders], [Stock] and [Payments] are resources: they answer commands, and
// nobody else changes what is theirs. The [Clerk], the courier ([NewCourier]),
// the [Bookkeeper] and the postman ([NewPostman]) are agents: they react to what
// happened.
//
// # Guarantees
//
//   - A replay of what these behaviours did gives the same events and states
//     again, also where the courier crashed (TestReplayOfAShop).
//
// # What it does not do
//
// It holds no demonstration: who places orders, and which roads are bad, is
// decided in package node.
package shop

import "github.com/tokaworks/toka/actors"

// Behaviours returns what is to be registered, under NAME/VERSION: with it a
// journal of the shop can be replayed.
func Behaviours() map[string]actors.Behaviour {
	return map[string]actors.Behaviour{
		"demo.order/1":      Orders,
		"demo.stock/1":      Stock,
		"demo.payment/1":    Payments,
		"demo.clerk/1":      Clerk,
		"demo.courier/1":    NewCourier(func(string) {}),
		"demo.bookkeeper/1": Bookkeeper,
		"demo.postman/1":    NewPostman(OpenPost), // also where a timer makes it live
	}
}

// Purchase is what an order comes to: goods that are held for it, and their
// price.
type Purchase struct {
	Order    string `json:"order"`
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
	Cents    int    `json:"cents"`
}
