package node

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
)

// noIntents is the choice of no strategy.
const noIntents = "none"

// intentBudget is how many intents the budgeted strategy keeps.
const intentBudget = 256

// choices are the strategies that --intents names, the default first. What they
// call themselves begins with prefix.
var choices = []struct {
	name, prefix string
	make         func(dimension int) intent.Strategy
}{
	{"twophase", "two-phase/", func(d int) intent.Strategy { return cluster.NewTwoPhase(cluster.Layered{Dimension: d}) }},
	{"strict", "strict/", func(d int) intent.Strategy { return cluster.NewStrict(cluster.Layered{Dimension: d}) }},
	{"budgeted", "budgeted/", func(d int) intent.Strategy { return cluster.NewBudgeted(intentBudget, cluster.Layered{Dimension: d}) }},
	{"leader", "calibrated/", func(d int) intent.Strategy { return cluster.NewCalibrated(cluster.Layered{Dimension: d}) }},
}

// withIntents gives a command that appends the flag that chooses the strategy.
func (a *app) withIntents(c *cobra.Command) {
	c.Flags().StringVar(&a.intents, "intents", "",
		"how events with embeddings are grouped: twophase, strict, budgeted, leader or none (default: as before in this journal, else twophase)")
}

// checkIntents refuses a strategy that there is not.
func (a *app) checkIntents() error {
	if a.intents == "" || a.intents == noIntents {
		return nil
	}
	for _, c := range choices {
		if a.intents == c.name {
			return nil
		}
	}
	return usage("--intents %q: use twophase, strict, budgeted, leader or none", a.intents)
}

// dimensionOf is the dimension that a strategy's name tells: another one than is
// wanted if the journal's model has changed.
func dimensionOf(name string, otherwise int) int {
	_, rest, _ := strings.Cut(name, " dim=")
	digits, _, _ := strings.Cut(rest, " ")
	if d, err := strconv.Atoi(digits); err == nil && d > 0 && d <= 1<<16 {
		return d
	}
	return otherwise
}

// newIntents makes the strategy that was chosen, or else the one that the
// journal had. One that another program has made is left alone: its intents are
// read as they stand.
func newIntents(choice string) func(last string, dimension int) intent.Strategy {
	return func(last string, dimension int) intent.Strategy {
		for _, c := range choices {
			switch {
			case choice == c.name, choice == "" && last == "":
				return c.make(dimension)
			case choice == "" && strings.HasPrefix(last, c.prefix):
				if c.make(dimensionOf(last, dimension)).Name() == last {
					return c.make(dimension)
				}
			}
		}
		return nil
	}
}
