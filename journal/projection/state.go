package projection

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/tokaworks/toka/events"
)

// Fold says how a State comes about.
type Fold[S any] struct {
	// Schema names the form of S and the fold; a file of another schema is not
	// read.
	Schema string
	// New returns the state before the first event.
	New func() S
	// Fold returns the state after e. It may change s and return it. It is
	// pure; if it returns an error it leaves s as it was.
	Fold func(s S, e events.Event) (S, error)

	// Encode and Decode write and read a state; nil is JSON.
	Encode func(S) ([]byte, error)
	Decode func([]byte) (S, error)

	// SaveEvery is after how many positions of the journal the state is
	// written, besides on Close. Default 16,384.
	SaveEvery uint64
}

// State is a Model in memory, with a file that is replaced whole. View is safe
// for concurrent use.
type State[S any] struct {
	path string // empty: no file
	fold Fold[S]

	saved uint64 // owned by whoever calls the Model's methods
	ready bool

	mu    sync.RWMutex
	state S
	place Place
}

// NewState returns a state that is kept in a file, or in memory alone if path
// is empty. The file is read when the projection starts.
func NewState[S any](path string, fold Fold[S]) *State[S] {
	if fold.Encode == nil {
		fold.Encode = func(s S) ([]byte, error) { return json.Marshal(s) }
	}
	if fold.Decode == nil {
		fold.Decode = func(b []byte) (s S, err error) {
			s = fold.New()
			return s, json.Unmarshal(b, &s)
		}
	}
	if fold.SaveEvery == 0 {
		fold.SaveEvery = 16 << 10
	}
	return &State[S]{path: path, fold: fold, state: fold.New()}
}

// View calls f with the state; f must not keep it nor change it, and holds the
// fold up while it runs.
func (s *State[S]) View(f func(state S)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f(s.state)
}

// Place implements Model. It reads the file the first time.
func (s *State[S]) Place(context.Context) (Place, error) {
	if !s.ready && s.path != "" {
		b, err := os.ReadFile(s.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Place{}, err
		}
		if state, place, ok := s.decode(b); err == nil && ok {
			s.mu.Lock()
			s.state, s.place, s.saved = state, place, place.Position
			s.mu.Unlock()
		}
	}
	s.ready = true
	return s.place, nil
}

// Apply implements Model.
func (s *State[S]) Apply(_ context.Context, es []events.Event, to Place) error {
	s.mu.Lock()
	err := s.take(es)
	if err == nil {
		s.place = to
	}
	s.mu.Unlock()
	if err == nil && to.Position-s.saved >= s.fold.SaveEvery {
		err = s.save()
	}
	return err
}

// take folds events, and stands after the last one that went well.
func (s *State[S]) take(es []events.Event) (err error) {
	var at events.Event
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("projection: fold of event %s at position %d: panic: %v", at.ID, at.Position, r)
		}
	}()
	for _, at = range es {
		next, err := s.fold.Fold(s.state, at)
		if err != nil {
			return fmt.Errorf("projection: fold of event %s at position %d: %w", at.ID, at.Position, err)
		}
		s.state, s.place = next, Place{Position: at.Position, Digest: at.Digest}
	}
	return nil
}

// Reset implements Model.
func (s *State[S]) Reset(context.Context) error {
	s.mu.Lock()
	s.state, s.place = s.fold.New(), Place{}
	s.mu.Unlock()
	s.saved, s.ready = 0, true
	if s.path == "" {
		return nil
	}
	if err := os.Remove(s.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Close implements Model: it writes the file.
func (s *State[S]) Close() error {
	if s.place.Position == s.saved {
		return nil
	}
	return s.save()
}

// The file: magic, checksum over what follows, position, digest, schema with
// its length, state.
const magic = "toka projection 1\n"

func (s *State[S]) save() error {
	if s.path == "" {
		return nil
	}
	state, err := s.fold.Encode(s.state)
	if err != nil {
		return fmt.Errorf("projection: encode: %w", err)
	}
	b := binary.BigEndian.AppendUint64(nil, s.place.Position)
	b = append(b, s.place.Digest[:]...)
	b = binary.AppendUvarint(b, uint64(len(s.fold.Schema)))
	b = append(append(b, s.fold.Schema...), state...)
	sum := sha256.Sum256(b)
	if err := replaceFile(s.path, append(append([]byte(magic), sum[:]...), b...)); err != nil {
		return fmt.Errorf("projection: %w", err)
	}
	s.saved = s.place.Position
	return nil
}

func (s *State[S]) decode(b []byte) (state S, place Place, ok bool) {
	if len(b) < len(magic)+32+8+32+1 || string(b[:len(magic)]) != magic {
		return state, place, false
	}
	b = b[len(magic):]
	if sha256.Sum256(b[32:]) != [32]byte(b) {
		return state, place, false
	}
	b = b[32:]
	place = Place{Position: binary.BigEndian.Uint64(b), Digest: events.Digest(b[8:40])}
	n, w := binary.Uvarint(b[40:])
	if w <= 0 || n > uint64(len(b)-40-w) || string(b[40+w:40+w+int(n)]) != s.fold.Schema {
		return state, place, false
	}
	state, err := s.fold.Decode(b[40+w+int(n):])
	return state, place, err == nil
}

// replaceFile writes a file whole: after a crash there is the old one or the
// new one.
func replaceFile(path string, b []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
