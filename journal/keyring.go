package journal

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/blake3"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/tokaworks/toka/events"
)

// keyring holds the keys that payloads are encrypted with, one for each
// subject. They lie in a directory of their own, in small files that are
// replaced whole: a storage engine would keep a deleted key in old tables and
// logs. What is left of an erased subject is a digest of its name, so that
// nothing is ever encrypted for it again.
type keyring struct {
	fs  vfs.FS
	dir string

	mu    sync.Mutex // guards what follows, and is held while a file is written
	keys  map[string]*subjectKey
	gone  map[[16]byte]bool
	files [][]string // lines by file; the last takes new ones
}

// subjectKey is a key and where it stands.
type subjectKey struct {
	secret [32]byte
	file   int
}

const (
	keysDir    = "keys"
	keysHeader = "toka keys 1"
	keysInFile = 256 // lines; a new key costs writing so many at most

	sealOverhead = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
)

func keyFileName(n int) string { return fmt.Sprintf("%06d", n) }

// goneID is what is kept of the name of a subject that was erased.
func goneID(subject string) [16]byte {
	var id [16]byte
	blake3.DeriveKey("toka 2026 name of an erased subject", []byte(subject), id[:])
	return id
}

// openKeyring reads the keys in dir, which need not exist.
func openKeyring(fsys vfs.FS, dir string) (*keyring, error) {
	k := &keyring{fs: fsys, dir: dir, keys: map[string]*subjectKey{}, gone: map[[16]byte]bool{}}
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasSuffix(name, ".new") {
			continue // a replacement that was cut off
		}
		if name != keyFileName(len(k.files)) {
			return nil, fmt.Errorf("%s: %w: it holds %q where %q was expected; restore the keys from a backup", dir, ErrCorrupt, name, keyFileName(len(k.files)))
		}
		path := fsys.PathJoin(dir, name)
		text, err := readText(fsys, path)
		if err == nil {
			err = k.parse(text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w; restore the keys from a backup", path, ErrCorrupt, err)
		}
	}
	return k, nil
}

func (k *keyring) parse(text string) error {
	lines := strings.Split(text, "\n")
	if n := len(lines); n < 3 || lines[0] != keysHeader || lines[n-1] != "" ||
		lines[n-2] != "check "+checkText(strings.Join(lines[:n-2], "\n")) {
		return errors.New("it is not as it was written")
	}
	lines = lines[1 : len(lines)-2]
	for _, line := range lines {
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "key":
			name64, secret64, _ := strings.Cut(rest, " ")
			name, err1 := base64.StdEncoding.DecodeString(name64)
			secret, err2 := base64.StdEncoding.DecodeString(secret64)
			if err1 != nil || err2 != nil || len(secret) != 32 {
				return errors.New("a key is not as it was written")
			}
			k.keys[string(name)] = &subjectKey{[32]byte(secret), len(k.files)}
		case "erased":
			id, err := hex.DecodeString(rest)
			if err != nil || len(id) != 16 {
				return errors.New("the trace of an erased key is not as it was written")
			}
			k.gone[[16]byte(id)] = true
		default:
			return fmt.Errorf("a line begins with %q", word)
		}
	}
	k.files = append(k.files, lines)
	return nil
}

func keyLine(subject string, secret [32]byte) string {
	return "key " + base64.StdEncoding.EncodeToString([]byte(subject)) + " " + base64.StdEncoding.EncodeToString(secret[:])
}

// write replaces a file. When it returns, what was in it before is no part of
// any file any more.
func (k *keyring) write(file int, lines []string) error {
	text := strings.Join(append([]string{keysHeader}, lines...), "\n")
	path := k.fs.PathJoin(k.dir, keyFileName(file))
	if err := (&store{dir: k.dir, fs: k.fs}).makeDir(); err != nil {
		return err
	}
	if err := replaceText(k.fs, path, text+"\ncheck "+checkText(text)+"\n"); err != nil {
		return err
	}
	return private(k.fs, path)
}

