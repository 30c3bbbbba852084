package server

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/tokaworks/toka/internal/cloudevents"
)

// parseBinary reads an event whose attributes are ce- headers and whose data is
// the body. It is put into the structured form and read as that, so that both
// are held to the same rules.
func parseBinary(h http.Header, body []byte) (cloudevents.Incoming, error) {
	attributes := map[string]string{}
	for key, values := range h {
		name, ok := strings.CutPrefix(strings.ToLower(key), "ce-")
		if !ok {
			continue
		}
		if len(values) > 1 {
			return cloudevents.Incoming{}, problem(http.StatusBadRequest, "malformed", "header "+clip(key)+" stands there twice")
		}
		if name == "data" || name == "data_base64" || name == "datacontenttype" {
			return cloudevents.Incoming{}, problem(http.StatusBadRequest, "malformed", "header "+clip(key)+": the data is the body, and its type Content-Type")
		}
		value, err := url.PathUnescape(values[0])
		if err != nil {
			return cloudevents.Incoming{}, problem(http.StatusBadRequest, "malformed", "header "+clip(key)+" is not percent-encoded: "+err.Error())
		}
		attributes[name] = value
	}
	if t := h.Get("Content-Type"); t != "" && len(body) > 0 {
		attributes["datacontenttype"] = t
	}
	if len(body) > 0 {
		attributes["data_base64"] = base64.StdEncoding.EncodeToString(body)
	}
	// Encoding would put U+FFFD for what is not UTF-8, and different ids would
	// become the same.
	for name, value := range attributes {
		if strings.ToValidUTF8(value, "") != value {
			return cloudevents.Incoming{}, problem(http.StatusBadRequest, "malformed", "header ce-"+clip(name)+" is not UTF-8")
		}
	}
	text, err := json.Marshal(attributes)
	if err != nil {
		return cloudevents.Incoming{}, err
	}
	return cloudevents.Parse(text)
}
