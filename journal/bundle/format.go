package bundle

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/blake3"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/merkle"
)

// ErrBundle is wrapped by every error about bytes that are no bundle, or not
// the one that was exported.
var ErrBundle = errors.New("not a sound bundle")

// Part of the format; doc.go draws it.
const (
	magic    = "toka bundle 2\n"
	magicOld = "toka bundle 1\n" // without models and embeddings

	frameHead   = 'h'
	frameModel  = 'm'
	frameVector = 'v'
	frameEvent  = 'e'
	frameProof  = 'p'
	frameEnd    = 'z'

	maxHead   = 64 << 10
	maxModel  = binary.MaxVarintLen64 + 256
	maxVector = 2 * maxDimension
	maxEvent  = events.MaxPayload + 64<<10 // a record without its payload stays below 64 KiB
	maxProof  = 64 * 32

	maxDimension = 1 << 16
)

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBundle, fmt.Sprintf(format, args...))
}

// frameWriter writes frames and hashes what it writes.
type frameWriter struct {
	w    *bufio.Writer
	hash *blake3.Hasher
	head []byte
}

func newFrameWriter(w io.Writer) *frameWriter {
	f := &frameWriter{w: bufio.NewWriterSize(w, 64<<10), hash: blake3.New()}
	f.write([]byte(magic))
	return f
}

// write leaves errors to Flush, as a bufio.Writer does.
func (f *frameWriter) write(b []byte) {
	_, _ = f.hash.Write(b)
	_, _ = f.w.Write(b)
}

func (f *frameWriter) frame(kind byte, body []byte) {
	f.head = binary.AppendUvarint(append(f.head[:0], kind), uint64(len(body)))
	f.write(f.head)
	f.write(body)
}

func (f *frameWriter) end(events uint64) error {
	var before [32]byte
	f.hash.Sum(before[:0])
	f.frame(frameEnd, appendEnd(nil, events, before))
	return f.w.Flush()
}

// appendEnd appends the body of the last frame.
func appendEnd(b []byte, events uint64, before [32]byte) []byte {
	b = binary.AppendUvarint(b, events)
	return append(b, before[:]...)
}

// frameReader reads frames and hashes all that is before the one at hand.
type frameReader struct {
	r      *bufio.Reader
	hash   *blake3.Hasher
	offset int64 // of the frame at hand
	next   int64 // of the one after it
	before [32]byte
	body   bytes.Buffer
	old    bool // the format is the one without embeddings
}

func newFrameReader(r io.Reader) (*frameReader, error) {
	f := &frameReader{r: bufio.NewReaderSize(r, 64<<10), hash: blake3.New(), next: int64(len(magic))}
	b := make([]byte, len(magic))
	if _, err := io.ReadFull(f.r, b); err != nil && !short(err) {
		return nil, err
	}
	if f.old = string(b) == magicOld; !f.old && string(b) != magic {
		return nil, bad("it does not begin with %q or %q", magic, magicOld)
	}
	_, _ = f.hash.Write(b)
	return f, nil
}

func short(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// frame reads the next frame. body is valid until the next call. Memory grows
// with what is there, not with what a length claims.
func (f *frameReader) frame() (kind byte, body []byte, err error) {
	f.offset = f.next
	var head [1 + binary.MaxVarintLen64]byte
	n := 0
	for done := false; !done; n++ {
		if n == len(head) {
			return 0, nil, f.bad("a length that is none")
		}
		if head[n], err = f.r.ReadByte(); err != nil {
			return 0, nil, f.failed(err)
		}
		done = n > 0 && head[n] < 0x80
	}
	kind = head[0]
	size, w := binary.Uvarint(head[1:n])
	if w != n-1 || w > 1 && head[n-1] == 0 {
		return 0, nil, f.bad("a length that is none")
	}
	most := uint64(0)
	switch kind {
	case frameHead:
		most = maxHead
	case frameModel:
		most = maxModel
	case frameVector:
		most = maxVector
	case frameEvent:
		most = maxEvent
	case frameProof:
		most = maxProof
	case frameEnd:
		most = binary.MaxVarintLen64 + 32
	default:
		return 0, nil, f.bad("a frame of unknown kind %q", kind)
	}
	if size > most {
		return 0, nil, f.bad("a frame %q of %d bytes; the most is %d", kind, size, most)
	}
	f.body.Reset()
	if _, err := io.CopyN(&f.body, f.r, int64(size)); err != nil {
		return 0, nil, f.failed(err)
	}
	body = f.body.Bytes()
	f.hash.Sum(f.before[:0])
	_, _ = f.hash.Write(head[:n])
	_, _ = f.hash.Write(body)
	f.next += int64(n) + int64(size)
	return kind, body, nil
}

// ended checks that nothing follows.
func (f *frameReader) ended() error {
	switch _, err := f.r.ReadByte(); {
	case err == nil:
		return bad("bytes follow its end at byte %d", f.next)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

func (f *frameReader) failed(err error) error {
	if short(err) {
		return bad("it ends within the frame at byte %d", f.offset)
	}
	return err
}

func (f *frameReader) bad(format string, args ...any) error {
	return bad("at byte %d: %s", f.offset, fmt.Sprintf(format, args...))
}

// appendEvent appends the body of an event's frame: its position and its record,
// with the payload as it is stored.
func appendEvent(b []byte, position uint64, record []byte) []byte {
	return append(binary.AppendUvarint(b, position), record...)
}

// parseEvent reads what appendEvent wrote and computes its digests anew.
func parseEvent(b []byte) (events.Event, error) {
	position, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 || position == 0 {
		return events.Event{}, errors.New("an event without a position")
	}
	e, payloadAt, err := events.CheckRecord(position, b[n:])
	if err == nil && payloadAt != 0 {
		err = fmt.Errorf("position %d: the payload is not with the event", position)
	}
	return e, err
}

// appendModel appends the body of a model's frame.
func appendModel(b []byte, m journal.Model) []byte {
	return append(binary.AppendUvarint(b, uint64(m.Dimension)), m.Name...)
}

// parseModel reads what appendModel wrote.
func parseModel(b []byte) (m journal.Model, err error) {
	dimension, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 || dimension == 0 || dimension > maxDimension {
		return m, errors.New("a model without a dimension")
	}
	if m = (journal.Model{Name: string(b[n:]), Dimension: int(dimension)}); m.Name == "" {
		return m, nil // nobody named it
	}
	if err := events.CheckName("model", m.Name); err != nil {
		return m, err
	}
	if m.Name == journal.UnnamedModel {
		return m, fmt.Errorf("a model named %q", m.Name)
	}
	return m, nil
}

func appendProof(b []byte, proof []merkle.Hash) []byte {
	for i := range proof {
		b = append(b, proof[i][:]...)
	}
	return b
}

func parseProof(b []byte) ([]merkle.Hash, error) {
	if len(b)%32 != 0 {
		return nil, fmt.Errorf("a proof of %d bytes", len(b))
	}
	proof := make([]merkle.Hash, len(b)/32)
	for i := range proof {
		proof[i] = merkle.Hash(b[i*32:])
	}
	return proof, nil
}
