package node

import (
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
)

// logger returns what a node logs with, on standard error.
func (a *app) logger(format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usage("--log-level %q: use debug, info, warn or error", level)
	}
	pretty := terminal(a.streams.Err)
	switch format {
	case "auto":
	case "pretty":
		pretty = true
	case "json":
		pretty = false
	default:
		return nil, usage("--log-format %q: use pretty, json or auto", format)
	}
	if !pretty {
		return slog.New(slog.NewJSONHandler(a.streams.Err, &slog.HandlerOptions{Level: l})), nil
	}
	return slog.New(tint.NewTextHandler(a.streams.Err, &tint.Options{
		Level: l, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != "" || !terminal(a.streams.Err),
	})), nil
}
