package cloudevents

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokaworks/toka/events"
)

// Incoming is what one line says.
type Incoming struct {
	Draft     events.Draft // without Parents; the ID is derived from Source and OutsideID
	Source    string
	OutsideID string
	// Parents are the tokens of tokaparents as given, each once, in order: the
	// id of an event, or the id that one had outside.
	Parents []string
}

// Parse reads one CloudEvent. It keeps no reference to line. Errors are
// ErrLineTooLong or an *events.InvalidError whose field is the attribute at
// fault, or "line" where it is no single one.
func Parse(line []byte) (Incoming, error) {
	if len(line) <= MaxLine && !utf8.Valid(line) {
		return Incoming{}, invalid("line", "not UTF-8 at byte %d", validPrefix(line)+1)
	}
	return parse(line)
}

// parse is Parse of a line that is UTF-8.
func parse(line []byte) (Incoming, error) {
	if len(line) > MaxLine {
		return Incoming{}, ErrLineTooLong
	}
	var v envelope
	if err := v.scan(line); err != nil {
		return Incoming{}, err
	}
	in, err := v.incoming()
	if err != nil {
		return Incoming{}, err // and not the part of it that was read
	}
	return in, nil
}

// validPrefix returns the length of the part of b before what is not UTF-8.
func validPrefix(b []byte) (n int) {
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		n += size
	}
	return n
}

// checkDraft holds d to the rules of the events package, under the names that
// its fields have in a line.
func checkDraft(d *events.Draft) error {
	err := d.Validate()
	if err == nil {
		err = d.CheckOutside()
	}
	e, ok := errors.AsType[*events.InvalidError](err)
	if !ok {
		return err
	}
	field := e.Field
	switch field {
	case "stream":
		field = "source"
	case "kind":
		field = "type"
	case "content type":
		field = "datacontenttype"
	case "correlation":
		field = "correlationid"
	case "trace":
		field = "traceparent"
	case "payload":
		field = "data"
	}
	return invalid(field, "%s", e.Reason)
}

func (v *envelope) incoming() (in Incoming, err error) {
	required := [...]struct {
		name attribute
		text *string
	}{{attrSource, &in.Source}, {attrID, &in.OutsideID}, {attrType, &in.Draft.Kind}}

	version, err := v.text(attrSpecVersion)
	switch {
	case err != nil:
		return in, err
	case v.raw[attrSpecVersion] == nil:
		return in, invalid("specversion", "it is missing; write 1.0")
	case version != "1.0":
		return in, invalid("specversion", "%q; only 1.0 is read", clip(version))
	}
	for _, r := range required {
		if *r.text, err = v.text(r.name); err != nil {
			return in, err
		}
		if v.raw[r.name] == nil {
			return in, invalid(r.name.String(), "it is missing")
		}
		if err = events.CheckName(r.name.String(), *r.text); err != nil {
			return in, err
		}
	}

	d := &in.Draft
	d.Stream, d.SchemaVersion = in.Source, 1
	for _, x := range [...]struct {
		name attribute
		text *string
	}{{attrCorrelationID, &d.Correlation}, {attrTraceParent, &d.Trace}} {
		if raw := v.raw[x.name]; raw != nil {
			if *x.text, err = scalar(x.name.String(), raw); err != nil {
				return in, err
			}
		}
	}
	if d.Time, err = v.time(); err != nil {
		return in, err
	}
	if d.ContentType, d.Payload, err = v.payload(); err != nil {
		return in, err
	}
	if d.Embedding, err = v.embedding(); err != nil {
		return in, err
	}
	if in.Parents, err = v.parents(); err != nil {
		return in, err
	}
	// Texts that the journal made; they say nothing about the draft.
	for _, a := range [...]attribute{attrTokaID, attrTokaHash, attrTokaIntent} {
		if _, err = v.text(a); err != nil {
			return in, err
		}
	}
	if v.raw[attrTokaHash] != nil && writtenSequence(v.extensions["sequence"]) {
		delete(v.extensions, "sequence")
	}
	d.Extensions = v.extensions
	if d.Extensions == nil {
		d.Extensions = make(map[string]string, 1)
	}
	d.Extensions[events.ExtOutsideID] = in.OutsideID
	if err = checkDraft(d); err != nil {
		return in, err
	}
	d.ID = events.IngestedID(in.Source, in.OutsideID)
	return in, nil
}

// optional returns the text of an attribute that may be absent but not empty.
func (v *envelope) optional(a attribute) (string, error) {
	s, err := v.text(a)
	if err == nil && s == "" && v.raw[a] != nil {
		return "", invalid(a.String(), "it is empty; leave it out")
	}
	return s, err
}

