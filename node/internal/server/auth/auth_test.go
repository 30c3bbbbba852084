package auth_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/node/internal/server/auth"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func open(t *testing.T, dir string) *auth.Tokens {
	t.Helper()
	tokens, err := auth.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func create(t *testing.T, tokens *auth.Tokens, spec auth.Token) (auth.Token, string) {
	t.Helper()
	made, text, err := tokens.Create(spec, now)
	if err != nil {
		t.Fatal(err)
	}
	return made, text
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	tokens := open(t, dir)
	if tokens.Any() {
		t.Error("there are tokens in an empty directory")
	}
	until := now.Add(time.Hour)
	made, text := create(t, tokens, auth.Token{Name: "worker", Scopes: []auth.Scope{auth.Read}, Expires: &until})
	_, other := create(t, tokens, auth.Token{Name: "root", Scopes: []auth.Scope{auth.Admin}})

	tokens = open(t, dir) // as another process sees them
	p, err := tokens.Check(text, now)
	if err != nil || p.Name != "worker" || p.ID != made.ID || !p.May(auth.Read) || p.May(auth.Append) || p.May(auth.Admin) {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := tokens.Check(other, now); err != nil || !p.May(auth.Read) || !p.May(auth.Append) || !p.May(auth.Admin) {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := tokens.Check(text, until); !errors.Is(err, auth.ErrExpired) {
		t.Errorf("at its end: %v", err)
	}
	_, secretOfOther, _ := strings.Cut(strings.TrimPrefix(other, "toka_"), "_")
	for _, bad := range []string{
		"", "toka_", "toka__", text + "x", text[:len(text)-1], strings.ToUpper(text), strings.TrimPrefix(text, "toka_"),
		"toka_" + made.ID + "_", "toka_" + made.ID + "_" + secretOfOther, "toka_0000000000000000_" + secretOfOther,
	} {
		if p, err := tokens.Check(bad, now); !errors.Is(err, auth.ErrNobody) || p.May(auth.Read) {
			t.Errorf("%q: %+v, %v", bad, p, err)
		}
	}

	if _, err := tokens.Revoke("worker"); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Check(text, now); !errors.Is(err, auth.ErrNobody) {
		t.Errorf("revoked: %v", err)
	}
	if _, err := open(t, dir).Check(text, now); !errors.Is(err, auth.ErrNobody) {
		t.Errorf("revoked, by another process: %v", err)
	}
	if _, err := tokens.Revoke("worker"); !errors.Is(err, auth.ErrNoToken) {
		t.Errorf("%v", err)
	}
	if list := tokens.List(); len(list) != 1 || list[0].Name != "root" {
		t.Errorf("%+v", list)
	}
}

func TestSecretIsNotStored(t *testing.T) {
	dir := t.TempDir()
	_, text := create(t, open(t, dir), auth.Token{Name: "a", Scopes: []auth.Scope{auth.Read}})
	_, secret, _ := strings.Cut(strings.TrimPrefix(text, "toka_"), "_")
	b, err := os.ReadFile(filepath.Join(dir, auth.FileName))
	if err != nil || len(secret) < 43 || strings.Contains(string(b), secret) {
		t.Errorf("%v; the file holds %s", err, b)
	}
}

func TestFileIsPrivate(t *testing.T) {
	dir := t.TempDir()
	create(t, open(t, dir), auth.Token{Name: "a", Scopes: []auth.Scope{auth.Read}})
	info, err := os.Stat(filepath.Join(dir, auth.FileName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
	if err := os.WriteFile(filepath.Join(dir, auth.FileName), []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.Open(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestCovers(t *testing.T) {
	tokens := open(t, t.TempDir())
	_, text := create(t, tokens, auth.Token{
		Name: "a", Scopes: []auth.Scope{auth.Read}, Streams: []string{"order-*", "*/eu/*x", "stock"}, Kinds: []string{"order.*", "note.>"},
	})
	p, err := tokens.Check(text, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stream, kind string
		want         bool
	}{
		{"order-1", "order.placed", true},
		{"order-", "note.a.b", true},
		{"order", "order.placed", false},
		{"order-1", "order.item.added", false},
		{"order-1", "payment.made", false},
		{"stock", "order.placed", true},
		{"stock1", "order.placed", false},
		{"a/eu/bx", "order.placed", true},
		{"/eu/x", "order.placed", true},
		{"a/eu/b", "order.placed", false},
		{"/eux", "order.placed", false},
	} {
		if got := p.Covers(c.stream, c.kind); got != c.want {
			t.Errorf("%s %s: %v", c.stream, c.kind, got)
		}
	}
	if p.Everything() {
		t.Error("it covers everything")
	}
	var nobody auth.Principal
	if nobody.Covers("stock", "order.placed") || nobody.Everything() {
		t.Error("nobody sees something")
	}
	if all := auth.Local("socket"); !all.Everything() || !all.Covers("x", "y") {
		t.Error("the owner does not see everything")
	}
}

func TestRefusedSpecs(t *testing.T) {
	tokens := open(t, t.TempDir())
	for _, bad := range []auth.Token{
		{},
		{Name: "a"},
		{Name: "a", Scopes: []auth.Scope{"write"}},
		{Name: "a\n", Scopes: []auth.Scope{auth.Read}},
		{Name: "a", Scopes: []auth.Scope{auth.Read}, Kinds: []string{"a.>.b"}},
		{Name: "a", Scopes: []auth.Scope{auth.Read}, Streams: []string{""}},
		{Name: "a", Scopes: []auth.Scope{auth.Admin}, Streams: []string{"a"}},
	} {
		if _, _, err := tokens.Create(bad, now); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if tokens.Any() {
		t.Error("a refused token is there")
	}
}
