package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// The way of a write:
//
//	writer     prepare: checks, ids, digests        -> queue
//	committer  accept: order, parents, versions      -> group
//	syncer     one write and one sync for the group  -> durable mark
//	           answers, in order; subscribers wake
//	indexer    what is derived                       -> index
//
// The committer builds the next group while the syncer waits for the disk. It
// decides on what was accepted, durable or not; nobody else sees anything
// above the durable mark. A group that cannot be written ends the journal, so
// what was decided on it is never taken back.

const (
	groupEvents = 8 << 10
	groupBytes  = 8 << 20
)

// group is what one sync makes durable.
type group struct {
	batch    *pebble.Batch
	requests []*request // in order, accepted or not
	outcomes []outcome
	// operational says that checkpoints or state digests are among the keys.
	// They are overwritten in place, so no position tells a reader which of
	// them are durable: it is kept out while they are written.
	operational bool
	events      int
	last        uint64 // position of the last event accepted up to here
	payloads    uint64
	streams     uint64
	intents     []intentInput
}

// outcome is the answer that a request gets once the group is durable. A
// refusal waits too: it may rest on what the group holds.
type outcome struct {
	receipt Receipt
	err     error
	known   []uint64 // positions of the events of a duplicate
}

func (g *group) failAll(err error) {
	for _, r := range g.requests {
		r.finish(Receipt{}, err)
	}
}

// commitLoop turns queued writes into groups.
func (j *Journal) commitLoop(groups chan<- *group) {
	defer j.committed.Done()
	defer close(groups)
	for {
		select {
		case <-j.queue.filled:
		case <-j.failed:
			return
		}
		items, closed := j.queue.take()
		for len(items) > 0 {
			var g *group
			g, items = j.build(items)
			select {
			case groups <- g:
			case <-j.failed:
				g.failAll(j.Err())
				for _, r := range items {
					r.finish(Receipt{}, j.Err())
				}
				return
			}
		}
		if closed {
			return
		}
	}
}

// build takes writes off items until the group is full.
func (j *Journal) build(items []*request) (*group, []*request) {
	g := &group{batch: j.store.log.NewBatch()}
	for len(items) > 0 && g.events < groupEvents && g.batch.Len() < groupBytes {
		r := items[0]
		items = items[1:]
		out, err := j.accept(g, r)
		if err != nil {
			out = outcome{err: err}
		}
		g.requests = append(g.requests, r)
		g.outcomes = append(g.outcomes, out)
	}
	g.last = j.accepted
	return g, items
}

// set adds a key to the group. A batch refuses a key only when it is closed or
// larger than groupBytes could ever make it.
func (g *group) set(key, value []byte) {
	if err := g.batch.Set(key, value, nil); err != nil {
		panic("journal: batch: " + err.Error())
	}
}

// remove takes a key away with the group.
func (g *group) remove(key []byte) {
	if err := g.batch.Delete(key, nil); err != nil {
		panic("journal: batch: " + err.Error())
	}
}

// syncLoop makes groups durable, one after the other, and answers for them.
func (j *Journal) syncLoop(groups <-chan *group) {
	defer j.committed.Done()
	defer close(j.indexWake)
	defer j.intent.close()
	ended := false
	defer func() {
		if !ended {
			j.store.guard.Fail(errors.New("a caller's callback ended the goroutine that answers writers (runtime.Goexit)"))
		}
	}()
	j.syncGroups(groups)
	ended = true
}

func (j *Journal) syncGroups(groups <-chan *group) {
	for g := range groups {
		j.inSync.Store(g)
		if err := j.Err(); err != nil {
			// The failure came after the committer let the group go. Whoever
			// failed the journal may have missed this group: it is failed here.
			g.failAll(err)
			return
		}
		if !j.syncGroup(g) {
			return
		}
		j.inSync.Store(nil)
	}
}

func (j *Journal) syncGroup(g *group) bool {
	if g.batch.Count() > 0 {
		size, start := g.batch.Len(), time.Now()
		// If we die here, recovery finds all of the group or nothing of it,
		// and nobody was told of it. A write or sync that fails does not come
		// back at all (see internal/disk).
		if g.operational {
			if err := j.holdOperational(context.Background()); err != nil {
				g.failAll(err)
				return false
			}
		}
		err := g.batch.Commit(pebble.Sync)
		if g.operational {
			j.letOperational()
		}
		if err != nil {
			j.store.guard.Fail(fmt.Errorf("commit: %w", err))
			<-j.failed
			g.failAll(j.Err())
			return false
		}
		if j.opts.OnCommit != nil {
			j.observe(Commit{Events: g.events, Bytes: size, Sync: time.Since(start)})
		}
	}
	_ = g.batch.Close()
	// From here on the group is on disk. If we die before the answers are
	// out, writers retry and find their events. The arrivals are offered
	// before the mark moves: what is below it and has no intent yet is known.
	j.intent.offer(g.intents)
	j.counts.mu.Lock()
	j.counts.payloads.Add(g.payloads)
	j.counts.streams.Add(g.streams)
	if g.events > 0 {
		j.mark.set(g.last)
	}
	j.counts.mu.Unlock()
	for i, r := range g.requests {
		j.answer(r, &g.outcomes[i])
	}
	select {
	case j.indexWake <- struct{}{}:
	default:
	}
	return true
}

func (j *Journal) observe(c Commit) {
	defer func() {
		if r := recover(); r != nil {
			j.log.Error("OnCommit panicked", "panic", r)
		}
	}()
	j.opts.OnCommit(c)
}

func (j *Journal) answer(r *request, out *outcome) {
	if out.err != nil {
		r.finish(Receipt{}, out.err)
		return
	}
	for _, p := range out.known {
		e, err := j.at(p)
		if err != nil {
			r.finish(Receipt{}, err)
			return
		}
		out.receipt.Events = append(out.receipt.Events, e)
	}
	if r.embeds && !out.receipt.Duplicate {
		j.intent.wait(r, out.receipt)
		return
	}
	r.finish(out.receipt, nil)
}

// record reads the record at position, durable or not.
func (j *Journal) record(position uint64) (e events.Event, payloadAt uint64, err error) {
	v, closer, err := j.store.log.Get(positionKey(logRecord, position))
	if errors.Is(err, pebble.ErrNotFound) {
		return e, 0, missing(position)
	}
	if err != nil {
		return e, 0, fmt.Errorf("position %d: %w", position, readError(err))
	}
	defer closer.Close()
	e, payloadAt, err = events.DecodeRecord(position, v)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return e, payloadAt, err
}

// readError tells damage from other trouble.
func readError(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}
