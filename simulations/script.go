package simulations

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// separator stands between lines and what they printed.
const separator = "----"

// Run runs a transcript and returns it with what the World printed this time:
// a transcript that tells the truth is returned as it is.
//
// A transcript is a sequence of steps with empty lines between them. A step is
// lines, each a verb and its arguments, then ---- and what they printed.
// Lines that begin with # are comments.
func (w *World) Run(ctx context.Context, transcript string) (string, error) {
	var out strings.Builder
	printing := false // what was printed last time is left out
	var printed strings.Builder
	end := func() {
		if printing {
			out.WriteString(printed.String())
			printed.Reset()
			printing = false
		}
	}
	for n, line := range strings.Split(strings.TrimRight(transcript, "\n"), "\n") {
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == separator:
			if printing {
				return out.String(), fmt.Errorf("line %d: a second %s in one step", n+1, separator)
			}
			printing = true
		case trimmed == "":
			end()
		case printing:
			continue
		case !strings.HasPrefix(trimmed, "#"):
			s, err := w.Do(ctx, trimmed)
			if err != nil {
				return out.String(), fmt.Errorf("line %d: %w", n+1, err)
			}
			printed.WriteString(s)
		}
		out.WriteString(line + "\n")
	}
	end()
	return out.String(), nil
}

// args is a line taken apart.
type args struct {
	verb    string
	plain   []string
	options map[string]string // NAME=VALUE
}

func (a *args) knows(options []string) bool {
	for name := range a.options {
		if !slices.Contains(options, name) {
			return false
		}
	}
	return true
}

// parseLine takes a line apart at white space; a JSON object is one argument
// however much of it is in there.
func parseLine(line string) (*args, error) {
	a := &args{options: map[string]string{}}
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimSpace(rest) {
		if rest[0] == '{' {
			var raw json.RawMessage
			d := json.NewDecoder(strings.NewReader(rest))
			if err := d.Decode(&raw); err != nil {
				return nil, fmt.Errorf("JSON: %w", err)
			}
			a.plain = append(a.plain, string(raw))
			rest = rest[d.InputOffset():]
			continue
		}
		word, after, _ := strings.Cut(rest, " ")
		rest = after
		name, value, option := strings.Cut(word, "=")
		switch {
		case a.verb == "":
			a.verb = word
		case option:
			a.options[name] = value
		default:
			a.plain = append(a.plain, word)
		}
	}
	return a, nil
}
