package node

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/merkle"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// headFlags are the heads that something is held against.
type headFlags struct {
	files  []string
	public []string
	key    string
}

func (f *headFlags) add(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.files, "head", nil, "file with a signed head that it is held against")
	c.Flags().StringSliceVar(&f.public, "public", nil, "public key that heads must be signed by, a file or the key itself; by default the own one")
	keyFlag(c, &f.key)
}

func (f *headFlags) read() ([]merkle.Head, error) {
	if len(f.files) == 0 {
		return nil, nil
	}
	public, err := publicKeys(f.public, f.key)
	if err != nil {
		return nil, err
	}
	heads := make([]merkle.Head, len(f.files))
	for i, file := range f.files {
		if heads[i], err = headFile(file, public); err != nil {
			return nil, err
		}
	}
	return heads, nil
}

func (a *app) backupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "backup DIR",
		Short: "Write a backup of the journal to a new directory",
		Long: `Writes a backup to a new directory, also while the journal is written to: all
events, and all that cannot be derived from them, the tokens of the node included.
What is derived is left out.
On the same file system tables are linked, not copied: to survive the disk, copy
the directory to another one.`,
		Example: lines(
			"toka-node backup --data ./data /backups/monday",
			"toka-node backup verify /backups/monday --head head.txt"),
		Args: args(1, "one DIR"),
		RunE: func(c *cobra.Command, dirs []string) error {
			return a.read(func(j *journal.Journal) error {
				b, err := j.Backup(c.Context(), dirs[0])
				if err != nil {
					return err
				}
				tokens, err := a.tokens()
				if err == nil {
					err = tokens.CopyTo(dirs[0])
				}
				if err != nil {
					return err
				}
				if a.json() {
					return a.object(b)
				}
				fmt.Fprintf(a.streams.Out, "backup of %d events of %s, epoch %d\nroot %s\n", b.Position, b.Origin, b.Epoch, b.Root)
				return nil
			})
		},
	}
	c = a.withData(c)
	c.AddCommand(a.backupVerifyCommand())
	return c
}

func (a *app) backupVerifyCommand() *cobra.Command {
	var heads headFlags
	c := &cobra.Command{
		Use:   "verify DIR",
		Short: "Verify a backup, and hold it against heads",
		Long: `Recomputes every digest and link of a backup from its stored bytes without
changing anything, and holds the result against what the backup says of itself
and against signed heads, naming the positions that are missing. Exits with 3 if
anything is wrong.`,
		Example: lines(
			"toka-node backup verify /backups/monday --head head.txt",
			"toka-node backup verify /backups/monday -o json"),
		Args: args(1, "one DIR"),
		RunE: func(c *cobra.Command, dirs []string) error {
			known, err := heads.read()
			if err != nil {
				return err
			}
			var o journal.Options
			if a.change != nil {
				a.change(&o)
			}
			progress, end := eventBar(a.streams.Err, "verifying", "")
			r, err := journal.VerifyBackup(c.Context(), dirs[0], o, known, progress)
			end()
			if err != nil {
				return err
			}
			if _, err := auth.Open(dirs[0]); err != nil {
				return &exit{ExitDamage, err}
			}
			return a.verified(r)
		},
	}
	heads.add(c)
	return a.withOutput(c)
}

func (a *app) restoreCommand() *cobra.Command {
	var from string
	var accept bool
	c := &cobra.Command{
		Use:   "restore",
		Short: "Go on after a loss: from a backup, or from what is left",
		Long: `With --from, makes a journal in --data of a backup; the directory must be empty
or new. The tokens of the backup are good again, also those that were revoked
since: see toka-node token list. With --accept-loss, goes on with a journal that
is refused because events are missing, from the last one that is there with all
before it.

Either way a new epoch begins. Cursors up to the place where it begins stay
valid; those to what was lost are refused from then on.`,
		Example: lines(
			"toka-node restore --from /backups/monday --data ./data",
			"toka-node restore --accept-loss --data ./data"),
		Args: args(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			if (from == "") == !accept {
				return usage("use --from BACKUP or --accept-loss")
			}
			if a.held != nil {
				return &exit{ExitRefused, errors.New("restore needs the journal to itself, and a node serves it; stop the node first")}
			}
			var o journal.Options
			if a.change != nil {
				a.change(&o)
			}
			if accept {
				var err error
				if o.Logger, err = a.logger("auto", "warn"); err != nil {
					return err
				}
				r, err := journal.AcceptLoss(a.data, o)
				if err != nil {
					return &exit{ExitRefused, err}
				}
				if a.json() {
					return a.object(r)
				}
				if r.Lost == "" {
					fmt.Fprintf(a.streams.Out, "nothing is missing: %d events, epoch %d; nothing was changed\n", r.Position, r.Epoch)
					return nil
				}
				fmt.Fprintf(a.streams.Out, "accepted: %s\nepoch %d begins after position %d\n", r.Lost, r.Epoch, r.Position)
				if r.SetBack > 0 {
					fmt.Fprintf(a.streams.Out, "%d checkpoints were beyond it and are set back to it\n", r.SetBack)
				}
				return nil
			}
			r, err := journal.Restore(from, a.data, o)
			if err == nil {
				err = restoreTokens(from, a.data)
			}
			if err != nil {
				return &exit{ExitRefused, err}
			}
			if a.json() {
				return a.object(r)
			}
			fmt.Fprintf(a.streams.Out, "restored %d events of %s\nepoch %d begins after position %d\n", r.Position, r.Backup.Origin, r.Epoch, r.Position)
			if r.Lost != "" {
				fmt.Fprintf(a.streams.Out, "not in the backup: %s\n", r.Lost)
			}
			return nil
		},
	}
	c.Flags().StringVar(&from, "from", "", "directory of the backup")
	c.Flags().BoolVar(&accept, "accept-loss", false, "go on without what is missing")
	return a.withData(c)
}

func restoreTokens(from, to string) error {
	tokens, err := auth.Open(from)
	if err != nil {
		return err
	}
	return tokens.CopyTo(to)
}
