package node

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/node/internal/server/auth"
)

func (a *app) tokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke the tokens of a node",
		Long: `Tokens say who may ask a node for what: read, append or admin, over all streams and
kinds or over those that patterns match. They are kept beside the journal, as
digests; the text of a token is shown once.

On loopback a node needs no token until there is one.`,
		Example: lines(
			"toka-node token create --data ./data --name worker --scope read --scope append",
			"toka-node token list --data ./data"),
		Args: args(0, "a command: create, list or revoke"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.tokenCreateCommand(), a.tokenListCommand(), a.tokenRevokeCommand())
	return c
}

// tokens returns those of the node that runs this, or of the directory.
func (a *app) tokens() (*auth.Tokens, error) {
	if a.held != nil {
		return a.held.tokens, nil
	}
	if _, err := os.Stat(a.data); err != nil {
		return nil, &exit{ExitRefused, fmt.Errorf("%w; start a node there first, or check --data", err)}
	}
	t, err := auth.Open(a.data)
	if err != nil {
		return nil, &exit{ExitRefused, err}
	}
	return t, nil
}

func (a *app) tokenCreateCommand() *cobra.Command {
	var name string
	var scopes, streams, kinds []string
	var within time.Duration
	c := &cobra.Command{
		Use:   "create",
		Short: "Make a token and show it, this once",
		Long: `Makes a token. Without patterns it covers every stream and kind. In patterns of
streams, * stands for any text; patterns of kinds are those of log --kind.`,
		Example: lines(
			"toka-node token create --data ./data --name dashboard --scope read --expires 720h",
			"toka-node token create --data ./data --name shop --scope append --stream 'order-*' --kind 'order.>' -o json"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			spec := auth.Token{Name: name, Streams: streams, Kinds: kinds}
			for _, s := range scopes {
				spec.Scopes = append(spec.Scopes, auth.Scope(s))
			}
			if within < 0 {
				return usage("--expires %s: give a positive time, or 0 for never", within)
			}
			now := time.Now()
			if within > 0 {
				end := now.Add(within).UTC().Truncate(time.Second)
				spec.Expires = &end
			}
			if err := spec.Validate(); err != nil {
				return usage("%w", err)
			}
			t, err := a.tokens()
			if err != nil {
				return err
			}
			made, text, err := t.Create(spec, now)
			if err != nil {
				return err
			}
			if a.json() {
				return a.object(struct {
					auth.Token
					Text string `json:"token"`
				}{made, text})
			}
			_, err = fmt.Fprintln(a.streams.Out, text)
			return err
		},
	}
	c.Flags().StringVar(&name, "name", "", "what the token is for")
	c.Flags().StringSliceVar(&scopes, "scope", nil, "read, append or admin; may be given again")
	c.Flags().StringSliceVar(&streams, "stream", nil, "only streams that match; may be given again")
	c.Flags().StringSliceVar(&kinds, "kind", nil, "only kinds that match; may be given again")
	c.Flags().DurationVar(&within, "expires", 90*24*time.Hour, "how long it is good; 0 is for ever")
	return a.withData(c)
}

func (a *app) tokenListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List tokens, without their texts",
		Long:  `Lists the tokens of a directory, oldest first, with those that have expired.`,
		Example: lines(
			"toka-node token list --data ./data",
			"toka-node token list --data ./data -o json"),
		Args: args(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			t, err := a.tokens()
			if err != nil {
				return err
			}
			table := a.table()
			if a.output == "table" {
				fmt.Fprintln(table, "ID\tNAME\tSCOPES\tSTREAMS\tKINDS\tEXPIRES")
			}
			for _, k := range t.List() {
				if a.json() {
					if err := a.object(k); err != nil {
						return err
					}
					continue
				}
				if a.output == asNames {
					if err := a.name(k.Name); err != nil {
						return err
					}
					continue
				}
				var scopes []string
				for _, s := range k.Scopes {
					scopes = append(scopes, string(s))
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, printable(k.Name), strings.Join(scopes, " "), allOr(k.Streams), allOr(k.Kinds), expiry(&k))
			}
			return table.Flush()
		},
	}
	return a.withData(c, asNames)
}

func allOr(patterns []string) string {
	if len(patterns) == 0 {
		return "all"
	}
	return printable(strings.Join(patterns, " "))
}

func expiry(t *auth.Token) string {
	switch {
	case t.Expires == nil:
		return "never"
	case t.Expires.Before(time.Now()):
		return "expired " + t.Expires.Format(time.RFC3339)
	}
	return t.Expires.Format(time.RFC3339)
}

func (a *app) tokenRevokeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "revoke ID|NAME",
		Short: "End a token, now",
		Long: `Ends a token. Requests with it are refused from now on, and streams that were
opened with it end within a heartbeat.`,
		Example: lines(
			"toka-node token revoke --data ./data dashboard",
			"toka-node token revoke --data ./data 5f3a9c0d2b7e4f18"),
		Args: args(1, "one ID or NAME"),
		RunE: func(_ *cobra.Command, names []string) error {
			t, err := a.tokens()
			if err != nil {
				return err
			}
			gone, err := t.Revoke(names[0])
			if err != nil {
				return err
			}
			if a.json() {
				return a.object(gone)
			}
			_, err = fmt.Fprintf(a.streams.Out, "revoked %s (%s)\n", gone.ID, printable(gone.Name))
			return err
		},
	}
	return a.withData(c)
}
