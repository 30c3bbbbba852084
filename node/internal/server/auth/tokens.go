package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tokaworks/toka/events"
)

// FileName is the file of tokens in the directory of a journal.
const FileName = "TOKENS"

const prefix = "toka_"

// Errors of Check and Revoke.
var (
	// ErrNobody: the token is unknown, malformed or revoked.
	ErrNobody = errors.New("the token is not known here")
	// ErrExpired: the token was good once.
	ErrExpired = errors.New("the token has expired")
	// ErrNoToken: there is no such token to revoke.
	ErrNoToken = errors.New("no such token")
)

// Token is what is stored of a token.
type Token struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Scopes  []Scope    `json:"scopes"`
	Streams []string   `json:"streams,omitempty"` // globs; none: every stream
	Kinds   []string   `json:"kinds,omitempty"`   // patterns; none: every kind
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
}

// Validate names the first thing that is wrong with t.
func (t *Token) Validate() error {
	if err := events.CheckName("name", t.Name); err != nil {
		return err
	}
	if len(t.Scopes) == 0 {
		return errors.New("scopes: at least one of read, append and admin is needed")
	}
	for _, s := range t.Scopes {
		if _, err := ParseScope(string(s)); err != nil {
			return err
		}
	}
	for _, s := range t.Streams {
		if err := events.CheckName("stream", s); err != nil {
			return err
		}
	}
	_, err := t.patterns()
	if err == nil && slices.Contains(t.Scopes, Admin) && len(t.Streams)+len(t.Kinds) > 0 {
		err = errors.New("scope admin covers every stream and kind; leave out the patterns, or the scope")
	}
	return err
}

func (t *Token) patterns() ([]events.Pattern, error) {
	var out []events.Pattern
	for _, k := range t.Kinds {
		p, err := events.ParsePattern(k)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

type stored struct {
	Token
	Secret string `json:"sha256"` // of the secret, in hexadecimal
}

// Tokens is the file of tokens. It is safe for concurrent use by one process.
type Tokens struct {
	path string

	mu   sync.RWMutex
	byID map[string]stored
}

// Open reads the tokens of a directory. That there is no file means that there
// are none.
func Open(dir string) (*Tokens, error) {
	t := &Tokens{path: filepath.Join(dir, FileName), byID: map[string]stored{}}
	b, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	var all []stored
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("tokens: %s: %w; take a copy and remove it, then make the tokens anew", t.path, err)
	}
	for _, s := range all {
		if err := s.Validate(); err != nil {
			return nil, fmt.Errorf("tokens: %s: token %q: %w", t.path, s.ID, err)
		}
		t.byID[s.ID] = s
	}
	return t, nil
}

// CopyTo puts the tokens into another directory, if there are any.
func (t *Tokens) CopyTo(dir string) error {
	t.mu.RLock()
	other := &Tokens{path: filepath.Join(dir, FileName), byID: maps.Clone(t.byID)}
	t.mu.RUnlock()
	if len(other.byID) == 0 {
		return nil
	}
	return other.save()
}

// Any reports whether there is a token, expired or not.
func (t *Tokens) Any() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byID) > 0
}

// List returns the tokens, oldest first.
func (t *Tokens) List() []Token {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []Token
	for _, s := range t.sorted() {
		out = append(out, s.Token)
	}
	return out
}

// sorted is by time and id; t.mu is held.
func (t *Tokens) sorted() []stored {
	var out []stored
	for _, s := range t.byID {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b stored) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Create stores a token as spec says, with an id and a time of its own, and
// returns the text that a client presents. It cannot be had again.
func (t *Tokens) Create(spec Token, now time.Time) (Token, string, error) {
	if err := spec.Validate(); err != nil {
		return Token{}, "", err
	}
	var id [8]byte
	var secret [32]byte
	_, _ = rand.Read(id[:]) // never fails: it ends the process instead
	_, _ = rand.Read(secret[:])
	spec.ID, spec.Created = hex.EncodeToString(id[:]), now.UTC().Truncate(time.Second)
	text := base64.RawURLEncoding.EncodeToString(secret[:])
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[spec.ID] = stored{Token: spec, Secret: digest(text)}
	if err := t.save(); err != nil {
		delete(t.byID, spec.ID)
		return Token{}, "", err
	}
	return spec, prefix + spec.ID + "_" + text, nil
}

// Revoke ends the token with an id or a name; a name must be one token's only.
func (t *Tokens) Revoke(idOrName string) (Token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []stored
	for _, s := range t.byID {
		if s.ID == idOrName || s.Name == idOrName {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return Token{}, fmt.Errorf("%w as %q; token list shows them", ErrNoToken, idOrName)
	case 1:
	default:
		return Token{}, fmt.Errorf("%d tokens are named %q; give an id, token list shows them", len(found), idOrName)
	}
	delete(t.byID, found[0].ID)
	if err := t.save(); err != nil {
		t.byID[found[0].ID] = found[0]
		return Token{}, err
	}
	return found[0].Token, nil
}

// save replaces the file; t.mu is held.
func (t *Tokens) save() error {
	b, err := json.MarshalIndent(t.sorted(), "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(t.path), FileName+".*") // is 0600
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), t.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(t.path))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("tokens: %w", err)
	}
	return nil
}

// syncDir makes a rename last, so that a revoked token stays revoked.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Check returns the principal of what a client presented. The error wraps
// ErrNobody or ErrExpired.
func (t *Tokens) Check(presented string, now time.Time) (Principal, error) {
	id, secret, ok := strings.Cut(strings.TrimPrefix(presented, prefix), "_")
	if !ok || !strings.HasPrefix(presented, prefix) {
		return Principal{}, ErrNobody
	}
	t.mu.RLock()
	s, known := t.byID[id]
	t.mu.RUnlock()
	if subtle.ConstantTimeCompare([]byte(digest(secret)), []byte(s.Secret)) != 1 || !known {
		return Principal{}, ErrNobody
	}
	if s.Expires != nil && !now.Before(*s.Expires) {
		return Principal{}, fmt.Errorf("%w, at %s", ErrExpired, s.Expires.Format(time.RFC3339))
	}
	kinds, err := s.patterns()
	if err != nil {
		return Principal{}, ErrNobody
	}
	return Principal{Name: s.Name, ID: s.ID, scopes: s.Scopes, streams: s.Streams, kinds: kinds}, nil
}

// digest needs no slow hash: a secret has 256 random bits.
func digest(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:])
}
