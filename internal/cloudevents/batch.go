package cloudevents

import (
	"fmt"
	"unicode/utf8"

	"github.com/tokaworks/toka/events"
)

// ParseBatch reads a JSON array of CloudEvents, at most limit of them. It keeps
// no reference to b. An error about one of them is an *events.InvalidError that
// names it by its place, from 1.
func ParseBatch(b []byte, limit int) ([]Incoming, error) {
	if !utf8.Valid(b) {
		return nil, invalid("line", "not UTF-8 at byte %d", validPrefix(b)+1)
	}
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '[' {
		return nil, invalid("line", "not a JSON array")
	}
	var out []Incoming
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		i++
	} else {
		for more := true; more; {
			if len(out) == limit {
				return nil, invalid("batch", "more than %d events", limit)
			}
			// The envelope and the array around it are one level each above data.
			end, err := scanValue(b, i, -2)
			if err != nil {
				return nil, inBatch(len(out), err)
			}
			in, err := parse(b[i:end])
			if err != nil {
				return nil, inBatch(len(out), err)
			}
			if out == nil { // the others are about as long
				out = make([]Incoming, 0, min(limit, (len(b)-i)/(end-i)+1))
			}
			out = append(out, in)
			i = skipSpace(b, end)
			switch {
			case i >= len(b):
				return nil, notJSON(i, "it ends inside the array")
			case b[i] == ']':
				more = false
			case b[i] != ',':
				return nil, notJSON(i, "a comma or ] should stand here")
			}
			i = skipSpace(b, i+1)
		}
	}
	if i = skipSpace(b, i); i < len(b) {
		return nil, notJSON(i, "more follows the array")
	}
	return out, nil
}

func inBatch(n int, err error) error {
	if e, ok := err.(*events.InvalidError); ok { //nolint:errorlint // Parse and scanValue return it as it is
		return &events.InvalidError{Field: e.Field, Reason: fmt.Sprintf("event %d: %s", n+1, e.Reason)}
	}
	return fmt.Errorf("event %d: %w", n+1, err)
}
