package events

import (
	"strings"
	"unicode"
)

// Pattern selects kinds by their dot-separated tokens: * stands for exactly
// one token, a trailing > for one or more. "order.*" matches order.placed but
// not order.item.added; "order.>" matches both; ">" matches every kind. The
// zero Pattern matches nothing.
type Pattern struct {
	text   string
	tokens []string
}

// ParsePattern reads a pattern and returns an *InvalidError if it is not one.
func ParsePattern(s string) (Pattern, error) {
	if err := CheckName("pattern", s); err != nil {
		return Pattern{}, err
	}
	tokens := strings.Split(s, ".")
	for i, tok := range tokens {
		switch {
		case tok == "":
			return Pattern{}, invalid("pattern", "%q has an empty token", clip(s))
		case tok == ">" && i != len(tokens)-1:
			return Pattern{}, invalid("pattern", "%q: > stands only at the end", clip(s))
		case tok == ">" || tok == "*":
		case strings.ContainsFunc(tok, func(r rune) bool { return r == '*' || r == '>' || unicode.IsSpace(r) }):
			return Pattern{}, invalid("pattern", "%q: * and > stand alone between dots, and white space is not allowed", clip(s))
		}
	}
	return Pattern{text: s, tokens: tokens}, nil
}

// MustPattern is ParsePattern for patterns written in the program; it panics
// if s is not a pattern.
func MustPattern(s string) Pattern {
	p, err := ParsePattern(s)
	if err != nil {
		panic("events: " + err.Error())
	}
	return p
}

// String returns the text that ParsePattern read.
func (p Pattern) String() string { return p.text }

// Literal returns the kind that p alone matches, if there is just one.
func (p Pattern) Literal() (kind string, ok bool) {
	for _, tok := range p.tokens {
		if tok == "*" || tok == ">" {
			return "", false
		}
	}
	return p.text, p.text != ""
}

// Match reports whether p selects kind. It allocates nothing.
func (p Pattern) Match(kind string) bool {
	rest, more := kind, true
	for _, want := range p.tokens {
		if !more {
			return false
		}
		if want == ">" {
			return true
		}
		var tok string
		tok, rest, more = strings.Cut(rest, ".")
		if want != "*" && want != tok {
			return false
		}
	}
	return len(p.tokens) > 0 && !more
}
