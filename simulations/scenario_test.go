package simulations_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tokaworks/toka/simulations"
)

// The transcripts are written anew with
//
//	go test ./simulations -run TestScenarios -rewrite
//
// Read the diff: each changed line is a change that users see.
var rewrite = flag.Bool("rewrite", false, "write testdata/*.txt anew")

func newWorld(t testing.TB, seed uint64) *simulations.World {
	t.Helper()
	c := newCast()
	faults := map[string]func(){"repair": c.repair}
	for _, name := range []string{
		mapOrder, wallClock, globalRandom, evolveChanged, decidePayload, decideKind, decideMore, decideLess, decideRejects, reactPayload,
	} {
		faults[name] = func() { c.plant(name) }
	}
	faults["break-once"] = func() { c.breaksAt("fragile", 1) }
	faults["break-always"] = func() { c.breaksAt("fragile", 3) }
	faults["react-once"] = func() { c.breaksAt("react", 1) }
	w, err := simulations.NewWorld(simulations.WorldOptions{
		Roles:  []simulations.Role{simulations.ResourceRole(c.order), simulations.AgentRole(c.biller)},
		Faults: faults,
		Seed:   seed,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func play(t *testing.T, seed uint64, transcript string) (out string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed)
		var err error
		if out, err = w.Run(t.Context(), transcript); err != nil {
			t.Errorf("%v\nafter\n%s", err, out)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return out
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, 1, string(b))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(b) {
				t.Errorf("it went another way; run with -rewrite and read the diff:\n%s", firstDifference(string(b), got))
			}
			if again := play(t, 1, string(b)); again != got {
				t.Errorf("the second run went another way:\n%s", firstDifference(got, again))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return "- " + w[i] + "\n+ " + g[i]
		}
	}
	return "one is longer than the other"
}

func TestSeedChangesWhatDerivesFromIDs(t *testing.T) {
	const transcript = `spawn order order-1
ask order-1 order.pay {"Cents":5}
----
`
	one, two := play(t, 1, transcript), play(t, 2, transcript)
	if one == two || one != play(t, 1, transcript) {
		t.Errorf("seed 1:\n%s\nseed 2:\n%s", one, two)
	}
}

func TestLinesThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		for _, line := range []string{
			"", "fly", "spawn order", "spawn nobody x", "ask order-1 order.pay {}", "ask a b {", "log x after=y",
			"state order-1 loud=1", "plant weeds", "fork x", "spawn a b c",
		} {
			if out, err := w.Do(t.Context(), line); err == nil {
				t.Errorf("%q gave %q and no error", line, out)
			}
		}
		if _, err := w.Run(t.Context(), "settle\n----\n----\n"); err == nil {
			t.Error("two separators in one step gave no error")
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
