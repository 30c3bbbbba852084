package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/bundle"
	"github.com/tokaworks/toka/journal/merkle"
)

func (a *app) bundleCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bundle",
		Short: "Carry a part of a history to another journal",
		Long: `A bundle is one file with events and their payloads. It is verified without the
journal that it came from, and imported into another one, where its events keep
their ids and digests.`,
		Example: lines(
			"toka-node bundle export --data ./data 5f3a9c --out why.bundle",
			"toka-node bundle verify why.bundle"),
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q; run %s --help for a list", "bundle "+args[0], c.CommandPath())
			}
			return c.Help()
		},
	}
	c.AddCommand(a.bundleExportCommand(), a.bundleVerifyCommand(), a.bundleImportCommand())
	return c
}

func (a *app) bundleExportCommand() *cobra.Command {
	var up, down, proofs bool
	var depth int
	var out, key string
	c := &cobra.Command{
		Use:   "export ID...",
		Short: "Write events and what led to them as a bundle",
		Long: `Writes the given events and all that led to them to a file: with --descendants
also, or without --ancestors only, what they led to. A parent that is not in the
bundle is known to it by its digest.

With --proofs the bundle holds the journal's head and a proof for each event that
it stands under that head; with --key, a file with a secret key, the head is
signed.`,
		Example: lines(
			"toka-node bundle export --data ./data 5f3a9c --out why.bundle",
			"toka-node bundle export --data ./data 5f3a9c --depth 3 --proofs --out - | gzip > why.bundle.gz"),
		Args: func(c *cobra.Command, ids []string) error {
			if len(ids) == 0 {
				return usage("%s takes one ID or more; run %s --help", c.CommandPath(), c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, ids []string) error {
			if depth < 0 {
				return usage("depth %d: use 0 for no limit, or a positive number", depth)
			}
			if out == "" {
				return usage("give --out FILE, or --out - for standard output")
			}
			o := bundle.ExportOptions{Proofs: proofs}
			if key != "" {
				text, err := readKey(key)
				if err != nil {
					return err
				}
				if o.Key, err = merkle.ParseKey(text); err != nil {
					return fmt.Errorf("%s: %w", key, err)
				}
			}
			return a.read(func(j *journal.Journal) error {
				about, err := positionsOf(c, j, ids)
				if err != nil {
					return err
				}
				found, err := around(c, j, up || !down, down, depth, 0, about)
				if err != nil {
					return err
				}
				s, err := a.writeBundle(out, func(w io.Writer) (bundle.Summary, error) {
					return bundle.Export(c.Context(), w, j, eachOf(found), o)
				})
				if err != nil || out == "-" {
					return err
				}
				return a.bundleSummary("exported", s)
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "file to write, which must not exist; - for standard output")
	c.Flags().BoolVar(&up, "ancestors", false, "what led to the events; so it is unless only --descendants is given")
	c.Flags().BoolVar(&down, "descendants", false, "what the events led to")
	c.Flags().IntVar(&depth, "depth", 0, "only events at most so many links away; 0 is no limit")
	c.Flags().BoolVar(&proofs, "proofs", false, "add the head and a proof for each event")
	c.Flags().StringVar(&key, "key", "", "file with the secret key that signs the head")
	return a.withData(c)
}

// writeBundle writes a new file and takes it away again if it is not whole.
func (a *app) writeBundle(out string, write func(io.Writer) (bundle.Summary, error)) (bundle.Summary, error) {
	if out == "-" {
		return write(a.streams.Out)
	}
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return bundle.Summary{}, fmt.Errorf("%w; give the name of a new file", err)
	}
	s, err := write(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(out)
	}
	return s, err
}

func (a *app) bundleVerifyCommand() *cobra.Command {
	var keys []string
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a bundle without any journal",
		Long: `Reads a bundle, from standard input for -, and computes every digest in it anew.
If it has proofs, they are checked against its head; with --key, a file with a
public key, the head must be signed by that key.`,
		Example: lines(
			"toka-node bundle verify why.bundle",
			"toka-node bundle verify why.bundle --key node.pub -o json"),
		Args: args(1, "one FILE, or - for standard input"),
		RunE: func(_ *cobra.Command, files []string) error {
			o, err := bundleKeys(keys)
			if err != nil {
				return err
			}
			r, _, err := a.input(files[0])
			if err != nil {
				return err
			}
			defer func() { _ = r.Close() }()
			s, err := bundle.Verify(r, o)
			if err != nil {
				return bundleError(files[0], err)
			}
			return a.bundleSummary("verified", s)
		},
	}
	c.Flags().StringSliceVar(&keys, "key", nil, "file with a public key; one of them must have signed the head")
	return a.withOutput(c)
}

func (a *app) bundleImportCommand() *cobra.Command {
	var keys []string
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Store the events of a bundle",
		Long: `Verifies a bundle as "bundle verify" does, and then stores its events: under their
own ids and digests, at places of this journal. What is there already is a
duplicate and changes nothing. A parent that is neither in the bundle nor in the
journal stays a reference by digest; "verify" counts these. Events of the
system's own streams, whose names begin with $, are left out; those that have an
embedding of another model than the journal's are stored without it.`,
		Example: lines(
			"toka-node bundle import --data ./other why.bundle",
			"toka-node bundle import --data ./other why.bundle --key node.pub -o json"),
		Args: args(1, "one FILE"),
		RunE: func(c *cobra.Command, files []string) error {
			o, err := bundleKeys(keys)
			if err != nil {
				return err
			}
			f, err := os.Open(files[0])
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			j, letGo, err := a.borrow(journal.Options{})
			if err != nil {
				return err
			}
			n, err := bundle.Import(c.Context(), f, j, o)
			if closeErr := letGo(); err == nil {
				err = closeErr
			}
			if err != nil {
				return bundleError(files[0], err)
			}
			if a.json() {
				return a.object(n)
			}
			_, err = fmt.Fprintf(a.streams.Out, "imported %d, duplicates %d, left out %d\n", n.Imported, n.Duplicates, n.LeftOut)
			if err == nil && n.OtherModel > 0 {
				_, err = fmt.Fprintf(a.streams.Out, "%d without their embeddings, which are of another model than the journal's\n", n.OtherModel)
			}
			return err
		},
	}
	c.Flags().StringSliceVar(&keys, "key", nil, "file with a public key; one of them must have signed the head")
	return a.withData(c)
}

// bundleError gives damage its exit code.
func bundleError(name string, err error) error {
	err = fmt.Errorf("%s: %w", name, err)
	if errors.Is(err, bundle.ErrBundle) {
		return &exit{ExitDamage, err}
	}
	return err
}

func bundleKeys(files []string) (o bundle.VerifyOptions, err error) {
	for _, name := range files {
		text, err := readKey(name)
		if err != nil {
			return o, err
		}
		o.Keys = append(o.Keys, text)
	}
	return o, nil
}

// readKey reads a file with one key.
func readKey(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return strings.TrimSpace(string(b)), err
}

func (a *app) bundleSummary(word string, s bundle.Summary) error {
	if a.json() {
		return a.object(s)
	}
	_, err := fmt.Fprintf(a.streams.Out, "%s %d events, %d bytes; %d parents are not in it\n", word, s.Events, s.Bytes, s.Stubs)
	if err == nil && s.Size > 0 {
		signed := "not checked for a signature"
		if s.Signed {
			signed = "signed"
		}
		_, err = fmt.Fprintf(a.streams.Out, "proved under the head of %s after %d events, %s\n", s.Origin, s.Size, signed)
	}
	return err
}
