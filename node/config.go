package node

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// A setting is a flag of run, or one that nearly every command has: where the
// journal is, the node on the network, the output. What the command line does
// not give comes from the environment, and what that does not from the file.

const configFlag = "config"

// sharedSettings are flags that mean the same wherever withData and withOutput
// put them.
var sharedSettings = []string{"data", "output"}

// isSetting reports whether f of c may come from elsewhere than the command
// line. Other flags of the same names may mean another thing.
func (a *app) isSetting(c *cobra.Command, f *pflag.Flag) bool {
	switch {
	case f.Name == "help":
		return false
	case remoteFlags[f.Name] != "":
		return true
	}
	return slices.Contains(strings.Fields(c.Annotations[settingsOf]), f.Name)
}

// settingsOf names the annotation of a command with those of its flags that are
// settings.
const settingsOf = "settings"

func annotate(c *cobra.Command, names ...string) {
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[settingsOf] += " " + strings.Join(names, " ")
}

// withRunSettings makes all flags of c settings.
func withRunSettings(c *cobra.Command) *cobra.Command {
	c.Flags().VisitAll(func(f *pflag.Flag) { annotate(c, f.Name) })
	return c
}

// settings gives the settings of c that are not on the command line the values
// that they have elsewhere, and notes where each is from.
func (a *app) settings(c *cobra.Command) error {
	c.InheritedFlags() // joins those of the commands above
	if f := c.Flags().Lookup(configFlag); f != nil && !f.Changed {
		a.remote.config = os.Getenv(envName(configFlag))
	}
	file, err := a.readConfig()
	if err != nil {
		return usage("--config %s: %w", a.remote.config, err)
	}
	a.from = map[string]string{}
	var wrong []error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !a.isSetting(c, f) {
			return
		}
		env := os.Getenv(envName(f.Name))
		given, inFile := file[f.Name]
		switch {
		case f.Changed:
			a.from[f.Name] = "the command line"
		case env != "":
			a.from[f.Name] = envName(f.Name)
			given = []string{env}
		case inFile:
			a.from[f.Name] = a.remote.config
		default:
			a.from[f.Name] = "default"
		}
		if f.Changed || env == "" && !inFile {
			return
		}
		if err := setFlag(f, given, env == ""); err != nil {
			wrong = append(wrong, usage("%s: %s: %w", a.from[f.Name], f.Name, err))
		}
	})
	return errors.Join(wrong...)
}

// setFlag does not mark f as changed: that is for what the command line says.
func setFlag(f *pflag.Flag, values []string, list bool) error {
	s, many := f.Value.(pflag.SliceValue)
	switch {
	case many && list:
		return s.Replace(values)
	case len(values) != 1:
		return errors.New("give one value, not a list")
	}
	return f.Value.Set(values[0])
}

// readConfig reads the file of settings, if one is named.
func (a *app) readConfig() (map[string][]string, error) {
	if a.remote.config == "" {
		return nil, nil
	}
	f, err := os.Open(a.remote.config)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return parseConfig(f, settingNames())
}

// parseConfig reads a map of YAML from names of settings to values or lists.
func parseConfig(r io.Reader, known []string) (map[string][]string, error) {
	dec := yaml.NewDecoder(r)
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one document in it")
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: write settings as NAME: VALUE", top.Line)
	}
	out := map[string][]string{}
	for i := 0; i < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		name := key.Value
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("line %d: there is no setting %q%s; toka-node config print lists them", key.Line, printable(name), alike(name, known))
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("line %d: %s stands there twice", key.Line, name)
		}
		values := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			values = value.Content
		}
		out[name] = []string{}
		for _, v := range values {
			if v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
				return nil, fmt.Errorf("line %d: %s: give a value, or a list of values", v.Line, name)
			}
			out[name] = append(out[name], v.Value)
		}
	}
	return out, nil
}

// alike names what somebody may have meant.
func alike(name string, known []string) string {
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	for _, k := range known {
		if k == name || strings.Contains(k, name) || strings.HasPrefix(name, k) {
			return fmt.Sprintf(" (there is %s)", k)
		}
	}
	return ""
}

// settingNames are the names of all settings.
func settingNames() []string {
	names := slices.Clone(sharedSettings)
	(&app{}).runCommand().Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	for name := range remoteFlags {
		if name != configFlag {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// settingJSON is a setting as config print shows it.
type settingJSON struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"`
}

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Show the settings and where each comes from",
		Long: `A setting is a flag of run, or one that other commands share, such as --data, --server
and --output. What the command line does not give comes from the environment: --keep-free
from TOKA_KEEP_FREE. What that does not give comes from the file of --config or TOKA_CONFIG,
which is YAML: a name of a setting, a colon, and its value or a list of values.`,
		Example: lines("toka-node config print", "toka-node config print --config /etc/toka/node.yaml"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q; run toka-node config --help for a list", args[0])
			}
			return c.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	c.AddCommand(a.configPrintCommand())
	return c
}

func (a *app) configPrintCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "print",
		Short: "Print every setting, its value and where that comes from",
		Long: `Prints every setting that toka-node run has here, with its value and where that comes
from: the command line, a variable of the environment, the file, or the default. A token
is not shown. It takes the flags of run, and changes nothing.

Variables that begin with TOKA_ and stand for no setting are named on standard error.`,
		Example: lines(
			"toka-node config print --config /etc/toka/node.yaml",
			"toka-node config print --listen 127.0.0.1:8000 -o json"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return a.printConfig(c) },
	}
	a.runFlags(c, &f)
	return withRunSettings(a.withData(c, asNames))
}

func (a *app) printConfig(c *cobra.Command) error {
	t := a.table()
	if a.output == "table" {
		fmt.Fprintln(t, "NAME\tVALUE\tFROM")
	}
	var failed error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if failed != nil || !a.isSetting(c, f) {
			return
		}
		line := settingJSON{f.Name, f.Value.String(), a.from[f.Name]}
		if s, ok := f.Value.(pflag.SliceValue); ok {
			line.Value = strings.Join(s.GetSlice(), ",")
		}
		if f.Name == "token" && line.Value != "" {
			line.Value = "(not shown)"
		}
		switch a.output {
		case "json":
			failed = a.object(line)
		case asNames:
			_, failed = fmt.Fprintln(a.streams.Out, line.Name)
		default:
			_, failed = fmt.Fprintf(t, "%s\t%s\t%s\n", line.Name, cmp.Or(printable(line.Value), "-"), printable(line.From))
		}
	})
	known := settingNames()
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		stands := slices.ContainsFunc(known, func(s string) bool { return envName(s) == name }) || name == envName(configFlag) || name == embedKey
		if strings.HasPrefix(name, "TOKA_") && !stands {
			fmt.Fprintf(a.streams.Err, "toka-node: the environment's %s stands for no setting\n", printable(name))
		}
	}
	return errors.Join(failed, t.Flush())
}
