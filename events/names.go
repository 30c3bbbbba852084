package events

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrInvalid is wrapped by every error that says an event, name or id breaks
// a rule of this package. Retrying the same value cannot succeed.
var ErrInvalid = errors.New("invalid event")

// InvalidError names the field at fault and the rule it breaks. It wraps
// ErrInvalid.
type InvalidError struct {
	Field  string
	Reason string
}

func (e *InvalidError) Error() string { return "invalid " + e.Field + ": " + e.Reason }

// Unwrap returns ErrInvalid.
func (e *InvalidError) Unwrap() error { return ErrInvalid }

func invalid(field, format string, args ...any) error {
	return &InvalidError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// CheckName checks a stream, agent, source or outside id: UTF-8, 1 to MaxName
// bytes, no control characters. Slashes and dots are ordinary. field is used
// in the error only.
func CheckName(field, name string) error {
	if name == "" {
		return invalid(field, "it is empty")
	}
	return checkOptional(field, name)
}

// CheckStream checks the name of a stream; see CheckName.
func CheckStream(name string) error { return CheckName("stream", name) }

func checkOptional(field, s string) error {
	if len(s) > MaxName {
		return invalid(field, "%d bytes, beginning %q; the limit is %d", len(s), clip(s), MaxName)
	}
	if plain(s) {
		return nil
	}
	if !utf8.ValidString(s) {
		return invalid(field, "%q is not UTF-8", clip(s))
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return invalid(field, "%q holds a control character", clip(s))
		}
	}
	return nil
}

// plain says whether s is printable ASCII, which nearly every name is: it
// breaks no rule about characters and is found out several times faster.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// plainKind says whether a kind is lower-case tokens and so breaks no rule.
func plainKind(s string) bool {
	last := byte('.')
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && c != '_' && (c != '.' || last == '.') {
			return false
		}
		last = c
	}
	return last != '.'
}

// CheckKind checks a kind: a name of dot-separated tokens, none empty and none
// holding white space or the pattern characters * and >.
func CheckKind(kind string) error {
	if len(kind) <= MaxName && plainKind(kind) {
		return nil
	}
	if err := CheckName("kind", kind); err != nil {
		return err
	}
	for tok := range strings.SplitSeq(kind, ".") {
		if tok == "" {
			return invalid("kind", "%q has an empty token; write tokens separated by single dots, as in order.placed", clip(kind))
		}
		if strings.ContainsFunc(tok, func(r rune) bool { return r == '*' || r == '>' || unicode.IsSpace(r) }) {
			return invalid("kind", "%q holds white space, * or >, which only patterns may", clip(kind))
		}
	}
	return nil
}

// SystemKind reports whether kind belongs to the system: it begins with
// "toka.".
func SystemKind(kind string) bool { return strings.HasPrefix(kind, "toka.") }

// SystemStream reports whether a stream belongs to the system: its name
// begins with "$".
func SystemStream(name string) bool { return strings.HasPrefix(name, "$") }

// CheckOutside refuses what only the system may write: system kinds, system
// streams and extension keys that begin with "toka".
func (d *Draft) CheckOutside() error {
	if SystemKind(d.Kind) {
		return invalid("kind", "%q: kinds that begin with toka. belong to the system", clip(d.Kind))
	}
	if SystemStream(d.Stream) {
		return invalid("stream", "%q: streams that begin with $ belong to the system", clip(d.Stream))
	}
	for k := range d.Extensions {
		if strings.HasPrefix(k, "toka") {
			return invalid("extensions", "%q: keys that begin with toka belong to the system", clip(k))
		}
	}
	return nil
}

func checkExtensions(ext map[string]string) error {
	if len(ext) == 0 {
		return nil
	}
	n := 0
	for k, v := range ext {
		n += len(k) + len(v)
		if err := checkExtension(k, v); err != nil {
			return err
		}
	}
	if n > MaxExtensions {
		return invalid("extensions", "%d bytes; the limit is %d", n, MaxExtensions)
	}
	return nil
}

// checkExtension holds keys to what CloudEvents 1.0 allows as an attribute
// name (lower-case letters and digits), so that every extension can leave
// again in that form.
func checkExtension(k, v string) error {
	if k == "" || len(k) > 64 {
		return invalid("extensions", "key %q: 1 to 64 bytes are allowed", clip(k))
	}
	for _, c := range []byte(k) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return invalid("extensions", "key %q: lower-case letters and digits are allowed", clip(k))
		}
	}
	if !utf8.ValidString(v) {
		return invalid("extensions", "the value of %q is not UTF-8", k)
	}
	return nil
}

// checkTime bounds event times to what RFC 3339 can write, so that every time
// that goes in can be shown.
func checkTime(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return invalid("time", "year %d; RFC 3339 allows 1 to 9999", y)
	}
	return nil
}
