//go:build race

package journal_test

// underRace tells tests to try a fixed part of what they try otherwise: the
// engine checks its own reference counts under the race detector, which makes
// each look-up some twenty times slower.
const underRace = true
