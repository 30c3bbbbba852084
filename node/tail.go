package node

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/node/internal/server"
)

func (a *app) tailCommand() *cobra.Command {
	var after string
	var limit int
	filters := url.Values{}
	var l likeness
	c := &cobra.Command{
		Use:     "tail",
		Aliases: []string{"subscribe"},
		Short:   "Follow events of a node as they become durable",
		Long: `Shows events as the node that serves --data, or the one of --server, makes them
durable. Without --after it begins with the next one; --after 0 begins at the first.
When the connection is lost it comes back by itself, where it was: no event is
missed or shown twice.

--like selects events by meaning: those whose stored vector is at least --min near to
the vector of the text, which has to be of the model of theirs.`,
		Example: lines(
			"toka-node tail --data ./data --kind 'order.>'",
			"toka-node tail --data ./data --like 'customer wants a refund' --min 0.4",
			"toka-node tail --server http://127.0.0.1:7171 --after 1-42 -o json"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 0 {
				return usage("limit %d: use 0 for no limit, or a positive number", limit)
			}
			for _, name := range []string{"stream", "agent", "intent", "correlation"} {
				if v := c.Flags().Lookup(name).Value.String(); v != "" {
					filters.Set(name, v)
				}
			}
			kinds, err := c.Flags().GetStringSlice("kind")
			if err != nil {
				return err
			}
			filters["kind"] = kinds
			if l.text != "" {
				like, m, err := a.meant(c.Context(), &l)
				if err != nil {
					return err
				}
				filters.Set("like", base64.RawURLEncoding.EncodeToString(like.vector.Bytes()))
				filters.Set("model", m.Name)
				filters.Set("min", strconv.FormatFloat(like.min, 'g', -1, 64))
			}
			filters.Set("as", "record")
			dial := func(ctx context.Context) (*client, error) {
				if a.remote.server != "" {
					return a.remote.client()
				}
				return dialSocket(ctx, filepath.Join(a.data, socketName))
			}
			t := &tail{a: a, dial: dial, filters: filters, cursor: after, left: limit, bounded: limit > 0, table: a.table()}
			return t.run(c.Context())
		},
	}
	c.Flags().String("stream", "", "only events of this stream")
	c.Flags().String("agent", "", "only events of this agent")
	c.Flags().String("intent", "", "only events of this intent")
	c.Flags().String("correlation", "", "only events with this correlation id")
	c.Flags().StringSlice("kind", nil, "only kinds that match: dot tokens, * for one, > for the rest")
	l.flags(c, 0.3)
	c.Flags().StringVar(&after, "after", "", "begin after this cursor; without it, with the next event")
	c.Flags().IntVar(&limit, "limit", 0, "end after so many events; 0 does not end")
	return a.withData(c, asNames)
}

// tail is one run of the command.
type tail struct {
	a       *app
	dial    func(context.Context) (*client, error)
	filters url.Values
	cursor  string // everything up to here was shown
	left    int
	bounded bool
	table   *tabwriter.Writer
	headed  bool
}

// errTailed ends a tail that has shown what was asked for.
var errTailed = errors.New("done")

// run follows until ctx ends, coming back after each loss. The first
// connection must succeed: a wrong address is no loss.
func (t *tail) run(ctx context.Context) error {
	const least, most = 25 * time.Millisecond, 5 * time.Second
	wait := least
	for first := true; ; first = false {
		before := t.cursor
		err := t.follow(ctx)
		_ = t.table.Flush()
		p, refused := errors.AsType[*server.Problem](err)
		switch {
		case errors.Is(err, errTailed) || ctx.Err() != nil:
			return nil
		case refused && p.Status != http.StatusServiceUnavailable:
			return &exit{ExitRefused, fmt.Errorf("the node refuses: %s", printable(p.Detail))}
		case first && t.cursor == before && !refused:
			return &exit{ExitRefused, fmt.Errorf("no node answers: %w; start one with toka-node run --data %s, or read the journal with toka-node log", err, t.a.data)}
		}
		if t.cursor != before {
			wait = least
		}
		fmt.Fprintf(t.a.streams.Err, "the connection was lost (%v); going on after %s\n", err, t.cursor)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, most)
	}
}

// follow shows what one connection brings.
func (t *tail) follow(ctx context.Context) error {
	client, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer client.close()
	if t.cursor != "" {
		t.filters.Set("after", t.cursor)
	}
	res, err := client.request(ctx, http.MethodGet, "/v1/events/stream?"+t.filters.Encode(), http.NoBody, nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	in := bufio.NewReaderSize(res.Body, 64<<10)
	var id, name, data string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		line = strings.TrimSuffix(line, "\n")
		field, value, _ := strings.Cut(line, ": ")
		switch {
		case field == "id":
			id = value
		case field == "event":
			name = value
		case field == "data":
			data = value
		case line == "":
			if err := t.take(name, data); err != nil {
				return err
			}
			// Only now: what was cut off in the middle comes again.
			t.cursor = id
			if t.bounded && t.left == 0 {
				return errTailed
			}
			if in.Buffered() == 0 {
				if err := t.table.Flush(); err != nil {
					return err
				}
			}
			name, data = "", ""
		}
	}
}

// take shows one event, or heeds what the stream says of itself.
func (t *tail) take(name, data string) error {
	switch name {
	case "":
		if data == "" {
			return nil // a heartbeat
		}
		t.left--
		return t.show(data)
	case "toka.end":
		var why struct {
			Reason string `json:"reason"`
		}
		if err := json.Unmarshal([]byte(data), &why); err != nil {
			return err
		}
		if why.Reason == "token" || why.Reason == "token-expired" {
			return &server.Problem{Status: http.StatusUnauthorized, Detail: "the token is no longer good"}
		}
		return fmt.Errorf("the node ends it: %s", printable(why.Reason))
	}
	return nil
}

func (t *tail) show(data string) error {
	if t.a.json() {
		_, err := io.WriteString(t.a.streams.Out, data+"\n")
		return err
	}
	var e struct {
		ID         string    `json:"id"`
		Cursor     string    `json:"cursor"`
		RecordTime time.Time `json:"record_time"`
		Stream     string    `json:"stream"`
		Kind       string    `json:"kind"`
		Digest     string    `json:"digest"`
		Parents    []struct {
			Digest string `json:"digest"`
		} `json:"parents"`
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return fmt.Errorf("the node sends what is no event: %w", err)
	}
	if t.a.output == asNames {
		return t.a.name(e.ID)
	}
	if !t.headed {
		t.headed = true
		fmt.Fprintln(t.table, "CURSOR\tRECORDED\tSTREAM\tKIND\tDIGEST\tPARENTS")
	}
	parents := make([]string, len(e.Parents))
	for i, p := range e.Parents {
		parents[i] = short(p.Digest)
	}
	if len(parents) == 0 {
		parents = []string{"-"}
	}
	_, err := fmt.Fprintf(t.table, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Cursor, e.RecordTime.Format(time.RFC3339),
		printable(e.Stream), printable(e.Kind), short(e.Digest), strings.Join(parents, " "))
	return err
}

func short(digest string) string { return printable(digest[:min(len(digest), 12)]) }
