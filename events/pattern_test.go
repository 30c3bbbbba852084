package events_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
)

func TestPatternMatch(t *testing.T) {
	tests := []struct {
		pattern  string
		yes, not []string
	}{
		{"order.placed", []string{"order.placed"}, []string{"order", "order.placed.late", "order.place", "order.placed2", "Order.placed", "x.order.placed"}},
		{"order", []string{"order"}, []string{"order.placed", "orders", "x"}},
		{"*", []string{"order", "x"}, []string{"order.placed"}},
		{"order.*", []string{"order.placed", "order.paid"}, []string{"order", "order.item.added", "orders.placed"}},
		{"*.placed", []string{"order.placed"}, []string{"placed", "order.paid", "a.order.placed"}},
		{"order.*.added", []string{"order.item.added"}, []string{"order.added", "order.item.sub.added", "order.item.removed"}},
		{"*.*", []string{"order.placed"}, []string{"order", "order.item.added"}},
		{"order.>", []string{"order.placed", "order.item.added"}, []string{"order", "orders.placed", "x.order.placed"}},
		{"order.*.>", []string{"order.item.added", "order.a.b.c.d"}, []string{"order", "order.item"}},
		{">", []string{"order", "order.placed", "a.b.c.d.e"}, nil},
		{"*.>", []string{"order.placed", "a.b.c"}, []string{"order"}},
		{"заказ.*", []string{"заказ.размещён"}, []string{"заказ"}},
	}
	for _, tc := range tests {
		p := events.MustPattern(tc.pattern)
		if p.String() != tc.pattern {
			t.Errorf("String() = %q, want %q", p, tc.pattern)
		}
		for _, kind := range tc.yes {
			if !p.Match(kind) {
				t.Errorf("%q does not match %q", tc.pattern, kind)
			}
		}
		for _, kind := range tc.not {
			if p.Match(kind) {
				t.Errorf("%q matches %q", tc.pattern, kind)
			}
		}
		kind, literal := p.Literal()
		if want := !strings.ContainsAny(tc.pattern, "*>"); literal != want || literal && kind != tc.pattern || !literal && kind != "" {
			t.Errorf("%q: Literal() = %q, %v", tc.pattern, kind, literal)
		}
	}
	var zero events.Pattern
	if kind, ok := zero.Literal(); zero.Match("order") || zero.Match("") || zero.String() != "" || kind != "" || ok {
		t.Error("the zero pattern should match nothing and be none")
	}
}

func TestParsePatternRefuses(t *testing.T) {
	for _, s := range []string{
		"", ".", "a.", ".a", "a..b", ">.a", "a.>.b", ">.>", "a*", "*a", "a.b>", "**", "a.**", "a b", "a.\u2003", "a\n", "\xff",
		strings.Repeat("a", events.MaxName+1),
	} {
		p, err := events.ParsePattern(s)
		wantInvalid(t, err, "pattern")
		if p.String() != "" || p.Match("a") || p.Match("a.b") {
			t.Errorf("%q is refused, but the pattern beside the error matches", s)
		}
		mustPanic(t, "invalid pattern", func() { events.MustPattern(s) })
	}
}

// Every kind is a pattern that matches itself alone, and stays matched when
// tokens are replaced by * or the last ones by >.
func TestPatternProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind, other := drawKind(t), drawKind(t)
		literal := events.MustPattern(kind)
		if !literal.Match(kind) || literal.Match(other) != (kind == other) {
			t.Fatalf("%q as a pattern, against itself and %q", kind, other)
		}
		tokens := strings.Split(kind, ".")
		for i := range tokens {
			if rapid.Bool().Draw(t, "star") {
				tokens[i] = "*"
			}
		}
		if p := events.MustPattern(strings.Join(tokens, ".")); !p.Match(kind) || p.Match(kind+".more") {
			t.Fatalf("%q against %q", p, kind)
		}
		cut := rapid.IntRange(0, len(tokens)-1).Draw(t, "cut")
		p := events.MustPattern(strings.Join(append(tokens[:cut:cut], ">"), "."))
		if !p.Match(kind) || !p.Match(kind+".more") {
			t.Fatalf("%q against %q", p, kind)
		}
	})
}

func TestPatternMatchAllocatesNothing(t *testing.T) {
	for _, s := range []string{"order.placed", "order.*", "order.>", "*.*.*", ">"} {
		p := events.MustPattern(s)
		n := testing.AllocsPerRun(100, func() {
			p.Match("order.item.added")
			p.Match("order.placed")
		})
		if n != 0 {
			t.Errorf("%q: %v allocations", s, n)
		}
	}
}
