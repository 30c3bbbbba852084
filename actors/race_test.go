//go:build race

package actors_test

// underRace says that everything takes an order of magnitude longer.
const underRace = true
