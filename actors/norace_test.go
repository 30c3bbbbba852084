//go:build !race

package actors_test

const underRace = false
