package legacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// Event is an event of the dispatcher's time: what happened, as loosely typed
// JSON.
//
// Deprecated: use events.DomainEvent to say what happened and events.Event for
// what was journaled.
type Event struct {
	ID        events.ID       `json:"id"`
	Kind      EventKind       `json:"kind"`
	Payload   json.RawMessage `json:"payload"` // nil stands for null
	Timestamp time.Time       `json:"timestamp"`
}

// NewEvent returns an event of now. Other than in the old system a payload that
// cannot be serialised is an error and not null.
//
// Deprecated: use bus.Commit, which mints the id and takes the time.
func NewEvent(kind EventKind, payload any) (Event, error) {
	b, err := json.Marshal(payload)
	if err != nil {
		return Event{}, &EventError{"serialise the payload of " + string(kind), err}
	}
	return Event{ID: journal.NewID(), Kind: kind, Payload: b, Timestamp: time.Now().UTC()}, nil
}

// EventKind says what kind of event it is: one of the constants, what Custom
// returns, or something that another version wrote, which is kept as it is.
//
// Deprecated: use a kind as events.CheckKind describes it.
type EventKind string

// The kinds that the old system knew, besides Custom.
//
// Deprecated: use kinds such as "resource.created".
const (
	Log             EventKind = "Log"
	ResourceCreated EventKind = "ResourceCreated"
	ResourceUpdated EventKind = "ResourceUpdated"
	ResourceDeleted EventKind = "ResourceDeleted"
)

const (
	customPrefix = "Custom:"
	rawPrefix    = "json:" // before the JSON of a kind that is no name
)

// Custom returns the custom kind of a name.
//
// Deprecated: use any kind.
func Custom(name string) EventKind { return EventKind(customPrefix + name) }

// Name returns the name of a custom kind.
func (k EventKind) Name() (name string, custom bool) {
	return strings.CutPrefix(string(k), customPrefix)
}

// MarshalJSON writes the form of the old system, such as "Log" or
// {"Custom":"name"}.
func (k EventKind) MarshalJSON() ([]byte, error) {
	if name, ok := k.Name(); ok {
		return json.Marshal(map[string]string{"Custom": name})
	}
	if raw, ok := strings.CutPrefix(string(k), rawPrefix); ok {
		return []byte(raw), nil
	}
	return json.Marshal(string(k))
}

// UnmarshalJSON reads what MarshalJSON writes, and keeps what it does not know.
func (k *EventKind) UnmarshalJSON(b []byte) error {
	var name string
	if err := json.Unmarshal(b, &name); err == nil && !strings.HasPrefix(name, customPrefix) && !strings.HasPrefix(name, rawPrefix) && string(b) != "null" {
		*k = EventKind(name)
		return nil
	}
	var custom map[string]string
	if err := json.Unmarshal(b, &custom); err == nil && len(custom) == 1 {
		if name, ok := custom["Custom"]; ok {
			*k = Custom(name)
			return nil
		}
	}
	var raw bytes.Buffer
	if err := json.Compact(&raw, b); err != nil {
		return err
	}
	*k = EventKind(rawPrefix + raw.String())
	return nil
}

// EventError says what could not be done with a legacy event.
//
// Deprecated: the errors of packages bus and journal name the event and the
// remedy.
type EventError struct {
	Doing string
	Err   error
}

func (e *EventError) Error() string { return fmt.Sprintf("legacy: cannot %s: %v", e.Doing, e.Err) }

// Unwrap returns the cause.
func (e *EventError) Unwrap() error { return e.Err }

var errNoID = errors.New("it has no id")

// same reports whether two JSON texts are the same after compaction.
func same(a, b []byte) bool {
	x, err := json.Marshal(orNull(a))
	if err != nil {
		return false
	}
	y, err := json.Marshal(orNull(b))
	return err == nil && bytes.Equal(x, y)
}

func orNull(b json.RawMessage) json.RawMessage {
	if len(b) == 0 {
		return json.RawMessage("null")
	}
	return b
}
