package node

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// eventJSON is an event as -o json prints it. Names are stable; fields that
// are empty are left out.
type eventJSON struct {
	Cursor         string            `json:"cursor"`
	Position       uint64            `json:"position"`
	ID             events.ID         `json:"id"`
	OutsideID      string            `json:"outside_id,omitempty"`
	Stream         string            `json:"stream"`
	StreamPosition uint64            `json:"stream_position"`
	Kind           string            `json:"kind"`
	SchemaVersion  uint32            `json:"schema_version"`
	Time           *time.Time        `json:"time,omitempty"`
	RecordTime     time.Time         `json:"record_time"`
	ContentType    string            `json:"content_type,omitempty"`
	Payload        json.RawMessage   `json:"payload,omitempty"`        // where it is JSON
	PayloadBase64  []byte            `json:"payload_base64,omitempty"` // where it is not
	PayloadState   string            `json:"payload_state,omitempty"`  // pruned, erased or sealed, where it is not here
	PayloadDigest  events.Digest     `json:"payload_digest"`
	SubjectKey     string            `json:"subject_key,omitempty"`
	Digest         events.Digest     `json:"digest"`
	RecordHash     events.Digest     `json:"record_hash"`
	Parents        []parentJSON      `json:"parents,omitempty"`
	Trigger        string            `json:"trigger,omitempty"`
	Correlation    string            `json:"correlation,omitempty"`
	Extensions     map[string]string `json:"extensions,omitempty"`
	Trace          string            `json:"trace,omitempty"`
	Intent         *intentJSON       `json:"intent,omitempty"`
}

type parentJSON struct {
	ID       events.ID     `json:"id"`
	Digest   events.Digest `json:"digest"`
	Position uint64        `json:"position"`
}

type intentJSON struct {
	ID         string  `json:"id,omitempty"`
	Similarity float64 `json:"similarity"`
	Pending    bool    `json:"pending,omitempty"`
}

func toJSON(e events.Event) eventJSON {
	out := eventJSON{
		Cursor:   journal.Cursor{Epoch: e.Epoch, Position: e.Position}.String(),
		Position: e.Position, ID: e.ID, OutsideID: e.OutsideID(), Stream: e.Stream, StreamPosition: e.StreamPosition,
		Kind: e.Kind, SchemaVersion: e.SchemaVersion, RecordTime: e.RecordTime, ContentType: e.ContentType,
		PayloadDigest: e.PayloadDigest, Digest: e.Digest, RecordHash: e.RecordHash(),
		Correlation: e.Correlation, Extensions: e.Extensions, Trace: e.Trace,
	}
	if !e.Time.IsZero() {
		out.Time = &e.Time
	}
	out.SubjectKey = e.SubjectKey
	if e.PayloadState != events.PayloadHere {
		out.PayloadState = e.PayloadState.String()
	}
	if isJSON(e) {
		out.Payload = e.Payload
	} else {
		out.PayloadBase64 = e.Payload
	}
	for _, p := range e.Parents {
		out.Parents = append(out.Parents, parentJSON{p.ID, p.Digest, p.Position})
	}
	if !e.Trigger.IsZero() {
		out.Trigger = e.Trigger.String()
	}
	if e.Intent.Pending {
		out.Intent = &intentJSON{Pending: true}
	} else if !e.Intent.ID.IsZero() {
		out.Intent = &intentJSON{ID: e.Intent.ID.String(), Similarity: e.Intent.Similarity}
	}
	return out
}

func isJSON(e events.Event) bool {
	return len(e.Payload) > 0 && strings.Contains(e.ContentType, "json") && json.Valid(e.Payload)
}

// object prints one object as one line of JSON.
func (a *app) object(v any) error { return encodeLine(a.streams.Out, v) }

func encodeLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// name prints the name of one thing of a list, on a line of its own.
func (a *app) name(v any) error {
	_, err := fmt.Fprintln(a.streams.Out, printable(fmt.Sprint(v)))
	return err
}

// table returns a writer of aligned columns; flush it at the end.
func (a *app) table() *tabwriter.Writer { return newTable(a.streams.Out) }

func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 4, 2, ' ', 0) }

// parents lists the parents' short digests as people read them.
func parents(e events.Event) string {
	if len(e.Parents) == 0 {
		return "-"
	}
	short := make([]string, len(e.Parents))
	for i, p := range e.Parents {
		short[i] = p.Digest.Short()
	}
	return strings.Join(short, " ")
}

// printable keeps text from the journal from driving the terminal: control
// characters, and what is not UTF-8, are shown as escapes.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) || r == utf8.RuneError {
			fmt.Fprintf(&b, "\\u%04x", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
