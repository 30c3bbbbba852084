package cloudevents

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// MaxLine is how long a line may be, without its line break. A payload of the
// largest size fits, in base64 too.
const MaxLine = 4 << 20

// ErrLineTooLong is returned by Reader.Next and by Parse for a line of more
// than MaxLine bytes.
var ErrLineTooLong = errors.New("line is longer than 4 MiB")

// Reader reads lines from plain or gzip input. It is for one goroutine, but
// for Consumed.
type Reader struct {
	input  *counter
	packed bool
	lines  *bufio.Reader // over input, or over what is unpacked from it

	number int
	long   []byte // a line that does not fit lines' buffer
	err    error  // the end; returned for ever after
}

// counter counts the bytes that are read through it.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// NewReader waits for the first bytes of r to see whether it is compressed.
// It fails if r does, or if a gzip header is damaged. A byte order mark at the
// beginning of the text is passed over.
func NewReader(r io.Reader) (*Reader, error) {
	input := &counter{r: r}
	lines := bufio.NewReaderSize(input, 64<<10)
	// No text begins with these bytes: they are not UTF-8.
	magic, err := lines.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read input: %w", err)
	}
	packed := bytes.Equal(magic, []byte{0x1f, 0x8b})
	if packed {
		z, err := gzip.NewReader(lines)
		if err != nil {
			return nil, fmt.Errorf("read input: %w", unpackError(err))
		}
		lines = bufio.NewReaderSize(z, 64<<10)
	}
	if b, _ := lines.Peek(1); len(b) == 1 && b[0] == 0xef {
		if b, _ = lines.Peek(3); bytes.Equal(b, []byte("\ufeff")) {
			_, _ = lines.Discard(3) // they are in the buffer
		}
	}
	return &Reader{input: input, packed: packed, lines: lines}, nil
}

// Consumed returns how many bytes of the input, as it is stored, have been
// read so far; at the end that is all of them. It may be called from another
// goroutine.
func (r *Reader) Consumed() int64 { return r.input.n.Load() }

// Next returns the next line that is not blank, without its line break, and
// its number, which counts from 1 and counts blank lines. The line is valid
// until the next call.
//
// After ErrLineTooLong, with the number of the line, the one after it can be
// read. Every other error is final: io.EOF at the end, an error that wraps
// io.ErrUnexpectedEOF if compressed input is cut off, gzip's error if it is
// damaged, or the input's own. A line that such an error cut short is not
// returned.
func (r *Reader) Next() (line []byte, number int, err error) {
	for r.err == nil {
		line, err = r.next()
		if err != nil {
			return nil, r.number, err
		}
		if skipSpace(line, 0) < len(line) {
			return line, r.number, nil
		}
	}
	return nil, r.number, r.err
}

// next returns one line, blank or not. If it sets r.err and there is nothing
// left to return, the line is empty.
func (r *Reader) next() ([]byte, error) {
	chunk, err := r.lines.ReadSlice('\n')
	line := chunk
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.collect(chunk)
	}
	if len(line) > 0 || !errors.Is(err, io.EOF) {
		r.number++
	}
	switch {
	case err == nil:
		line = line[:len(line)-1]
	case errors.Is(err, io.EOF):
		r.err = io.EOF
	default:
		if r.packed {
			err = unpackError(err)
		}
		r.err = fmt.Errorf("read line %d: %w", r.number, err)
		return nil, nil
	}
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if len(line) > MaxLine {
		return nil, ErrLineTooLong
	}
	return line, nil
}

// collect reads the rest of a line into r.long. Of a line too long it keeps
// enough to see that it is, whatever its length, and reads on to its end.
func (r *Reader) collect(chunk []byte) (line []byte, err error) {
	r.long = r.long[:0]
	for err = bufio.ErrBufferFull; ; chunk, err = r.lines.ReadSlice('\n') {
		if len(r.long) <= MaxLine+len("\r\n") {
			r.long = append(r.long, chunk...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return r.long, err
	}
}

// unpackError says in plain words what gzip found.
func unpackError(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("compressed input is cut off: %w", io.ErrUnexpectedEOF)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return fmt.Errorf("compressed input is damaged: %w", err)
	}
	return err
}
