package legacy

import (
	"context"
	"slices"

	"github.com/zeebo/blake3"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
	"github.com/tokaworks/toka/journal/eventbus"
)

// The guide's names for what has another one here.
type (
	// EventBus is bus.Bus.
	//
	// Deprecated: use bus.Bus.
	//
	//go:fix inline
	EventBus = bus.Bus

	// MemoryEventBus is bus.Memory.
	//
	// Deprecated: use bus.Memory.
	//
	//go:fix inline
	MemoryEventBus = bus.Memory

	// EventSubscriber is bus.Subscriber.
	//
	// Deprecated: use bus.Subscriber.
	//
	//go:fix inline
	EventSubscriber = bus.Subscriber

	// PersistentEventBus is eventbus.Bus.
	//
	// Deprecated: use eventbus.Bus.
	//
	//go:fix inline
	PersistentEventBus = eventbus.Bus

	// VaultBus is eventbus.Bus without a strategy.
	//
	// Deprecated: use eventbus.Bus.
	//
	//go:fix inline
	VaultBus = eventbus.Bus

	// EventHeader is events.Event, which is its own header.
	//
	// Deprecated: use events.Event.
	//
	//go:fix inline
	EventHeader = events.Event

	// EventID is events.ID.
	//
	// Deprecated: use events.ID.
	//
	//go:fix inline
	EventID = events.ID

	// IntentID is events.ID.
	//
	// Deprecated: use events.ID.
	//
	//go:fix inline
	IntentID = events.ID

	// CausalDigest is events.Digest.
	//
	// Deprecated: use events.Digest.
	//
	//go:fix inline
	CausalDigest = events.Digest
)

// NewMemoryEventBus returns a bus in memory.
//
// Deprecated: use bus.NewMemory.
//
//go:fix inline
func NewMemoryEventBus() *bus.Memory { return bus.NewMemory(bus.Options{}) }

// GetReceiver returns a receiver of everything.
//
// Deprecated: use bus.Bus.Receive.
//
//go:fix inline
func GetReceiver(b *bus.Memory) (bus.Receiver, error) { return b.Receive(bus.Filter{}) }

// EmitDomainEvent emits a domain event of a source under a kind.
//
// Deprecated: use bus.Bus.Emit.
//
//go:fix inline
func EmitDomainEvent(ctx context.Context, b *bus.Memory, v events.DomainEvent, kind, source string) error {
	return b.Emit(ctx, source, kind, v)
}

// SubscriberCount returns how many subscribers are called; receivers do not
// count.
//
// Deprecated: use bus.Bus.Subscribers.
//
//go:fix inline
func SubscriberCount(b *bus.Memory) int { return len(b.Subscribers()) }

// OpenVaultBus opens a bus that keeps its events in a directory.
//
// Deprecated: use eventbus.Open.
//
//go:fix inline
func OpenVaultBus(dir string) (*eventbus.Bus, error) { return eventbus.Open(dir, eventbus.Options{}) }

// CausalHash returns the digest that the old system stored for a payload and
// the digests of its parents: BLAKE3 of the payload and the sorted digests, with
// nothing between them. It is for checking what is stored.
//
// Deprecated: events.Event.Digest commits to more, and cannot be confused.
func CausalHash(payload []byte, parents ...events.Digest) events.Digest {
	parents = slices.Clone(parents)
	slices.SortFunc(parents, func(a, b events.Digest) int { return slices.Compare(a[:], b[:]) })
	h := blake3.New()
	_, _ = h.Write(payload) // never fails
	for _, p := range parents {
		_, _ = h.Write(p[:])
	}
	return events.Digest(h.Sum(nil))
}
