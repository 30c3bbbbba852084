package simulations_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/simulations"
	"github.com/tokaworks/toka/supervisor"
)

type (
	fetch   struct{ What string }
	fetched struct{ What, How string }
)

// What came of commands that had effects is decided again with what is on
// record, whether they came to something, to nothing, failed on the way, were
// overtaken from outside or stand there unfinished. No effect is called.
func TestEffectsOfCommandsReplayClean(t *testing.T) {
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	ctx := t.Context()
	replaying, failures, hang := false, 1, make(chan struct{})
	var sys *actors.System
	fetcher := &actors.Resource[int, fetch, fetched]{
		Name: "fetcher", Version: 1,
		Commands: events.NewType[fetch]("fetch", 1), Events: events.NewType[fetched]("fetched", 1),
		Evolve: func(n int, _ fetched) int { return n + 1 },
	}
	aside, err := fetcher.Events.Encode(fetched{What: "aside"})
	if err != nil {
		t.Fatal(err)
	}
	fetcher.Decide = func(t *actors.Turn, n int, c fetch) ([]fetched, error) {
		how, err := actors.Do(t, "fetch", actors.EffectPolicy{InDoubt: actors.RetryInDoubt, Attempts: 1}, func(ctx context.Context, _ actors.EffectCall) (string, error) {
			switch c.What {
			case "too far":
				return "", errors.New("too far")
			case "overtaken":
				_, err := sys.Publish(ctx, "fetcher", aside)
				return "late", err
			case "for ever":
				close(hang)
				<-ctx.Done()
			}
			return "by foot", nil
		})
		if failures--; c.What == "stumbles" && !replaying && failures >= 0 {
			panic("as planned")
		}
		if err != nil || c.What == "nothing" {
			return nil, err
		}
		return []fetched{{c.What, fmt.Sprint(how, " after ", n)}}, nil
	}
	sys, err = actors.Start(j, actors.NewRegistry(fetcher), actors.Options{DigestEvery: 1, Supervision: supervisor.Policy{MaxAttempts: 3}})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := fetcher.Spawn(sys, "fetcher")
	if err != nil {
		t.Fatal(err)
	}
	failures = 1
	for _, what := range []string{"stumbles", "milk", "too far", "overtaken", "nothing", "bread"} {
		if _, err := ref.Ask(ctx, fetch{what}); (err != nil) != (what == "too far") {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if err := ref.Tell(ctx, fetch{"for ever"}); err != nil {
		t.Fatal(err)
	}
	<-hang
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := sys.Stop(gone); err == nil {
		t.Error("it stopped in good order with an effect under way")
	}

	replaying = true
	report, err := simulations.Replay(ctx, j, actors.NewRegistry(fetcher), simulations.ReplayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d, found := report.First(); found {
		t.Errorf("it diverges: %v", d)
	}
	// It can fail.
	fetcher.Evolve = func(n int, _ fetched) int { return n + 2 }
	report, err = simulations.Replay(ctx, j, actors.NewRegistry(fetcher), simulations.ReplayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, found := report.First(); !found {
		t.Error("a changed Evolve is not found")
	}
}
