package cloudevents

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects in data may be nested.
const MaxDepth = 64

// The scanner below finds where values begin and end and refuses what is not
// JSON (RFC 8259). encoding/json is not used for it: it takes the last of
// repeated names, matches them without regard to case and puts U+FFFD for what
// it cannot decode; and only to split an envelope into raw values takes it
// twice the time of all of Parse (BenchmarkParse).

func notJSON(at int, reason string) error {
	return invalid("line", "not JSON at byte %d: %s", at+1, reason)
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// scanValue returns the end of the value that begins at i, inside depth arrays
// and objects.
func scanValue(b []byte, i, depth int) (end int, err error) {
	if i >= len(b) {
		return i, notJSON(i, "it ends where a value should stand")
	}
	switch c := b[i]; {
	case c == '"':
		return scanString(b, i)
	case c == '{' || c == '[':
		return scanContainer(b, i, depth)
	case c == '-' || isDigit(c):
		return scanNumber(b, i)
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(b[i:], []byte(word)) {
			return i + len(word), nil
		}
	}
	return i, notJSON(i, "a value should stand here")
}

func scanContainer(b []byte, i, depth int) (end int, err error) {
	if depth >= MaxDepth {
		return i, invalid("data", "nested deeper than %d levels", MaxDepth)
	}
	object := b[i] == '{'
	closing := byte(']')
	if object {
		closing = '}'
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == closing {
		return i + 1, nil
	}
	for {
		if object {
			if _, i, err = scanName(b, i); err != nil {
				return i, err
			}
		}
		if i, err = scanValue(b, i, depth+1); err != nil {
			return i, err
		}
		i = skipSpace(b, i)
		switch {
		case i >= len(b):
			return i, notJSON(i, "it ends inside an object or array")
		case b[i] == closing:
			return i + 1, nil
		case b[i] != ',':
			return i, notJSON(i, "a comma or "+string(rune(closing))+" should stand here")
		}
		i = skipSpace(b, i+1)
	}
}

// scanName reads a name and its colon. It returns the name as written, with
// its quotes, and where its value begins.
func scanName(b []byte, i int) (name []byte, value int, err error) {
	if i >= len(b) || b[i] != '"' {
		return nil, i, notJSON(i, "a name in quotes should stand here")
	}
	end, err := scanString(b, i)
	if err != nil {
		return nil, end, err
	}
	colon := skipSpace(b, end)
	if colon >= len(b) || b[colon] != ':' {
		return nil, colon, notJSON(colon, "a colon should stand here")
	}
	return b[i:end], skipSpace(b, colon+1), nil
}

func scanString(b []byte, i int) (end int, err error) {
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c < ' ':
			return i, notJSON(i, "a control character in a string must be escaped")
		case c == '\\':
			i++
			if i < len(b) && b[i] == 'u' {
				if _, ok := hex4(b[i+1:]); !ok {
					return i, notJSON(i, `\u needs four hexadecimal digits`)
				}
				i += 4
			} else if i < len(b) && unescaped(b[i]) == 0 {
				return i, notJSON(i, "unknown escape in a string")
			}
		}
	}
	return len(b), notJSON(len(b), "it ends inside a string")
}

func scanNumber(b []byte, i int) (end int, err error) {
	if b[i] == '-' {
		i++
	}
	whole := i
	i = skipDigits(b, i)
	if i == whole {
		return i, notJSON(i, "a digit should stand here")
	}
	if b[whole] == '0' {
		i = whole + 1 // a digit after it is then out of place
	}
	if i < len(b) && b[i] == '.' {
		from := i + 1
		if i = skipDigits(b, from); i == from {
			return i, notJSON(i, "a digit should stand here")
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		from := i
		if i = skipDigits(b, from); i == from {
			return i, notJSON(i, "a digit should stand here")
		}
	}
	return i, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func skipDigits(b []byte, i int) int {
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i
}

// unescaped returns what a backslash and c stand for, or 0 if they are no
// escape (or \u).
func unescaped(c byte) byte {
	switch c {
	case '"', '\\', '/':
		return c
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return 0
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unquote returns the text of a string that scanString has accepted. It is not
// ok if half of a surrogate pair stands alone: encoding/json would put U+FFFD
// in its place, which makes different ids the same.
func unquote(raw []byte) (text string, ok bool) {
	raw = raw[1 : len(raw)-1]
	at := bytes.IndexByte(raw, '\\')
	if at < 0 {
		return string(raw), true
	}
	var s strings.Builder
	s.Grow(len(raw))
	for ; at >= 0; at = bytes.IndexByte(raw, '\\') {
		s.Write(raw[:at])
		c := raw[at+1]
		raw = raw[at+2:]
		if c != 'u' {
			s.WriteByte(unescaped(c))
			continue
		}
		r, _ := hex4(raw)
		raw = raw[4:]
		if utf16.IsSurrogate(r) {
			if !bytes.HasPrefix(raw, []byte(`\u`)) {
				return "", false
			}
			low, _ := hex4(raw[2:])
			raw = raw[6:]
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return "", false
			}
		}
		s.WriteRune(r)
	}
	s.Write(raw)
	return s.String(), true
}

// inlineJSON reports whether b can stand in a line as the value of data and be
// read as the same bytes: one JSON value and nothing around it, without line
// breaks, no deeper than Parse allows.
func inlineJSON(b []byte) bool {
	if len(b) == 0 || bytes.IndexByte(b, '\n') >= 0 || bytes.IndexByte(b, '\r') >= 0 || !utf8.Valid(b) {
		return false
	}
	end, err := scanValue(b, 0, 0)
	return err == nil && end == len(b)
}

// appendQuoted appends s as a JSON string. What is not UTF-8 in it becomes
// U+FFFD.
func appendQuoted(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendEscaped(dst, s)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

func appendEscaped(dst []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string in a buffer: there is nothing to fail
	return append(dst, bytes.TrimSuffix(buf.Bytes(), []byte{'\n'})...)
}
