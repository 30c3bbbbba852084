// Package auth keeps the tokens of a node: who may read, append or administer,
// and which streams and kinds that covers. It is all in one file beside the
// journal, which holds digests of the secrets and never the secrets.
//
// # Guarantees
//
//   - A secret is shown once, when its token is made, and is nowhere stored
//     (TestSecretIsNotStored). It has 256 random bits.
//   - A token that is unknown, expired, revoked or malformed is nobody's
//     (TestCheck), and comparing takes the same time whatever the secret.
//   - A token covers what its patterns match and nothing else (TestCovers).
//   - The file is replaced whole and is readable by its owner only
//     (TestFileIsPrivate).
//
// # What it does not do
//
// It does not listen, and it does not know what a route needs: that is for
// package server. It does not encrypt: who reads the file learns names and
// scopes, and no secret.
package auth
