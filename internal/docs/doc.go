// Package docs holds the documents to what they say, by tests: every block of
// Go is a program that compiles and runs, every command line is run. It
// contains no code that runs.
package docs
