package shop

import (
	"errors"
	"fmt"
	"maps"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
)

// StockName is the name of the shop's one stock.
const StockName = "stock"

// The commands of the stock.
type (
	// StockCommand is FillStock, ReserveStock or ReleaseStock.
	StockCommand interface{ stockCommand() }

	// FillStock adds goods and sets their prices.
	FillStock struct {
		Items map[string]Goods `json:"items"`
	}
	// ReserveStock holds goods for an order.
	ReserveStock struct {
		Order    string `json:"order"`
		Item     string `json:"item"`
		Quantity int    `json:"quantity"`
	}
	// ReleaseStock gives back what was held.
	ReleaseStock Purchase
)

// The events of the stock.
type (
	// StockEvent is StockFilled, StockReserved, StockShort or StockReleased.
	StockEvent interface{ stockEvent() }

	// StockFilled : goods have come in.
	StockFilled FillStock
	// StockReserved : goods are held for an order.
	StockReserved Purchase
	// StockShort : there was not enough for an order.
	StockShort struct {
		Order string `json:"order"`
		Item  string `json:"item"`
		Left  int    `json:"left"`
	}
	// StockReleased : goods are held no longer.
	StockReleased Purchase
)

func (FillStock) stockCommand()    {}
func (ReserveStock) stockCommand() {}
func (ReleaseStock) stockCommand() {}

func (StockFilled) stockEvent()   {}
func (StockReserved) stockEvent() {}
func (StockShort) stockEvent()    {}
func (StockReleased) stockEvent() {}

// StockEvents is the codec of the events, for those who read them.
var StockEvents = events.NewUnion(
	events.Case[StockEvent, StockFilled]("stock.filled", 1),
	events.Case[StockEvent, StockReserved]("stock.reserved", 1),
	events.Case[StockEvent, StockShort]("stock.short", 1),
	events.Case[StockEvent, StockReleased]("stock.released", 1),
)

// Goods are how many of an item there are, and what one costs.
type Goods struct {
	Count int `json:"count"`
	Cents int `json:"cents"`
}

// Goodsroom is the state of the stock: what is there and not held, by item.
type Goodsroom map[string]Goods

// Stock is the behaviour of the stock.
var Stock = &actors.Resource[Goodsroom, StockCommand, StockEvent]{
	Name: "demo.stock", Version: 1,
	Commands: events.NewUnion(
		events.Case[StockCommand, FillStock]("stock.fill", 1),
		events.Case[StockCommand, ReserveStock]("stock.reserve", 1),
		events.Case[StockCommand, ReleaseStock]("stock.release", 1),
	),
	Events: StockEvents,
	Decide: decideStock,
	Evolve: evolveStock,
}

func decideStock(_ *actors.Turn, room Goodsroom, command StockCommand) ([]StockEvent, error) {
	switch c := command.(type) {
	case FillStock:
		for item, g := range c.Items {
			if g.Count < 0 || g.Cents < 0 {
				return nil, fmt.Errorf("%s: %d at %d cents: neither can be negative", item, g.Count, g.Cents)
			}
		}
		return []StockEvent{StockFilled(c)}, nil
	case ReserveStock:
		goods := room[c.Item]
		if c.Quantity > goods.Count {
			// An event and no error: an error is for whoever asked and waits,
			// and the clerk does not wait. It reacts to what is journaled.
			return []StockEvent{StockShort{Order: c.Order, Item: c.Item, Left: goods.Count}}, nil
		}
		return []StockEvent{StockReserved{Order: c.Order, Item: c.Item, Quantity: c.Quantity, Cents: c.Quantity * goods.Cents}}, nil
	case ReleaseStock:
		return []StockEvent{StockReleased(c)}, nil
	}
	return nil, errors.New("no such command")
}

// evolveStock returns a new map each time: a state that was handed out before
// must stay what it was.
func evolveStock(room Goodsroom, event StockEvent) Goodsroom {
	next := maps.Clone(room)
	if next == nil {
		next = Goodsroom{}
	}
	add := func(item string, n int) {
		goods := next[item]
		goods.Count += n
		next[item] = goods
	}
	switch e := event.(type) {
	case StockFilled:
		for item, goods := range e.Items {
			next[item] = Goods{Count: next[item].Count + goods.Count, Cents: goods.Cents}
		}
	case StockReserved:
		add(e.Item, -e.Quantity)
	case StockReleased:
		add(e.Item, e.Quantity)
	}
	return next
}
