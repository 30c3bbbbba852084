// Package compat holds the tests that keep this module's promises to those who
// use it across versions: the exported surface is what docs/api.txt says, and
// what earlier versions wrote still opens and reads the same. docs/compatibility.md
// states the policy.
//
// It does not judge whether a change is allowed: it shows that there is one. A
// change of the surface that is meant is recorded by make api; the journal of a
// new stored format by make golden.
package compat
