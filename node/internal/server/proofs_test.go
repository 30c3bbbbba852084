package server_test

import (
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal/merkle"
	"github.com/tokaworks/toka/node/internal/server"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// TestProofsOverHTTP checks what is answered with nothing but the public key.
func TestProofsOverHTTP(t *testing.T) {
	key, err := merkle.NewKey("toka.example")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, server.Options{Key: key})
	r.diamond()
	var h, old server.Head
	r.do("GET", "/v1/head", "").decode(t, &h)
	r.do("GET", "/v1/head?size=4", "").decode(t, &old)
	signed, err := merkle.Open([]byte(h.Note), key.Public())
	if err != nil || signed.Size != 6 || signed.Root != h.Root || h.Size != 6 || old.Size != 4 || h.Public != key.Public() || h.Epoch != r.j.Epoch() {
		t.Fatalf("head %+v, %+v, %v", h, signed, err)
	}

	var p server.Proof
	r.do("GET", "/v1/events/c/proof", "").decode(t, &p)
	e, _, err := events.CheckRecord(p.Position, p.Record)
	if err != nil || e.OutsideID() != "c" || p.Proof != "inclusion" {
		t.Fatalf("%+v, %v", e, err)
	}
	if err := merkle.CheckInclusion(p.Path, h.Size, h.Root, p.Position-1, e.RecordHash()); err != nil {
		t.Error(err)
	}
	if err := merkle.CheckInclusion(p.Path, h.Size, h.Root, p.Position, e.RecordHash()); err == nil {
		t.Error("the proof holds for another position too")
	}
	var c server.Proof
	r.do("GET", "/v1/proofs/consistency?from=4", "").decode(t, &c)
	if err := merkle.CheckConsistency(c.Path, h.Size, h.Root, old.Size, old.Root); err != nil || c.Proof != "consistency" {
		t.Errorf("%+v, %v", c, err)
	}
	if older, err := merkle.Open([]byte(c.Older), key.Public()); err != nil || older.Root != old.Root {
		t.Errorf("%+v, %v", older, err)
	}
	for _, path := range []string{"/v1/head?size=7", "/v1/events/f/proof?size=3", "/v1/proofs/consistency?from=5&to=4", "/v1/proofs/consistency"} {
		r.do("GET", path, "").refusal(t, 422, "invalid")
	}
	_, text := r.token(auth.Token{Name: "some", Scopes: []auth.Scope{auth.Read}, Streams: []string{"mine"}})
	r.withToken(text).do("GET", "/v1/events/c/proof", "").refusal(t, 404, "not-found")
}

func TestUnsignedHead(t *testing.T) {
	r := start(t, server.Options{})
	var h server.Head
	r.do("GET", "/v1/head", "").decode(t, &h)
	if parsed, err := merkle.ParseHead(h.Note); err != nil || h.Public != "" || parsed.Size != 0 || h.Origin != r.j.Origin() {
		t.Errorf("%+v, %v", h, err)
	}
}
