package cloudevents

import (
	"slices"
	"strings"

	"github.com/tokaworks/toka/events"
)

// attribute is a member of the envelope that is read in a way of its own.
type attribute int

const (
	attrSpecVersion attribute = iota
	attrID
	attrSource
	attrType
	attrTime
	attrDataContentType
	attrData
	attrDataBase64
	attrCorrelationID
	attrTraceParent
	attrTokaParents
	attrTokaEmbedding
	attrTokaID
	attrTokaHash
	attrTokaIntent
	attributes // how many there are
)

var attributeNames = [attributes]string{
	"specversion", "id", "source", "type", "time", "datacontenttype", "data", "data_base64",
	"correlationid", "traceparent", "tokaparents", "tokaembedding", "tokaid", "tokahash", "tokaintent",
}

func (a attribute) String() string { return attributeNames[a] }

// envelope is a line taken apart: values as they are written, and the
// extensions as text.
type envelope struct {
	raw        [attributes][]byte // nil: absent
	extensions map[string]string
	size       int // bytes of extensions
}

// scan reads the whole line once.
func (v *envelope) scan(b []byte) error {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '{' {
		return invalid("line", "not a JSON object")
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		i++
	} else {
		for more := true; more; {
			name, at, err := scanName(b, i)
			if err != nil {
				return err
			}
			end, err := v.member(name, b, at)
			if err != nil {
				return err
			}
			i = skipSpace(b, end)
			switch {
			case i >= len(b):
				return notJSON(i, "it ends inside the object")
			case b[i] == '}':
				more = false
			case b[i] != ',':
				return notJSON(i, "a comma or } should stand here")
			default:
				i++
			}
			i = skipSpace(b, i)
		}
		i++
	}
	if i = skipSpace(b, i); i < len(b) {
		return notJSON(i, "more follows the object")
	}
	return nil
}

// member reads the value that begins at byte at and returns its end.
func (v *envelope) member(quoted, b []byte, at int) (end int, err error) {
	a, known := lookup(quoted[1 : len(quoted)-1])
	var name string
	if known {
		name = a.String()
	} else {
		// Escapes are resolved before names are compared: "\u0069d" is id.
		var ok bool
		if name, ok = unquote(quoted); !ok {
			return at, invalid("line", "half of a surrogate pair stands alone in a name")
		}
		if a, known = lookup([]byte(name)); !known {
			if err := checkExtensionName(name); err != nil {
				return at, err
			}
		}
	}
	// A nested value is refused before it is read, so that only data can be too
	// deep.
	if (!known || a != attrData) && at < len(b) && (b[at] == '{' || b[at] == '[') {
		return at, invalid(clip(name), "%s; a string is wanted", typeOf(b[at:]))
	}
	if end, err = scanValue(b, at, 0); err != nil {
		return end, err
	}
	raw := b[at:end:end]
	if !known {
		return end, v.extension(name, raw)
	}
	if v.raw[a] != nil {
		return end, twice(name)
	}
	v.raw[a] = raw
	return end, nil
}

func lookup(name []byte) (attribute, bool) {
	i := slices.Index(attributeNames[:], string(name))
	return attribute(i), i >= 0
}

func twice(name string) error { return invalid("line", "attribute %q stands there twice", clip(name)) }

func checkExtensionName(name string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		return invalid("line", "attribute %q: names are made of lower-case letters and digits", clip(name))
	}
	if strings.HasPrefix(name, "toka") {
		return invalid(clip(name), "attributes that begin with toka belong to the system")
	}
	if name == events.ExtOutsideID {
		return invalid(name, "the id is stored under this name; use another")
	}
	return nil
}

func (v *envelope) extension(name string, raw []byte) error {
	value, err := scalar(name, raw)
	if err != nil {
		return err
	}
	if name == "subject" || name == "dataschema" { // not extensions in the standard
		if raw[0] != '"' {
			return invalid(name, "%s; a string is wanted", typeOf(raw))
		}
		if value == "" {
			return invalid(name, "it is empty; leave it out")
		}
	}
	if _, ok := v.extensions[name]; ok {
		return twice(name)
	}
	// The exact check is the draft's. This one comes early, so that a line of
	// many cannot fill the memory, and leaves room for a sequence that is
	// dropped in the end.
	if v.size += len(name) + len(value); v.size > 2*events.MaxExtensions {
		return invalid("extensions", "over twice the limit of %d bytes at %q", events.MaxExtensions, clip(name))
	}
	if v.extensions == nil {
		v.extensions = make(map[string]string)
	}
	v.extensions[name] = value
	return nil
}

// scalar returns a string's text, or a number or boolean as it is written.
func scalar(name string, raw []byte) (string, error) {
	switch raw[0] {
	case '"':
		s, ok := unquote(raw)
		if !ok {
			return "", invalid(clip(name), "half of a surrogate pair stands alone")
		}
		return s, nil
	case 'n':
		return "", invalid(clip(name), "null; leave it out")
	}
	return string(raw), nil
}

// text returns the text of an attribute that must be a string, or "" if it is
// absent.
func (v *envelope) text(a attribute) (string, error) {
	raw := v.raw[a]
	if raw == nil {
		return "", nil
	}
	if raw[0] != '"' {
		return "", invalid(a.String(), "%s; a string is wanted", typeOf(raw))
	}
	return scalar(a.String(), raw)
}

func typeOf(raw []byte) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
