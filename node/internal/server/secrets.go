package server

import (
	"bytes"
	"regexp"

	"github.com/tokaworks/toka/journal"
)

// secretShapes are forms that tokens and keys of widely used services have.
// What is in a journal stays there, so whoever runs it should know.
var secretShapes = regexp.MustCompile(`AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40}|glpat-[A-Za-z0-9_-]{20}|xox[abprs]-[A-Za-z0-9-]{10}|sk-(?:ant-|proj-)?[A-Za-z0-9_-]{32}|sk_live_[A-Za-z0-9]{16}|AIza[A-Za-z0-9_-]{35}|toka_[0-9a-f]{16}_[A-Za-z0-9_-]{43}|-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----`)

// secretBeginnings are found a hundred times faster than the shapes, and nearly
// every payload has none: matching shapes alone took half the time of an append.
var secretBeginnings = [...][]byte{
	[]byte("AKIA"), []byte("ASIA"), []byte("ghp_"), []byte("gho_"), []byte("ghu_"), []byte("ghs_"), []byte("ghr_"), []byte("github_pat_"),
	[]byte("glpat-"), []byte("xox"), []byte("sk-"), []byte("sk_live_"), []byte("AIza"), []byte("toka_"), []byte("PRIVATE KEY-----"),
}

func looksSecret(payload []byte) bool {
	for _, b := range secretBeginnings {
		if bytes.Contains(payload, b) {
			return secretShapes.Match(payload)
		}
	}
	return false
}

// warnSecrets says in the log which events seem to hold a secret, and not which
// secret.
func (s *Server) warnSecrets(r journal.Receipt) {
	if r.Duplicate {
		return
	}
	for i := range r.Events {
		e := &r.Events[i]
		if looksSecret(e.Payload) {
			s.log.Warn("a payload seems to hold a secret, and a journal keeps it: rotate the secret",
				"event", e.ID.String(), "stream", e.Stream, "position", e.Position)
		}
	}
}
