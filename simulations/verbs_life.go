package simulations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// restart stops the World in good order and starts it again. Nobody is live
// afterwards.
func restart(ctx context.Context, w *World, _ *args, out io.Writer) error {
	if err := w.Close(ctx); err != nil {
		return err
	}
	if err := w.open(); err != nil {
		return err
	}
	return say(out, "restarted at %d", w.j.Position())
}

// crash cuts the power: of what was written, only what was synced is there
// when the World starts again. Nobody is live afterwards.
func crash(_ context.Context, w *World, _ *args, out io.Writer) error {
	after := w.disk.PowerCut(0, w.opts.Seed)
	if err := w.drop(); err != nil {
		return err
	}
	w.disk = after
	if err := w.open(); err != nil {
		return err
	}
	return say(out, "restarted at %d", w.j.Position())
}

// forkAt goes on in a fork of the journal. Nobody is live afterwards.
func forkAt(ctx context.Context, w *World, a *args, out io.Writer) error {
	upto, err := strconv.ParseUint(a.plain[0], 10, 64)
	if err != nil {
		return err
	}
	onto := disktest.New()
	j, err := journal.Open("world", journal.Options{Volume: onto.Volume(), Now: w.clock.Now})
	if err != nil {
		return err
	}
	if err := Fork(ctx, w.j, upto, j, &w.clock); err != nil {
		return errors.Join(say(out, "refused: %v", err), j.Close())
	}
	if err := w.Close(ctx); err != nil {
		return errors.Join(err, j.Close())
	}
	w.disk = onto
	if err := w.start(j); err != nil {
		return err
	}
	return say(out, "forked at %d", w.j.Position())
}

// replayAll does everything again and says whether it came out the same. Of a
// divergence it shows where it is, not the values: those of a fault such as
// the order of a map are others each time.
func replayAll(ctx context.Context, w *World, _ *args, out io.Writer) error {
	r, err := Replay(ctx, w.j, w.registry, ReplayOptions{})
	if err != nil {
		return say(out, "refused: %v", err)
	}
	if d, diverges := r.First(); diverges {
		more := ""
		if n := uint64(len(r.Divergences)) - 1 + r.More; n > 0 {
			more = fmt.Sprintf(" (and %d more)", n)
		}
		return say(out, "diverges at position %d, agent %s: %s%s", d.Position, d.Agent, d.Field, more)
	}
	return say(out, "same: %d events of %d streams, %d agents, %d commands, %d reactions, %d state digests",
		r.Events, r.Streams, r.Agents, r.Commands, r.Reactions, r.StateDigests)
}
