//go:build race

package node_test

// raceEnabled makes long tests shorter: with the race detector the storage
// engine notes a stack for each table that it touches, and takes fifty times
// as long.
const raceEnabled = true
