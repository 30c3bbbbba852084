package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/tokaworks/toka/events"
)

// lookForRoom is how often a write that is held asks whether there is room.
const lookForRoom = 100 * time.Millisecond

// refuseFull refuses a write that would grow a journal on a disk that is nearly
// full. What this module writes about what is stored already passes: an
// erasure, and how far consumers have come.
func (j *Journal) refuseFull(w *Write) error {
	if j.opts.Room == nil || len(w.Events)+len(w.Imported) == 0 || w.Authority.IsSystem() && len(w.Imported) == 0 || j.opts.Room() {
		return nil
	}
	return fmt.Errorf("append: %w; nothing was stored", ErrFull)
}

// awaitRoom holds a write with events back while the disk is nearly full.
func (j *Journal) awaitRoom(ctx context.Context, es []events.Event) error {
	if j.opts.Room == nil || len(es) == 0 || j.opts.Room() {
		return nil
	}
	tick := time.NewTicker(lookForRoom)
	defer tick.Stop()
	for !j.opts.Room() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("append: %w; nothing was stored: %w", ErrFull, context.Cause(ctx))
		case <-j.closing:
			return ErrClosed
		case <-j.failed:
			return j.Err()
		}
	}
	return nil
}
