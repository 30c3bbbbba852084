package auth

import (
	"fmt"
	"strings"

	"github.com/tokaworks/toka/events"
)

// Scope is what a request needs.
type Scope string

// Scopes. Admin covers the other two.
const (
	Read   Scope = "read"
	Append Scope = "append"
	Admin  Scope = "admin"
)

// ParseScope reads a scope.
func ParseScope(s string) (Scope, error) {
	switch sc := Scope(s); sc {
	case Read, Append, Admin:
		return sc, nil
	}
	return "", fmt.Errorf("scope %q: use read, append or admin", s)
}

// Principal is on whose behalf a request is made. The zero Principal may do
// nothing.
type Principal struct {
	Name    string // of the token, or of what stands for one
	ID      string // of the token; empty for one who needs none
	scopes  []Scope
	streams []string // globs; none: every stream
	kinds   []events.Pattern
}

// Local returns the principal of who needs no token: the owner of the machine
// at the socket, or anybody on loopback while there is no token.
func Local(name string) Principal { return Principal{Name: name, scopes: []Scope{Admin}} }

// May reports whether the principal has a scope.
func (p *Principal) May(s Scope) bool {
	for _, has := range p.scopes {
		if has == s || has == Admin {
			return true
		}
	}
	return false
}

// Covers reports whether events of that stream and kind are the principal's.
func (p *Principal) Covers(stream, kind string) bool {
	return p.CoversStream(stream) && p.coversKind(kind)
}

// CoversStream reports whether some events of a stream may be the principal's.
func (p *Principal) CoversStream(stream string) bool {
	if len(p.scopes) == 0 {
		return false
	}
	if len(p.streams) == 0 {
		return true
	}
	for _, glob := range p.streams {
		if matchGlob(glob, stream) {
			return true
		}
	}
	return false
}

func (p *Principal) coversKind(kind string) bool {
	if len(p.kinds) == 0 {
		return true
	}
	for _, k := range p.kinds {
		if k.Match(kind) {
			return true
		}
	}
	return false
}

// EveryKind reports whether no kind is kept from the principal.
func (p *Principal) EveryKind() bool { return len(p.scopes) > 0 && len(p.kinds) == 0 }

// Everything reports whether no stream and no kind is kept from the principal.
// What shows more than single events needs it.
func (p *Principal) Everything() bool {
	return len(p.scopes) > 0 && len(p.streams) == 0 && len(p.kinds) == 0
}

// matchGlob matches a whole name; * stands for any text, also none.
func matchGlob(glob, name string) bool {
	head, rest, star := strings.Cut(glob, "*")
	if !star {
		return glob == name
	}
	if !strings.HasPrefix(name, head) {
		return false
	}
	name = name[len(head):]
	for {
		part, more, again := strings.Cut(rest, "*")
		if !again {
			return strings.HasSuffix(name, part)
		}
		at := strings.Index(name, part)
		if at < 0 {
			return false
		}
		name, rest = name[at+len(part):], more
	}
}
