package cloudevents

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tokaworks/toka/events"
)

// Marshal returns e as one line without its line break; see Append. It fails
// if e has no id, stream or kind, or if one of its extensions bears the name of
// an attribute, and so cannot be written.
func Marshal(e events.Event) ([]byte, error) {
	if e.ID.IsZero() {
		return nil, invalid("id", "an event without an id")
	}
	if err := events.CheckStream(e.Stream); err != nil {
		return nil, err
	}
	if err := events.CheckKind(e.Kind); err != nil {
		return nil, err
	}
	for _, k := range slices.Sorted(maps.Keys(e.Extensions)) {
		if reserved(k) {
			return nil, invalid("extensions", "event %s: %q is the name of an attribute", e.ID, k)
		}
	}
	return Append(make([]byte, 0, 512+len(e.Payload)*3/2), e), nil
}

// Append appends e to dst as one line without its line break. An extension
// that bears the name of an attribute is left out.
func Append(dst []byte, e events.Event) []byte {
	id := e.OutsideID()
	outside := id != ""
	if !outside {
		id = e.ID.String()
	}
	dst = append(dst, `{"specversion":"1.0"`...)
	dst = appendText(dst, "id", id)
	dst = appendText(dst, "source", e.Stream)
	dst = appendText(dst, "type", e.Kind)
	if !e.Time.IsZero() {
		dst = append(dst, `,"time":"`...)
		dst = e.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, '"')
	}
	if len(e.Parents) > 0 {
		dst = append(dst, `,"tokaparents":"`...)
		for i := range e.Parents {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = append(dst, e.Parents[i].ID.String()...)
		}
		dst = append(dst, '"')
	}
	if e.Correlation != "" {
		dst = appendText(dst, "correlationid", e.Correlation)
	}
	if e.Trace != "" {
		dst = appendText(dst, "traceparent", e.Trace)
	}
	for _, k := range slices.Sorted(maps.Keys(e.Extensions)) {
		if k != events.ExtOutsideID && !reserved(k) {
			dst = appendText(dst, k, e.Extensions[k])
		}
	}
	// A producer's own sequence stays: it is part of what the event says.
	if _, taken := e.Extensions["sequence"]; !taken && e.Position > 0 {
		dst = fmt.Appendf(dst, `,"sequence":"%020d"`, e.Position)
	}
	if outside {
		dst = appendText(dst, "tokaid", e.ID.String())
	}
	dst = appendText(dst, "tokahash", e.Digest.String())
	if !e.Intent.ID.IsZero() {
		dst = appendText(dst, "tokaintent", e.Intent.ID.String())
	}
	if e.ContentType != "" {
		dst = appendText(dst, "datacontenttype", e.ContentType)
	}
	switch {
	case len(e.Payload) == 0:
	case isJSON(e.ContentType) && inlineJSON(e.Payload):
		dst = append(dst, `,"data":`...)
		dst = append(dst, e.Payload...)
	default:
		dst = append(dst, `,"data_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, e.Payload)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// appendText appends a member. Names need no escapes.
func appendText(dst []byte, name, text string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return appendQuoted(dst, text)
}

// reserved reports whether name is that of an attribute which an event has a
// field for.
func reserved(name string) bool {
	return slices.Contains(attributeNames[:], name)
}

// writtenSequence reports whether s has the form in which Append writes a
// position.
func writtenSequence(s string) bool {
	return len(s) == 20 && skipDigits([]byte(s), 0) == 20
}
