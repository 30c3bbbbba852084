package server_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/tokaworks/toka/node/internal/server"
)

// TestSecretsAreWarnedAbout holds that a payload with a secret of a known shape
// is named in the log, and that no payload is.
func TestSecretsAreWarnedAbout(t *testing.T) {
	var log bytes.Buffer // written by requests, one after the other
	r := start(t, server.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	secrets := []string{
		"AKIA" + strings.Repeat("A", 16), "ghp_" + strings.Repeat("a", 36), "glpat-" + strings.Repeat("a", 20), "sk_live_" + strings.Repeat("a", 16),
		"sk-ant-" + strings.Repeat("a", 32), "AIza" + strings.Repeat("a", 35), "-----BEGIN RSA PRIVATE KEY-----", "toka_" + strings.Repeat("0", 16) + "_" + strings.Repeat("a", 43),
		"xoxb-" + strings.Repeat("1", 10), "github_pat_" + strings.Repeat("a", 40),
	}
	for i, secret := range secrets {
		log.Reset()
		text := cloud("s", secret[:4]+string(rune('a'+i)), "a.b", `,"data":{"key":"`+secret+`"}`)
		if a := r.post(text); a.status != 201 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if got := log.String(); !strings.Contains(got, "seems to hold a secret") || strings.Contains(got, secret) {
			t.Errorf("%s: %s", secret, got)
		}
	}
	log.Reset()
	for i, harmless := range []string{"AKIA", "sk-short", "a toka_ of thanks", "PRIVATE KEY-----", ""} {
		if a := r.post(cloud("t", string(rune('a'+i)), "a.b", `,"data":{"text":"`+harmless+`"}`)); a.status != 201 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if log.Len() > 0 {
		t.Errorf("harmless payloads: %s", &log)
	}
}
