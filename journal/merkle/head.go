package merkle

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// ErrSignature is wrapped by every error about a head that cannot be trusted:
// it was changed, or none of the given keys has signed it.
var ErrSignature = errors.New("head is not signed by a known key")

// ErrHead is wrapped by errors about text that is not a head.
var ErrHead = errors.New("not a head")

// ErrKey is wrapped by errors about text that is not a key.
var ErrKey = errors.New("not a key")

// Head commits to the first Size events of a journal.
type Head struct {
	Origin string // names the journal
	Size   uint64
	Root   Hash
}

// Text returns the three lines that are signed.
func (h Head) Text() string {
	return h.Origin + "\n" + strconv.FormatUint(h.Size, 10) + "\n" + h.Root.String() + "\n"
}

// ParseHead reads what Text wrote. Lines that follow are the signer's own
// business and skipped.
func ParseHead(text string) (Head, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 {
		return Head{}, fmt.Errorf("%w: %d lines where three were expected", ErrHead, len(lines)-1)
	}
	h := Head{Origin: lines[0]}
	if h.Origin == "" || !utf8.ValidString(h.Origin) {
		return Head{}, fmt.Errorf("%w: its first line names no journal", ErrHead)
	}
	var err error
	if h.Size, err = strconv.ParseUint(lines[1], 10, 64); err != nil || strconv.FormatUint(h.Size, 10) != lines[1] {
		return Head{}, fmt.Errorf("%w: its second line is %.64q, not a size", ErrHead, lines[1])
	}
	if err := h.Root.UnmarshalText([]byte(lines[2])); err != nil {
		return Head{}, fmt.Errorf("%w: its third line: %w", ErrHead, err)
	}
	return h, nil
}

// Key signs heads. It is a secret: whoever has it and the journal can write
// the journal anew.
type Key struct {
	signer note.Signer
	secret string
	public string
}

// NewKey draws a key. Its name is part of every signature; it may hold neither
// spaces nor '+'.
func NewKey(name string) (*Key, error) {
	if name == "" || strings.ContainsAny(name, " \t\r\n+") || !utf8.ValidString(name) {
		return nil, fmt.Errorf("%w: name %q: use a name without spaces and '+'", ErrKey, name)
	}
	secret, _, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, fmt.Errorf("draw a key: %w", err)
	}
	return ParseKey(secret)
}

// ParseKey reads a secret key, as Secret returns it.
func ParseKey(secret string) (*Key, error) {
	secret = strings.TrimSpace(secret)
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, fmt.Errorf("%w: want PRIVATE+KEY+NAME+HASH+BASE64", ErrKey)
	}
	// The note package has checked the form: one byte of algorithm, the seed.
	// A '+' further on is of the base64.
	b, err := base64.StdEncoding.DecodeString(strings.SplitN(secret, "+", 5)[4])
	if err != nil || len(b) != 1+ed25519.SeedSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrKey, len(b))
	}
	public, err := note.NewEd25519VerifierKey(signer.Name(), ed25519.NewKeyFromSeed(b[1:]).Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return &Key{signer: signer, secret: secret, public: public}, nil
}

// Secret returns the key's text form, to be kept.
func (k *Key) Secret() string { return k.secret }

// Public returns the text form of the key that verifies, to be given away.
func (k *Key) Public() string { return k.public }

// Sign returns h as a signed note.
func (k *Key) Sign(h Head) ([]byte, error) {
	if _, err := ParseHead(h.Text()); err != nil || strings.Contains(h.Origin, "\n") {
		return nil, fmt.Errorf("%w: origin %q", ErrHead, h.Origin)
	}
	b, err := note.Sign(&note.Note{Text: h.Text()}, k.signer)
	if err != nil {
		return nil, fmt.Errorf("sign a head: %w", err)
	}
	return b, nil
}

// Open returns the head in a signed note if one of the given public keys has
// signed it. Errors wrap ErrKey, ErrSignature or ErrHead.
func Open(signed []byte, public ...string) (Head, error) {
	verifiers := make([]note.Verifier, len(public))
	for i, text := range public {
		v, err := note.NewVerifier(strings.TrimSpace(text))
		if err != nil {
			return Head{}, fmt.Errorf("%w: want NAME+HASH+BASE64", ErrKey)
		}
		verifiers[i] = v
	}
	n, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return ParseHead(n.Text)
}
