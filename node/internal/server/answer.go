package server

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// answerAppended answers an append. It writes what encoding Appended would, but
// without reflection: this is what a node does most.
func answerAppended(w http.ResponseWriter, single bool, receipt journal.Receipt) error {
	body := appendAppended(make([]byte, 0, 64+384*len(receipt.Events)), receipt)
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))} // long ones would go in chunks
	if single {
		h["Location"] = []string{"/v1/events/" + receipt.Events[0].ID.String()}
	}
	status := http.StatusCreated
	if receipt.Duplicate {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone; the events are stored
	return nil
}

func appendAppended(dst []byte, receipt journal.Receipt) []byte {
	dst = strconv.AppendBool(append(dst, `{"duplicate":`...), receipt.Duplicate)
	dst = append(dst, `,"events":[`...)
	for i := range receipt.Events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendStored(dst, &receipt.Events[i])
	}
	return append(dst, "]}\n"...)
}

// appendStored writes what encoding asStored would.
func appendStored(dst []byte, e *events.Event) []byte {
	dst = strconv.AppendUint(append(dst, `{"cursor":"`...), uint64(e.Epoch), 10)
	dst = strconv.AppendUint(append(dst, '-'), e.Position, 10)
	dst = strconv.AppendUint(append(dst, `","position":`...), e.Position, 10)
	dst = appendID(append(dst, `,"id":`...), e.ID)
	if id := e.OutsideID(); id != "" {
		dst = appendText(append(dst, `,"outside_id":`...), id)
	}
	dst = appendText(append(dst, `,"kind":`...), e.Kind)
	dst = appendText(append(dst, `,"stream":`...), e.Stream)
	dst = strconv.AppendUint(append(dst, `,"stream_position":`...), e.StreamPosition, 10)
	dst = hex.AppendEncode(append(dst, `,"digest":"`...), e.Digest[:])
	dst = append(dst, '"')
	if !e.Intent.ID.IsZero() {
		dst = appendID(append(dst, `,"intent":`...), e.Intent.ID)
	}
	if e.Intent.Pending {
		dst = append(dst, `,"intent_pending":true`...)
	}
	return append(dst, '}')
}

func appendID(dst []byte, id events.ID) []byte {
	dst = append(dst, '"')
	for i, end := range [...]int{4, 6, 8, 10, 16} {
		start := 0
		if i > 0 {
			dst = append(dst, '-')
			start = 2 + 2*i
		}
		dst = hex.AppendEncode(dst, id[start:end])
	}
	return append(dst, '"')
}

// appendText writes a JSON string. Nearly all names need no escapes.
func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, err := json.Marshal(s)
			if err != nil {
				panic("server: " + err.Error()) // it is text
			}
			return append(dst, text...)
		}
	}
	dst = append(append(dst, '"'), s...)
	return append(dst, '"')
}
