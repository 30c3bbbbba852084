package bundle

import (
	"bytes"
	"encoding/binary"
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
