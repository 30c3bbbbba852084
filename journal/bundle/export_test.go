package bundle

import (
	"bufio"
	"bytes"
	"encoding/binary"

	"github.com/zeebo/blake3"
)

// Frames writes frames, one for each letter of kinds, and an end that fits.
func Frames(kinds string, bodies ...[]byte) []byte {
	var b bytes.Buffer
	f := newFrameWriter(&b)
	n := uint64(0)
	for i, body := range bodies {
		f.frame(kinds[i], body)
		if kinds[i] == frameEvent {
			n++
		}
	}
	if err := f.end(n); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Before returns b in the format before embeddings: without the frames that it
// did not have.
func Before(b []byte) []byte {
	var out bytes.Buffer
	f := &frameWriter{w: bufio.NewWriter(&out), hash: blake3.New()}
	f.write([]byte(magicOld))
	n := uint64(0)
	Reframe(b, func(kind byte, body []byte) []byte {
		if kind == frameEvent {
			n++
		}
		if kind != frameModel && kind != frameVector {
			f.frame(kind, body)
		}
		return body
	})
	if err := f.end(n); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// Reframe writes b again with changed bodies, the end left out and made anew.
// It returns nil if b has no frames.
func Reframe(b []byte, change func(kind byte, body []byte) []byte) []byte {
	rest, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok {
		return nil
	}
	kinds := ""
	var bodies [][]byte
	for len(rest) > 1 && rest[0] != frameEnd {
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return nil
		}
		kinds += string(rest[:1])
		body := rest[1+n:][:size]
		bodies = append(bodies, change(rest[0], body))
		rest = rest[1+n+int(size):]
	}
	return Frames(kinds, bodies...)
}
