package node

import (
	"sync/atomic"
	"time"

	"github.com/tokaworks/toka/journal"
)

// lookEvery is how old a count of free bytes may be.
const lookEvery = 250 * time.Millisecond

// space returns how much room there is for a journal, and how much is kept. A
// system that cannot tell is taken to have room.
func (a *app) space(level journal.Level, keep uint64) func() (free, keep uint64) {
	if level == journal.LevelMemory || keep == 0 {
		return nil
	}
	var free atomic.Uint64
	var looked atomic.Int64
	start := time.Now()
	free.Store(^uint64(0))
	return func() (uint64, uint64) {
		now := int64(time.Since(start)) + int64(lookEvery)
		last := looked.Load()
		if now-last >= int64(lookEvery) && looked.CompareAndSwap(last, now) {
			n, err := freeBytes(a.data)
			if err != nil {
				n = ^uint64(0)
			}
			free.Store(n)
		}
		return free.Load(), keep
	}
}