// get returns the key of a subject, and draws it if create is set. It is on
// disk before it is returned.
func (k *keyring) get(subject string, create bool) (secret [32]byte, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.keys[subject]; ok {
		return key.secret, nil
	}
	if k.gone[goneID(subject)] {
		return secret, fmt.Errorf("subject key %q: %w", subject, ErrErased)
	}
	if !create {
		return secret, fmt.Errorf("subject key %q: %w", subject, ErrNotFound)
	}
	_, _ = rand.Read(secret[:]) // never fails: it ends the process instead
	file := len(k.files) - 1
	if file < 0 || len(k.files[file]) >= keysInFile {
		file++
	}
	var lines []string
	if file < len(k.files) {
		lines = k.files[file]
	}
	lines = append(slices.Clone(lines), keyLine(subject, secret))
	if err := k.write(file, lines); err != nil {
		return secret, fmt.Errorf("subject key %q: cannot store it: %w", subject, err)
	}
	if file == len(k.files) {
		k.files = append(k.files, nil)
	}
	k.files[file] = lines
	k.keys[subject] = &subjectKey{secret, file}
	return secret, nil
}

// erase destroys the key of a subject.
func (k *keyring) erase(subject string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.keys[subject]
	if !ok {
		if k.gone[goneID(subject)] {
			return nil
		}
		return fmt.Errorf("subject key %q: %w", subject, ErrNotFound)
	}
	id := goneID(subject)
	lines := slices.Clone(k.files[key.file])
	lines[slices.Index(lines, keyLine(subject, key.secret))] = "erased " + hex.EncodeToString(id[:])
	if err := k.write(key.file, lines); err != nil {
		return fmt.Errorf("subject key %q: cannot erase it: %w", subject, err)
	}
	k.files[key.file] = lines
	k.gone[id] = true
	delete(k.keys, subject)
	clear(key.secret[:])
	return nil
}

// copyTo copies the files to a directory.
func (k *keyring) copyTo(dir string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	to := &keyring{fs: k.fs, dir: dir}
	for file, lines := range k.files {
		if err := to.write(file, lines); err != nil {
			return err
		}
	}
	return nil
}

// seal encrypts a payload for a subject: the same one always in the same way,
// so that the same event again is the same event, and for no other subject in
// that way.
func (k *keyring) seal(subject string, payload []byte) ([]byte, error) {
	if len(payload) == 0 {
		return nil, nil
	}
	if n := len(payload) + sealOverhead; n > events.MaxPayload {
		return nil, fmt.Errorf("payload: %w: %d bytes; under a subject key the limit is %d", events.ErrInvalid, len(payload), events.MaxPayload-sealOverhead)
	}
	secret, err := k.get(subject, true)
	if err != nil {
		return nil, err
	}
	var nonceKey, key [32]byte
	blake3.DeriveKey("toka 2026 nonce of a payload", secret[:], nonceKey[:])
	blake3.DeriveKey("toka 2026 key of a payload", secret[:], key[:])
	h, err := blake3.NewKeyed(nonceKey[:])
	if err != nil {
		return nil, err
	}
	_, _ = h.Write(payload)
	nonce := h.Sum(nil)[:chacha20poly1305.NonceSizeX]
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(slices.Clip(nonce), nonce, payload, []byte(subject)), nil
}

// open decrypts what seal made; state says why not.
func (k *keyring) open(subject string, sealed []byte) (payload []byte, state events.PayloadState, err error) {
	secret, err := k.get(subject, false)
	switch {
	case errors.Is(err, ErrErased):
		return nil, events.PayloadErased, nil
	case err != nil:
		return nil, events.PayloadSealed, nil
	case len(sealed) < sealOverhead:
		return nil, events.PayloadSealed, fmt.Errorf("%w: an encrypted payload of %d bytes", ErrCorrupt, len(sealed))
	}
	var key [32]byte
	blake3.DeriveKey("toka 2026 key of a payload", secret[:], key[:])
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		return nil, events.PayloadSealed, err
	}
	n := aead.NonceSize()
	payload, err = aead.Open(nil, sealed[:n], sealed[n:], []byte(subject))
	if err != nil {
		return nil, events.PayloadSealed, fmt.Errorf("%w: the payload cannot be decrypted with the key of subject %q", ErrCorrupt, subject)
	}
	return payload, events.PayloadHere, nil
}

// private keeps a file of the operating system from other users.
func private(fsys vfs.FS, path string) error {
	if fsys != vfs.Default {
		return nil
	}
	return os.Chmod(path, 0o600)
}
