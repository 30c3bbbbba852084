package journal

import (
	"fmt"
	"strconv"
	"strings"
)

// Cursor is a place in a journal's order, for a reader that comes back later:
// everything after it is still to be read.
type Cursor struct {
	Epoch    uint32
	Position uint64
}

// String returns EPOCH-POSITION.
func (c Cursor) String() string {
	return strconv.FormatUint(uint64(c.Epoch), 10) + "-" + strconv.FormatUint(c.Position, 10)
}

// ParseCursor reads EPOCH-POSITION, or a bare POSITION in the journal's own
// epoch, and returns the position. The error wraps ErrCursor if the cursor
// points to where this journal has never been, or to what it has lost.
func (j *Journal) ParseCursor(s string) (uint64, error) {
	epochText, positionText, two := strings.Cut(s, "-")
	if !two {
		epochText, positionText = strconv.FormatUint(uint64(j.Epoch()), 10), s
	}
	epoch, err1 := strconv.ParseUint(epochText, 10, 32)
	position, err2 := strconv.ParseUint(positionText, 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("cursor %q: write POSITION or EPOCH-POSITION, as in 42 or 1-42", s)
	}
	if err := j.checkCursor(Cursor{uint32(epoch), position}); err != nil {
		return 0, fmt.Errorf("cursor %q: %w", s, err)
	}
	return position, nil
}
