package simulations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// verb is what a line of a transcript can do.
type verb struct {
	usage       string
	least, most int      // plain arguments
	options     []string // NAME=VALUE
	do          func(ctx context.Context, w *World, a *args, out io.Writer) error
}

var verbs = map[string]verb{
	"spawn":   {"ROLE NAME", 2, 2, nil, spawn},
	"ask":     {"NAME KIND JSON [id=NAME]", 3, 3, []string{"id"}, ask},
	"state":   {"NAME", 1, 1, nil, state},
	"publish": {"STREAM KIND [JSON] [id=NAME] [trigger=NAME]", 2, 3, []string{"id", "trigger"}, publish},
	"settle":  {"", 0, 0, nil, settle},
	"restart": {"", 0, 0, nil, restart},
	"crash":   {"", 0, 0, nil, crash},
	"fork":    {"POSITION", 1, 1, nil, forkAt},
	"log":     {"[STREAM] [after=POSITION]", 0, 1, []string{"after"}, showLog},
	"replay":  {"", 0, 0, nil, replayAll},
	"plant":   {"FAULT", 1, 1, nil, plant},
}

// spawn makes an actor live.
func spawn(_ context.Context, w *World, a *args, out io.Writer) error {
	r, ok := w.roles[a.plain[0]]
	if !ok {
		return fmt.Errorf("no role %q", a.plain[0])
	}
	x, err := r.spawn(w.sys, a.plain[1])
	if err != nil {
		return say(out, "refused: %v", err)
	}
	w.live[a.plain[1]] = x
	return say(out, "%s is live", a.plain[1])
}

func (w *World) actor(name string) (*actor, error) {
	x, ok := w.live[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("%q is not live", name)
	case x.ask == nil:
		return nil, fmt.Errorf("%q is an agent: it has no commands and shows no state", name)
	}
	return x, nil
}

// ask sends a command and waits for what comes of it.
func ask(ctx context.Context, w *World, a *args, out io.Writer) error {
	x, err := w.actor(a.plain[0])
	if err != nil {
		return err
	}
	o, err := x.ask(ctx, events.Event{
		ID: w.id(a.options["id"]), Kind: a.plain[1], SchemaVersion: 1,
		ContentType: events.ContentTypeJSON, Payload: []byte(a.plain[2]),
	})
	var parked *actors.FailedError
	switch {
	case errors.As(err, &parked):
		// The text of the error names an event by an id that was minted.
		return say(out, "parked after %d tries: %s", parked.Attempts, parked.Reason)
	case err != nil:
		return say(out, "refused: %v", err)
	case o.Duplicate:
		return say(out, "known: %d events", len(o.Events))
	case len(o.Events) == 0:
		return say(out, "no events")
	}
	for _, e := range o.Events {
		if err := say(out, "%d %s %s", e.Position, e.Kind, e.Payload); err != nil {
			return err
		}
	}
	return nil
}

// state shows the state of a resource.
func state(ctx context.Context, w *World, a *args, out io.Writer) error {
	x, err := w.actor(a.plain[0])
	if err != nil {
		return err
	}
	b, err := x.state(ctx)
	if err != nil {
		return say(out, "refused: %v", err)
	}
	return say(out, "%s", b)
}

// publish appends an event as the outside world does.
func publish(ctx context.Context, w *World, a *args, out io.Writer) error {
	d := events.Draft{ID: w.id(a.options["id"]), Kind: a.plain[1], SchemaVersion: 1, Time: w.now()}
	if len(a.plain) == 3 {
		d.ContentType, d.Payload = events.ContentTypeJSON, []byte(a.plain[2])
	}
	if name := a.options["trigger"]; name != "" {
		d.Trigger = w.id(name)
		d.Parents = []events.Ref{{ID: d.Trigger}}
	}
	es, err := w.sys.Publish(ctx, a.plain[0], d)
	if err != nil {
		return say(out, "refused: %v", err)
	}
	return say(out, "%d %s", es[0].Position, es[0].Kind)
}

// settle waits until nothing is on its way.
func settle(ctx context.Context, w *World, _ *args, out io.Writer) error {
	if err := w.sys.Settle(ctx); err != nil {
		return err
	}
	return say(out, "settled at %d", w.j.Position())
}

// plant switches on a fault.
func plant(_ context.Context, w *World, a *args, out io.Writer) error {
	f, ok := w.opts.Faults[a.plain[0]]
	if !ok {
		return fmt.Errorf("no fault %q", a.plain[0])
	}
	f()
	return say(out, "planted %s", a.plain[0])
}

// showLog shows the journal. An event whose id was minted, or that has such an
// event among its ancestors, is shown without its digest, which is another
// each time.
func showLog(ctx context.Context, w *World, a *args, out io.Writer) error {
	after := uint64(0)
	if s := a.options["after"]; s != "" {
		var err error
		if after, err = strconv.ParseUint(s, 10, 64); err != nil {
			return err
		}
	}
	minted := map[events.ID]bool{}
	for e, err := range w.j.Read(ctx, journal.Query{}) {
		if err != nil {
			return err
		}
		digest := e.Digest.Short()
		because := make([]string, len(e.Parents))
		for i, p := range e.Parents {
			because[i] = strconv.FormatUint(p.Position, 10)
			minted[e.ID] = minted[e.ID] || minted[p.ID]
		}
		if minted[e.ID] = minted[e.ID] || e.ID[6]>>4 == 7; minted[e.ID] {
			digest = strings.Repeat("-", len(digest))
		}
		if e.Position <= after || (len(a.plain) == 1 && e.Stream != a.plain[0]) {
			continue
		}
		from := ""
		if len(because) > 0 {
			from = " <- " + strings.Join(because, " ")
		}
		if err := say(out, "%d %s %s/%d %s %s%s", e.Position, digest, e.Stream, e.StreamPosition, e.Kind, shown(e), from); err != nil {
			return err
		}
	}
	return nil
}

// shown is the payload without what changes from run to run: the stack of a
// failure.
func shown(e events.Event) string {
	if !strings.HasPrefix(e.Kind, "toka.agent.") {
		return string(e.Payload)
	}
	var f struct{ Reason string }
	if err := json.Unmarshal(e.Payload, &f); err != nil {
		return string(e.Payload)
	}
	return strconv.Quote(f.Reason)
}

// say writes a line.
func say(out io.Writer, format string, args ...any) error {
	_, err := fmt.Fprintf(out, format+"\n", args...)
	return err
}