func (v *envelope) time() (time.Time, error) {
	s, err := v.optional(attrTime)
	if s == "" || err != nil {
		return time.Time{}, err
	}
	// RFC 3339 allows both letters in lower case; package time does not.
	t, ok := parseTime(strings.ToUpper(s))
	if !ok {
		if _, ok = parseTime(strings.ToUpper(s) + "Z"); ok {
			return time.Time{}, invalid("time", "%q has no zone; add Z or an offset such as +01:00", clip(s))
		}
		return time.Time{}, invalid("time", "%q is not in the form of RFC 3339, as 2012-11-24T03:14:12-08:00 is", clip(s))
	}
	if t.IsZero() {
		return time.Time{}, invalid("time", "%q stands for no time; leave it out", clip(s))
	}
	return t.UTC(), nil
}

// parseTime refuses four things that RFC 3339 does not allow and package time
// does: an hour of one digit, a decimal comma, and a zone of 24 hours or 60
// minutes and more.
func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || s[len("2006-01-02T1")] == ':' || s[len("2006-01-02T15:04:05")] == ',' {
		return time.Time{}, false
	}
	if zone := s[len(s)-len("07:00"):]; s[len(s)-1] != 'Z' && (zone[:2] >= "24" || zone[3:] >= "60") {
		return time.Time{}, false
	}
	return t, true
}

func (v *envelope) payload() (contentType string, payload []byte, err error) {
	contentType, err = v.optional(attrDataContentType)
	if err != nil {
		return "", nil, err
	}
	data, encoded := v.raw[attrData], v.raw[attrDataBase64]
	switch {
	case data != nil && encoded != nil:
		return "", nil, invalid("data", "data and data_base64 are both given; leave one out")
	case encoded != nil:
		s, err := v.text(attrDataBase64)
		if err != nil {
			return "", nil, err
		}
		payload, err = decodeBase64(attrDataBase64, s)
		return contentType, payload, err
	case data == nil:
		return contentType, nil, nil
	}
	if contentType == "" {
		contentType = events.ContentTypeJSON
	}
	if data[0] == '"' && !isJSON(contentType) {
		s, ok := unquote(data)
		if !ok {
			return "", nil, invalid("data", "half of a surrogate pair stands alone")
		}
		data = []byte(s)
	}
	if len(data) > events.MaxPayload {
		return "", nil, invalid("data", "%d bytes; the limit is %d", len(data), events.MaxPayload)
	}
	if len(data) == 0 {
		return contentType, nil, nil
	}
	return contentType, slices.Clone(data), nil
}

// isJSON reports whether a content type declares JSON, in the words of the
// CloudEvents JSON format: the subtype is json or ends in +json.
func isJSON(contentType string) bool {
	if contentType == events.ContentTypeJSON {
		return true
	}
	media, _, _ := strings.Cut(contentType, ";")
	_, subtype, ok := strings.Cut(strings.ToLower(strings.TrimSpace(media)), "/")
	return ok && (subtype == "json" || strings.HasSuffix(subtype, "+json"))
}

func decodeBase64(a attribute, s string) ([]byte, error) {
	// Package base64 passes over line breaks, which RFC 4648 says to refuse.
	if strings.ContainsAny(s, "\r\n") {
		return nil, invalid(a.String(), "not base64: it holds a line break")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	switch {
	case err != nil:
		return nil, invalid(a.String(), "not base64 with padding (RFC 4648, section 4)")
	case len(b) == 0:
		return nil, nil
	}
	return b, nil
}

func (v *envelope) embedding() ([]float32, error) {
	s, err := v.optional(attrTokaEmbedding)
	if s == "" || err != nil {
		return nil, err
	}
	b, err := decodeBase64(attrTokaEmbedding, s)
	if err != nil {
		return nil, err
	}
	if len(b)%4 != 0 {
		return nil, invalid("tokaembedding", "%d bytes; 32-bit floats make a multiple of 4", len(b))
	}
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		if f := float64(out[i]); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, invalid("tokaembedding", "number %d is not finite", i+1)
		}
	}
	return out, nil
}

func (v *envelope) parents() ([]string, error) {
	s, err := v.text(attrTokaParents)
	if s == "" || err != nil {
		return nil, err
	}
	// Other white space does not separate: an outside id may hold it.
	var out []string
	for token := range strings.SplitSeq(s, " ") {
		if token == "" || slices.Contains(out, token) {
			continue
		}
		if len(out) == events.MaxParents {
			return nil, invalid("tokaparents", "more than %d parents", events.MaxParents)
		}
		if err := events.CheckName("tokaparents", token); err != nil {
			return nil, err
		}
		out = append(out, token)
	}
	return out, nil
}

func invalid(field, format string, args ...any) error {
	return &events.InvalidError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// clip keeps errors short whatever the input was.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return s[:64] + "…"
}
