package node

import (
	"fmt"
	"maps"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/journal"
)

func (a *app) verifyCommand() *cobra.Command {
	var heads headFlags
	c := &cobra.Command{
		Use:   "verify",
		Short: "Recompute every digest, link and count from the stored bytes",
		Long: `Reads the whole journal and checks it against itself: every payload and causal
digest is computed anew, every parent is looked up, positions must be dense and
the index must find each event. The content digest is equal for two journals
that hold the same events, in whatever order. With --head the journal is also
held against heads that were kept elsewhere, and what one of them stands for and
is not there any more is named. Shows its progress on a terminal. Exits with 3 if
anything is wrong.`,
		Example: lines(
			"toka-node verify --data ./data",
			"toka-node verify --data ./data -o json | jq .content",
			"toka-node verify --data ./data --head head.txt"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			known, err := heads.read()
			if err != nil {
				return err
			}
			return a.read(func(j *journal.Journal) error {
				progress, end := eventBar(a.streams.Err, "verifying", "verifying the indexes")
				r, err := j.VerifyAgainst(c.Context(), known, progress)
				end()
				if err != nil {
					return err
				}
				return a.verified(r)
			})
		},
	}
	heads.add(c)
	return a.withData(c)
}

// verified prints a report and turns damage into the exit code for it.
func (a *app) verified(r journal.Report) error {
	if a.json() {
		if err := a.object(r); err != nil {
			return err
		}
	} else {
		word := "ok"
		if !r.OK {
			word = "DAMAGED"
		}
		fmt.Fprintf(a.streams.Out, "%s: %d events, %d payloads, %d streams\ncontent %s\n", word, r.Events, r.Payloads, r.Streams, r.Content)
		if r.Stubs > 0 {
			fmt.Fprintf(a.streams.Out, "%d parents known by digest only: they were imported without\n", r.Stubs)
		}
		for _, p := range r.Problems {
			if p.Position > 0 {
				fmt.Fprintf(a.streams.Out, "  position %d: %s\n", p.Position, p.What)
			} else {
				fmt.Fprintf(a.streams.Out, "  %s\n", p.What)
			}
		}
		if r.More > 0 {
			fmt.Fprintf(a.streams.Out, "  and %d more\n", r.More)
		}
	}
	if !r.OK {
		return &exit{code: ExitDamage}
	}
	return nil
}

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Example: lines(
			"toka-node version",
			"toka-node version -o json"),
		Args: args(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			v := versionNow()
			if a.json() {
				return a.object(v)
			}
			fmt.Fprintf(a.streams.Out, "toka-node %s (%s), journal format %d\n", v.Version, v.Go, v.Format)
			return nil
		},
	}
	return a.withOutput(c)
}

// version says what this program is.
type version struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Revision string `json:"revision,omitempty"`
	Format   int    `json:"journal_format"`
}

func versionNow() version {
	v := version{Version: "unknown", Format: journal.Format}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Version, v.Go = info.Main.Version, info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return v
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
