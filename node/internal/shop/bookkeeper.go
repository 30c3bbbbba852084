package shop

import (
	"fmt"
	"maps"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
)

// The events of the bookkeeper.
type (
	// BookEvent is EntryOpened or EntryClosed.
	BookEvent interface{ bookEvent() }

	// EntryOpened : money has come in for something that is still owed.
	EntryOpened struct {
		Order string `json:"order"`
		Cents int    `json:"cents"`
	}
	// EntryClosed : it is owed no longer.
	EntryClosed struct {
		Order  string `json:"order"`
		Earned int    `json:"earned"` // in all, in cents
	}
)

func (EntryOpened) bookEvent() {}
func (EntryClosed) bookEvent() {}

// BookEvents is the codec of the events, for those who read them.
var BookEvents = events.NewUnion(
	events.Case[BookEvent, EntryOpened]("book.opened", 1),
	events.Case[BookEvent, EntryClosed]("book.closed", 1),
)

// Book is the state of the bookkeeper: it is folded from the bookkeeper's own
// events, so it is there again after a crash.
type Book struct {
	Open   map[string]Entry `json:"open"` // by order
	Earned int              `json:"earned"`
}

// Entry is what is paid and not yet delivered.
type Entry struct {
	Event events.ID `json:"event"` // that opened it
	Cents int       `json:"cents"`
}

// Bookkeeper is the behaviour of the agent that compares what was paid with
// what was delivered.
var Bookkeeper = &actors.Agent[Book]{
	Name: "demo.bookkeeper", Version: 1,
	On: []string{"payment.taken", "parcel.delivered"},
	React: func(t *actors.Turn, b Book, e events.Event) error {
		if e.Kind == "payment.taken" {
			return with(e, PaymentEvents, func(p PaymentTaken) error {
				return actors.Emit[BookEvent](t, BookEvents, EntryOpened{Order: p.Order, Cents: p.Cents})
			})
		}
		delivered, err := ParcelDeliveredType.Decode(e)
		if err != nil {
			return err
		}
		entry, ok := b.Open[delivered.Order]
		if !ok {
			return fmt.Errorf("%s was delivered and is not in the book", delivered.Order)
		}
		d, err := BookEvents.Encode(EntryClosed{Order: delivered.Order, Earned: b.Earned + entry.Cents})
		if err != nil {
			return err
		}
		// Two causes: the delivery, which the turn names by itself, and the
		// entry that it closes.
		d.Parents = []events.Ref{{ID: entry.Event}}
		return t.Emit(d)
	},
	Evolve: func(b Book, e events.Event) Book {
		v, err := BookEvents.Decode(e)
		if err != nil {
			return b
		}
		b.Open = maps.Clone(b.Open)
		if b.Open == nil {
			b.Open = map[string]Entry{}
		}
		switch v := v.(type) {
		case EntryOpened:
			b.Open[v.Order] = Entry{Event: e.ID, Cents: v.Cents}
		case EntryClosed:
			b.Earned = v.Earned
			delete(b.Open, v.Order)
		}
		return b
	},
}
