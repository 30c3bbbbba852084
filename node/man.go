package node

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages, one a command",
		Long: `Writes a manual page for each command to a directory, as toka-node-log.1 and so on.
In share/man/man1 of a place that man searches, man toka-node-log shows the page.`,
		Example: lines("toka-node man ~/.local/share/man/man1", "toka-node man /usr/local/share/man/man1"),
		Args:    args(1, "one DIR"),
		RunE: func(c *cobra.Command, dirs []string) error {
			if err := os.MkdirAll(dirs[0], 0o755); err != nil {
				return err
			}
			root := c.Root()
			root.DisableAutoGenTag = true // it would say when, and the head does
			head := &doc.GenManHeader{Section: "1", Source: "Toka " + versionNow().Version, Manual: "Toka"}
			if err := doc.GenManTree(root, head, dirs[0]); err != nil {
				return fmt.Errorf("manual pages: %w", err)
			}
			return nil
		},
	}
	return c
}
