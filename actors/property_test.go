package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// A run of the property: commands, outside appends and questions in a random
// order and at the same time, and handlers that panic now and then.
type run struct {
	t   *rapid.T
	j   *journal.Journal
	sys *actors.System
	ref *stockRef

	mu      sync.Mutex // guards what follows
	panics  map[string]int
	answers []answer
	states  []Stock
}

type answer struct {
	id      events.ID
	command stockCommand
	out     actors.Outcome
	err     error
}

// before panics as often as is planned for the command.
func (r *run) before(_ *actors.Turn, _ Stock, c stockCommand) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := fmt.Sprint(c)
	if r.panics[key] > 0 {
		r.panics[key]--
		panic("as planned: " + key)
	}
}

func TestRandomInterleavings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
		if err != nil {
			t.Fatal(err)
		}
		r := &run{t: t, j: j, panics: map[string]int{}}
		stock := newStock(r.before)
		opts := quick(3)
		opts.Mailbox = rapid.IntRange(1, 8).Draw(t, "mailbox")
		opts.DigestEvery = 7
		if r.sys, err = actors.Start(j, actors.NewRegistry(stock), opts); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if r.ref, err = stock.Spawn(r.sys, "apples"); err != nil {
			t.Fatal(err)
		}
		r.script(ctx)
		if err := r.sys.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		final, err := r.ref.State(ctx)
		if err != nil {
			t.Fatal(err)
		}
		r.states = append(r.states, final)
		r.check(final)
		if err := errors.Join(r.sys.Stop(ctx), j.Close()); err != nil {
			t.Fatal(err)
		}
	})
}

func (r *run) script(ctx context.Context) {
	t := r.t
	var wg sync.WaitGroup
	var known []answer // commands with an id of the caller's
	nextID := 0
	for n := range rapid.IntRange(1, 40).Draw(t, "steps") {
		switch rapid.SampledFrom([]string{"ask", "ask", "ask", "again", "tell", "outside", "outside", "query", "wait"}).Draw(t, "step") {
		case "ask", "tell":
			c := rapid.OneOf(
				rapid.Map(rapid.IntRange(1, 5), func(n int) stockCommand { return Add{n} }),
				rapid.Map(rapid.IntRange(0, 6), func(n int) stockCommand { return Reserve{fmt.Sprint("o", n%3), n} }),
				rapid.Map(rapid.IntRange(0, 2), func(n int) stockCommand { return Release{fmt.Sprint("o", n)} }),
			).Draw(t, "command")
			if times := rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, 3}).Draw(t, "panics"); times > 0 {
				c = Reserve{fmt.Sprint("panic", n), 1}
				r.mu.Lock()
				r.panics[fmt.Sprint(c)] = times
				r.mu.Unlock()
			}
			nextID++
			id := events.IngestedID("property", fmt.Sprint(nextID))
			known = append(known, answer{id: id, command: c})
			r.ask(ctx, &wg, id, c)
		case "again":
			if len(known) > 0 {
				k := rapid.SampledFrom(known).Draw(t, "which")
				r.ask(ctx, &wg, k.id, k.command)
			}
		case "outside":
			v := rapid.SampledFrom([]stockEvent{Added{1}, Added{3}, Reserved{"thief", 1}, Released{"thief", 1}}).Draw(t, "event")
			wg.Go(func() {
				d, err := stockEvents.Encode(v)
				if err == nil {
					_, err = r.sys.Publish(ctx, "apples", d)
				}
				if err != nil {
					t.Errorf("outside: %v", err)
				}
			})
		case "query":
			wg.Go(func() {
				s, err := r.ref.State(ctx)
				if err != nil {
					t.Errorf("state: %v", err)
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				r.states = append(r.states, s)
			})
		case "wait":
			wg.Wait()
		}
	}
	wg.Wait()
}

func (r *run) ask(ctx context.Context, wg *sync.WaitGroup, id events.ID, c stockCommand) {
	wg.Go(func() {
		out, err := r.ref.Ask(ctx, c, actors.WithCommandID(id))
		r.mu.Lock()
		defer r.mu.Unlock()
		r.answers = append(r.answers, answer{id, c, out, err})
	})
}

