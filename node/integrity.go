package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/merkle"
	"github.com/tokaworks/toka/node/internal/server"
)

// keyFlag is where the key that signs heads lies: outside every journal.
func keyFlag(c *cobra.Command, path *string) {
	place := ""
	if dir, err := os.UserConfigDir(); err == nil {
		place = filepath.Join(dir, "toka", "head.key")
	}
	c.Flags().StringVar(path, "key", place, "file of the key that signs heads")
}

// signingKey returns the key in a file, or nil if there is no such file.
func signingKey(path string) (*merkle.Key, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	k, err := merkle.ParseKey(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// newKey draws a key and writes it to a file that must not exist and must not
// lie in the journal: who gets hold of a copy of the journal must not be able
// to sign another one.
func (a *app) newKey(path, name string) (*merkle.Key, error) {
	if path == "" {
		return nil, usage("name a file with --key")
	}
	file, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	data, err := filepath.Abs(a.data)
	if err != nil {
		return nil, err
	}
	if rel, err := filepath.Rel(data, file); err == nil && filepath.IsLocal(rel) {
		return nil, usage("the key must not lie in the journal's directory; name another file with --key")
	}
	k, err := merkle.NewKey(name)
	if err != nil {
		return nil, usage("%w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s is there already, and heads that it signed cannot be signed by another; name another file with --key", path)
	}
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(k.Secret() + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	return k, os.WriteFile(file+".pub", []byte(k.Public()+"\n"), 0o644)
}

// publicKeys are the keys that a head must be signed by: those given, as files
// or as text, or else the own one.
func publicKeys(given []string, key string) ([]string, error) {
	if len(given) > 0 {
		keys := make([]string, len(given))
		for i, text := range given {
			keys[i] = text
			if b, err := os.ReadFile(text); err == nil {
				keys[i] = string(b)
			}
		}
		return keys, nil
	}
	k, err := signingKey(key)
	if err != nil || k == nil {
		return nil, err
	}
	return []string{k.Public()}, nil
}

// trusted reads a head that must be signed by one of the keys.
func trusted(text string, public []string) (merkle.Head, error) {
	if len(public) == 0 {
		return merkle.Head{}, usage("whom to trust is not known: name a public key with --public, or the file of your own key with --key")
	}
	h, err := merkle.Open([]byte(text), public...)
	if errors.Is(err, merkle.ErrKey) {
		return h, usage("%w", err)
	}
	if err != nil {
		return h, &exit{ExitDamage, err}
	}
	return h, nil
}

// headFile reads a head that was kept in a file.
func headFile(path string, public []string) (merkle.Head, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return merkle.Head{}, err
	}
	h, err := trusted(string(b), public)
	if err != nil {
		return h, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}

func (a *app) headCommand() *cobra.Command {
	var key, create string
	var size uint64
	c := &cobra.Command{
		Use:   "head",
		Short: "Print the head of the journal: one hash over all its events, signed",
		Long: `Prints the head of the journal, which commits to every event in it and to their
order, as a C2SP checkpoint: three lines, and a signature if there is a key.

Keep heads where the journal is not, with somebody else for instance: a journal
that was rewritten or rolled back as a whole is told from the one that a head
was taken of by verify --head. The key has to be kept apart from the journal,
too.`,
		Example: lines(
			"toka-node head --data ./data --new-key orders.example.com > head.txt",
			"toka-node head --data ./data -o json"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			k, err := signingKey(key)
			if err == nil && create != "" {
				k, err = a.newKey(key, create)
			}
			if err != nil {
				return err
			}
			return a.read(func(j *journal.Journal) error {
				if !c.Flags().Changed("size") {
					size = j.Position()
				}
				h, err := server.NewHead(c.Context(), j, k, size)
				if err != nil {
					return err
				}
				if a.json() {
					return a.object(h)
				}
				fmt.Fprint(a.streams.Out, h.Note)
				if k == nil {
					fmt.Fprintf(a.streams.Err, "not signed: there is no key at %s; --new-key NAME makes one\n", key)
				} else if create != "" {
					fmt.Fprintf(a.streams.Err, "the public key is %s\n", k.Public())
				}
				return nil
			})
		},
	}
	keyFlag(c, &key)
	c.Flags().StringVar(&create, "new-key", "", "make a key of this name, which is part of every signature, and FILE.pub beside it")
	c.Flags().Uint64Var(&size, "size", 0, "the head over so many events; by default all")
	return a.withData(c)
}

func (a *app) proveCommand() *cobra.Command {
	var key, check, head string
	var from, to uint64
	var public []string
	c := &cobra.Command{
		Use:   "prove [EVENT]",
		Short: "Prove that an event is in the journal, or that a head continues an older one",
		Long: `Prints a proof as one JSON object. With EVENT (an id, the id with which it was
ingested, or the beginning of its digest): that the event stands in the journal
at its position, with everything that is stored of it. With --from and --to:
that the journal of --to events begins with that of --from events, unchanged.

--check FILE checks a proof without a journal ("-" reads it from standard input).
Its head must be signed by a key that is trusted: one of --public, or the own
one. With --head it is a head that you kept, and needs no other.`,
		Example: lines(
			"toka-node prove --data ./data 0193b5a4-9c1e-7c4e-8a53-2f1d3c5b7a90 > proof.json",
			"toka-node prove --data ./data --from 1000 --to 2000 > proof.json",
			"toka-node prove --check proof.json --public orders.example.com+1b2c3d4e+AX…"),
		Args: func(c *cobra.Command, given []string) error {
			if want := boolInt(check == "" && from == 0); len(given) != want {
				return usage("%s takes one EVENT, or --from and --to, or --check; run %s --help", c.CommandPath(), c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, ids []string) error {
			if check != "" {
				keys, err := publicKeys(public, key)
				if err != nil {
					return err
				}
				return a.checkProof(check, head, keys)
			}
			k, err := signingKey(key)
			if err != nil {
				return err
			}
			return a.read(func(j *journal.Journal) error {
				if to == 0 {
					to = j.Position()
				}
				var p server.Proof
				switch {
				case from > to:
					return usage("--from %d is after --to %d", from, to)
				case from > 0:
					p, err = server.ProveConsistency(c.Context(), j, k, from, to)
				default:
					e, failed := resolve(c, j, ids[0])
					if failed != nil {
						return failed
					}
					p, err = server.ProveInclusion(c.Context(), j, k, e.Position, to)
				}
				if err != nil {
					return err
				}
				return a.object(p)
			})
		},
	}
	keyFlag(c, &key)
	c.Flags().Uint64Var(&from, "from", 0, "size of the older head")
	c.Flags().Uint64Var(&to, "to", 0, "size of the head; by default all events")
	c.Flags().StringVar(&check, "check", "", "check the proof in this file instead")
	c.Flags().StringSliceVar(&public, "public", nil, "public key that a head must be signed by: a file, or the key itself")
	c.Flags().StringVar(&head, "head", "", "with --check: a signed head that you kept; the proof must be about it")
	return a.withData(c)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// checkProof checks a proof that prove printed, anywhere and maybe long ago.
func (a *app) checkProof(file, kept string, public []string) error {
	in := a.streams.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	var p server.Proof
	d := json.NewDecoder(io.LimitReader(in, 8<<20))
	if err := d.Decode(&p); err != nil {
		return &exit{ExitDamage, fmt.Errorf("%s: not a proof: %w", file, err)}
	}
	var older merkle.Head
	known, err := trusted(p.Head, public)
	if err == nil && p.Proof == "consistency" {
		older, err = trusted(p.Older, public)
	}
	if err != nil {
		return err
	}
	if kept != "" {
		mine, err := headFile(kept, public)
		if err != nil {
			return err
		}
		if mine != known && mine != older {
			return &exit{ExitDamage, fmt.Errorf("the proof is about the head of %d events, not about that in %s, of %d", known.Size, kept, mine.Size)}
		}
	}
	var said string
	switch p.Proof {
	case "inclusion":
		e, _, err := events.CheckRecord(p.Position, p.Record)
		if err != nil {
			return &exit{ExitDamage, err}
		}
		if err := merkle.CheckInclusion(p.Path, known.Size, known.Root, p.Position-1, e.RecordHash()); err != nil {
			return &exit{ExitDamage, err}
		}
		if a.json() {
			return a.object(struct {
				Proof  string    `json:"proof"`
				Origin string    `json:"origin"`
				Size   uint64    `json:"size"`
				Event  eventJSON `json:"event"`
			}{p.Proof, known.Origin, known.Size, toJSON(e)})
		}
		said = fmt.Sprintf("event %s (%s in stream %s) is at position %d", e.ID, printable(e.Kind), printable(e.Stream), p.Position)
	case "consistency":
		if older.Origin != known.Origin {
			return &exit{ExitDamage, fmt.Errorf("%w: the heads are of two journals, %s and %s", merkle.ErrProof, older.Origin, known.Origin)}
		}
		if err := merkle.CheckConsistency(p.Path, known.Size, known.Root, older.Size, older.Root); err != nil {
			return &exit{ExitDamage, err}
		}
		if a.json() {
			return a.object(struct {
				Proof  string `json:"proof"`
				Origin string `json:"origin"`
				Size   uint64 `json:"size"`
				Older  uint64 `json:"older"`
			}{p.Proof, known.Origin, known.Size, older.Size})
		}
		said = fmt.Sprintf("the first %d events are the same", older.Size)
	default:
		return &exit{ExitDamage, fmt.Errorf("%s: not a proof that this program knows: %q", file, p.Proof)}
	}
	fmt.Fprintf(a.streams.Out, "ok: %s in %s, head of %d events\n", said, strings.TrimSpace(known.Origin), known.Size)
	return nil
}
