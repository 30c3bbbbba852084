package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

func (a *app) doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look at all that a journal needs, and say what to do",
		Long: `Looks at the directory of a journal from outside: that it is one and of which
format, who holds it, whether a node answers at its socket, the outside mark, the
permissions of its files and its tokens. Then it has check look inside. What is not
as it should be comes with what to do about it.

Its exit code is 0 unless something is wrong, and then as for check: what only wants
attention is for people to judge.`,
		Example: lines(
			"toka-node doctor --data ./data",
			"toka-node doctor --data ./data -o json"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			found := a.look(c.Context())
			table := a.table()
			if !a.json() {
				fmt.Fprintln(table, "WHAT\tSTATE\tDETAIL")
			}
			code := 0
			for _, f := range found {
				if f.State == stateCritical && code == 0 {
					code = max(f.code, ExitFailed)
				}
				if a.json() {
					if err := a.object(f); err != nil {
						return err
					}
					continue
				}
				fmt.Fprintf(table, "%s\t%s\t%s\n", f.Name, f.State, f.Detail)
				if f.Remedy != "" {
					fmt.Fprintf(table, "\t\t-> %s\n", f.Remedy)
				}
			}
			if err := table.Flush(); err != nil || code == 0 {
				return err
			}
			return &exit{code, nil}
		},
	}
	return a.withData(c)
}

// look looks at the directory and then has check look inside.
func (a *app) look(ctx context.Context) []finding {
	if _, err := os.Stat(a.data); err != nil {
		return []finding{{Name: "directory", State: stateCritical, Detail: printable(err.Error()), Remedy: "check --data, or start a node there: toka-node run --data " + a.data, code: ExitRefused}}
	}
	found := []finding{a.lookAtFormat(), a.lookAtSocket(ctx), a.lookAtMark(), a.lookAtFiles(), a.lookAtTokens()}
	if found[0].State != stateOK {
		return found
	}
	var out, errs bytes.Buffer
	inside := &app{registry: a.registry, streams: Streams{In: strings.NewReader(""), Out: &out, Err: &errs}, change: a.change}
	code := inside.run(ctx, []string{"check", "--data", a.data, "-o", "json"})
	var checked checkJSON
	if err := json.Unmarshal(out.Bytes(), &checked); err != nil {
		detail := strings.TrimSpace(errs.String())
		return append(found, finding{Name: "journal", State: stateCritical, Detail: printable(strings.TrimPrefix(detail, "toka-node: ")), code: code})
	}
	for i := range checked.Findings {
		if checked.Findings[i].State == stateCritical {
			checked.Findings[i].code = checked.Code
		}
	}
	return append(found, checked.Findings...)
}

func (a *app) lookAtFormat() finding {
	f := finding{Name: "format", State: stateOK}
	text, err := os.ReadFile(filepath.Join(a.data, "TOKA"))
	if err != nil {
		return finding{Name: "format", State: stateCritical, Detail: a.data + " is no journal: " + printable(err.Error()), Remedy: "check --data", code: ExitRefused}
	}
	var n int
	if _, err := fmt.Sscanf(string(text), "toka journal format %d\n", &n); err != nil || n < 1 {
		return finding{Name: "format", State: stateCritical, Detail: "the file TOKA does not say a format", Remedy: "restore a backup", code: ExitRefused}
	}
	f.Detail = fmt.Sprintf("format %d, this program reads up to %d", n, journal.Format)
	if n > journal.Format {
		f.State, f.Remedy, f.code = stateCritical, "use a newer toka-node", ExitRefused
	}
	return f
}

func (a *app) lookAtSocket(ctx context.Context) finding {
	f := finding{Name: "node", State: stateOK, Detail: "no node serves it"}
	path := filepath.Join(a.data, socketName)
	if _, err := os.Lstat(path); err != nil {
		return f
	}
	client, err := dialSocket(ctx, path)
	if err != nil {
		f.Detail = "a node left its socket behind, as when it is killed; the next start removes it"
		return f
	}
	defer client.close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	who := "process " + holder(a.data)
	res, err := client.request(ctx, "GET", "/readyz", nil, nil)
	if err != nil {
		return finding{Name: "node", State: stateWarning, Detail: who + " serves it and is not ready: " + printable(err.Error()), Remedy: "wait, or read the log of the node", code: ExitFailed}
	}
	_ = res.Body.Close()
	f.Detail = who + " serves it and is ready"
	return f
}

func (a *app) lookAtMark() finding {
	for _, path := range []string{strings.TrimRight(a.data, "/") + ".mark", filepath.Join(a.data, "MARK")} {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return finding{Name: "mark", State: stateWarning, Detail: printable(err.Error()), Remedy: "make it readable for this user"}
		}
		fields := map[string]string{}
		for l := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(l), " ")
			fields[name] = value
		}
		return finding{Name: "mark", State: stateOK, Detail: printable(fmt.Sprintf("%s: position %s of epoch %s, the journal is %s", path, fields["position"], fields["epoch"], fields["state"]))}
	}
	return finding{
		Name: "mark", State: stateWarning, Detail: "there is no outside mark: a store that lost its newest events would not be found out",
		Remedy: "if it was deleted, run toka-node verify with a head that was kept; opening the journal writes a new one",
	}
}

// lookAtFiles finds what others than the owner can read.
func (a *app) lookAtFiles() finding {
	f := finding{Name: "permissions", State: stateOK, Detail: "only the owner can read it"}
	if runtime.GOOS == "windows" {
		f.Detail = "not looked at on this system"
		return f
	}
	open, first := 0, ""
	err := filepath.WalkDir(a.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // tables come and go
			}
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Type()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o077 != 0 {
			if open++; first == "" {
				first = path
			}
		}
		return nil
	})
	switch {
	case err != nil:
		f.State, f.Detail, f.Remedy = stateWarning, printable(err.Error()), "run as the user of the node"
	case open > 0:
		f.State, f.Detail = stateWarning, fmt.Sprintf("others can get at %d files or directories, such as %s", open, first)
		f.Remedy = "chmod -R go-rwx " + a.data
	}
	return f
}

func (a *app) lookAtTokens() finding {
	t, err := auth.Open(a.data)
	if err != nil {
		return finding{Name: "tokens", State: stateCritical, Detail: printable(err.Error()), Remedy: "restore the file, or remove it and make new tokens", code: ExitRefused}
	}
	all, expired := t.List(), 0
	for _, k := range all {
		if k.Expires != nil && k.Expires.Before(time.Now()) {
			expired++
		}
	}
	f := finding{Name: "tokens", State: stateOK, Detail: fmt.Sprintf("%d tokens, %d of them expired", len(all), expired)}
	switch {
	case len(all) == 0:
		f.Detail = "no tokens: on loopback, requests need none"
	case expired == len(all):
		f.State, f.Remedy = stateWarning, "toka-node token create"
	}
	return f
}
