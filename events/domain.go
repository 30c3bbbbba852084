package events

import (
	"encoding/json"
	"fmt"
)

// ContentTypeDomain is the content type of a payload that holds a DomainEvent.
const ContentTypeDomain = "application/vnd.toka.domain+json"

// DomainEvent is one of [Agent], [Ledger], [Resource], [Security], [System]
// and [Custom]: a ready-made vocabulary for those who do not want to declare
// types of their own. Payloads are JSON; [JSON] makes them of any value.
type DomainEvent interface{ domain() string }

// Agent says something about an agent.
type Agent struct {
	AgentID ID              `json:"agent_id"`
	Payload json.RawMessage `json:"payload"`
}

// Ledger says something about a transaction.
type Ledger struct {
	TransactionID ID              `json:"transaction_id"`
	Payload       json.RawMessage `json:"payload"`
}

// Resource says what was done to a resource.
type Resource struct {
	ResourceID ID              `json:"resource_id"`
	Action     string          `json:"action"`
	Payload    json.RawMessage `json:"payload"`
}

// Security says something about a principal.
type Security struct {
	PrincipalID ID              `json:"principal_id"`
	EventType   string          `json:"event_type"`
	Payload     json.RawMessage `json:"payload"`
}

// System says something about a component.
type System struct {
	Component string          `json:"component"`
	Payload   json.RawMessage `json:"payload"`
}

// Custom is everything else.
type Custom struct {
	EventType string          `json:"event_type"`
	Payload   json.RawMessage `json:"payload"`
}

func (Agent) domain() string    { return "agent" }
func (Ledger) domain() string   { return "ledger" }
func (Resource) domain() string { return "resource" }
func (Security) domain() string { return "security" }
func (System) domain() string   { return "system" }
func (Custom) domain() string   { return "custom" }

// JSON returns v as JSON, for the payload of a domain event.
func JSON(v any) (json.RawMessage, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("events: payload: %w", err)
	}
	return b, nil
}

// NewDomain returns a draft of the given kind whose payload is v, as
//
//	{"type":"resource","event":{"resource_id":…,"action":…,"payload":…}}
//
// It fails if v's payload is not JSON.
func NewDomain(kind string, v DomainEvent) (Draft, error) {
	if v == nil {
		return Draft{}, invalid("payload", "no domain event was given")
	}
	b, err := json.Marshal(v)
	if err != nil {
		return Draft{}, fmt.Errorf("encode %s domain event: %w", v.domain(), err)
	}
	b, err = json.Marshal(domainEnvelope{Type: v.domain(), Event: b})
	if err != nil {
		return Draft{}, fmt.Errorf("encode %s domain event: %w", v.domain(), err)
	}
	return Draft{Kind: kind, SchemaVersion: 1, ContentType: ContentTypeDomain, Payload: b}, nil
}

type domainEnvelope struct {
	Type  string          `json:"type"`
	Event json.RawMessage `json:"event"`
}

// DecodeDomain returns the domain event in e's payload. The error wraps
// ErrOtherKind if e's content type says that there is none.
func DecodeDomain(e Event) (DomainEvent, error) {
	if e.ContentType != ContentTypeDomain {
		return nil, fmt.Errorf("decode event %s: %w: content type %q is not %s", e.ID, ErrOtherKind, e.ContentType, ContentTypeDomain)
	}
	if err := e.payloadHere(); err != nil {
		return nil, err
	}
	var env domainEnvelope
	if err := json.Unmarshal(e.Payload, &env); err != nil {
		return nil, fmt.Errorf("decode domain event %s: %w", e.ID, err)
	}
	switch env.Type {
	case "agent":
		return decodeDomain[Agent](e, env)
	case "ledger":
		return decodeDomain[Ledger](e, env)
	case "resource":
		return decodeDomain[Resource](e, env)
	case "security":
		return decodeDomain[Security](e, env)
	case "system":
		return decodeDomain[System](e, env)
	case "custom":
		return decodeDomain[Custom](e, env)
	}
	return nil, fmt.Errorf("decode event %s: %w: domain type %q", e.ID, ErrOtherKind, clip(env.Type))
}

func decodeDomain[T DomainEvent](e Event, env domainEnvelope) (DomainEvent, error) {
	var v T
	if err := json.Unmarshal(env.Event, &v); err != nil {
		return nil, fmt.Errorf("decode %s domain event %s: %w", env.Type, e.ID, err)
	}
	return v, nil
}
