// Package authority lets packages of this module act as the system where they
// write to a journal: system kinds, system streams and the extension keys that
// are refused from outside. It can be imported by this module only, which is
// its whole point.
//
// It does not authenticate anybody and knows nothing about users.
package authority

// Token says on whose behalf something is written. The zero Token is the
// outside world.
type Token struct{ system bool }

// System returns the token of the system itself.
func System() Token { return Token{system: true} }

// IsSystem reports whether t was made by System.
func (t Token) IsSystem() bool { return t.system }
