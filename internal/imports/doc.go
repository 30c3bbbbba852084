// Package imports holds the shape of the module by tests: which package may import
// which, and what an exported signature may mention. It contains no code that runs.
//
// # Guarantees
//
//   - Imports point in one direction, from cmd down to events, and each package has a
//     row in a table of all it may import: TestDirection.
//   - The actor library is imported by at most two files of actors: TestActorLibrary.
//   - Who imports journal or actors does not get the parts he may do without, such as
//     clustering and the command line, even indirectly: TestOptional.
//   - No exported signature of a public package mentions a third-party type, so each
//     library can be replaced without breaking a caller: TestSignatures.
//   - Each public package states what it guarantees and what it does not, and the tests
//     its text names exist: TestCharters.
//   - No file names the place or the proxy it was built with: TestNeutral.
//
// It does not look at test files, which may import anything, and it does not see types
// that an exported variable gets by inference from a function's result.
package imports