// check holds every answer against the stream.
func (r *run) check(final Stock) {
	t := r.t
	var es []events.Event
	for e, err := range r.j.ReadStream(context.Background(), "apples", 0) {
		if err != nil {
			t.Fatal(err)
		}
		es = append(es, e)
	}
	prefixes := r.replay(es)
	if last := prefixes[len(prefixes)-1]; !sameStock(last, final) {
		t.Errorf("state %+v, the stream folds to %+v", final, last)
	}
	for _, s := range r.states {
		if !slices.ContainsFunc(prefixes, func(p Stock) bool { return sameStock(p, s) }) {
			t.Errorf("somebody was told the state %+v, which never was", s)
		}
	}
	outcomes := map[events.ID][]events.ID{}
	at := map[events.ID]int{}
	for i, e := range es {
		at[e.ID]++
		if !events.SystemKind(e.Kind) && !e.Trigger.IsZero() {
			outcomes[e.Trigger] = append(outcomes[e.Trigger], es[i].ID)
		}
	}
	for id, n := range at {
		if n != 1 {
			t.Errorf("event %s is there %d times", id, n)
		}
	}
	first := map[events.ID]int{}
	for _, a := range r.answers {
		var short *shortage
		var failed *actors.FailedError
		switch {
		case errors.As(a.err, &short):
			if !slices.ContainsFunc(prefixes, func(p Stock) bool { return p.Free == short.Free }) {
				t.Errorf("%v was rejected for %v, which never was", a.command, short)
			}
		case errors.As(a.err, &failed):
			i := slices.IndexFunc(es, func(e events.Event) bool { return e.ID == failed.Event })
			if i < 0 || es[i].Kind != "toka.agent.parked" || es[i].Trigger != a.id || failed.Attempts != 3 {
				t.Errorf("%v was parked, and event %s is not there or says something else", a.command, failed.Event)
			}
		case errors.Is(a.err, actors.ErrContended):
		case a.err != nil:
			t.Errorf("%v: %v", a.command, a.err)
		default:
			if len(a.out.Events) > 0 && !a.out.Duplicate {
				first[a.id]++
			}
			if !slices.Equal(ids(a.out.Events), outcomes[a.id]) {
				// A command that caused nothing at first may have caused
				// something when it was sent again.
				if len(a.out.Events) > 0 {
					t.Errorf("%v was told %v, the stream holds %v", a.command, ids(a.out.Events), outcomes[a.id])
				}
			}
		}
	}
	for id := range outcomes {
		if first[id] != 1 {
			t.Errorf("command %s has events in the stream and %d first answers", id, first[id])
		}
	}
}

// replay decides every recorded command on the state before its events, which
// is what it was decided on if nobody came between, and returns all states
// that ever were.
func (r *run) replay(es []events.Event) []Stock {
	t := r.t
	var s Stock
	states := []Stock{s}
	commands := map[events.ID]events.Event{}
	for i := 0; i < len(es); i++ {
		e := es[i]
		if _, ok := strings.CutPrefix(e.Kind, "toka.command."); ok {
			commands[e.ID] = e
		}
		if events.SystemKind(e.Kind) {
			continue
		}
		group := []events.Event{e}
		if c, ok := commands[e.Trigger]; ok {
			for i+1 < len(es) && es[i+1].Trigger == e.Trigger && !events.SystemKind(es[i+1].Kind) {
				i++
				group = append(group, es[i])
			}
			c.Kind = strings.TrimPrefix(c.Kind, "toka.command.")
			command, err := stockCommands.Decode(c)
			if err != nil {
				t.Fatal(err)
			}
			want, err := decideStock(c.Time.In(time.UTC), s, command)
			if err != nil || len(want) != len(group) {
				t.Errorf("position %d: %v on %+v gives %v, %v; recorded %v", e.Position, command, s, want, err, kinds(group))
			}
			for k := range min(len(want), len(group)) {
				d, err := stockEvents.Encode(want[k])
				if err != nil {
					t.Fatal(err)
				}
				if d.Kind != group[k].Kind || !jsonEqual(d.Payload, group[k].Payload) {
					t.Errorf("position %d: %v on %+v gives %s %s, recorded is %s %s", group[k].Position, command, s, d.Kind, d.Payload, group[k].Kind, group[k].Payload)
				}
			}
		}
		for _, g := range group {
			v, err := stockEvents.Decode(g)
			if err != nil {
				t.Fatal(err)
			}
			s = evolveStock(s, v)
		}
		states = append(states, s)
	}
	return states
}

func jsonEqual(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && fmt.Sprint(x) == fmt.Sprint(y)
}
