package node

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
	"github.com/tokaworks/toka/node/internal/server"
)

// deliveryJSON is what consumers fetch prints.
type deliveryJSON struct {
	Attempt int       `json:"attempt"`
	Event   eventJSON `json:"event"`
}

func (a *app) consumersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "consumers",
		Short: "Keep durable, named readers of a journal",
		Long: `A consumer is a durable reader with a name and a filter. It is handed events until
each is acknowledged, again after a while where that does not come, and parks an
event with the reason when it came too often.

What fetch hands out is in flight until it is settled with ack, nak or park, by
this command or another.`,
		Example: lines(
			"toka-node consumers create mailer --kind 'order.>' --data ./data",
			"toka-node consumers fetch mailer --limit 10 -o json",
			"toka-node consumers ack mailer 42"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q; run toka-node consumers --help for a list", args[0])
			}
			return c.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	c.AddCommand(a.consumersList(), a.consumersCreate(), a.consumersFetch(), a.consumersSettle(), a.consumersNak(), a.consumersPark(),
		a.consumersParked(), a.consumersReplay(), a.consumersDrop(),
		a.withConsumer(0, &cobra.Command{
			Use: "show NAME", Short: "Show one consumer",
			Example: lines("toka-node consumers show mailer --data ./data", "toka-node consumers show mailer -o json"),
		}, func(_ *cobra.Command, c *consumer.Consumer, _ []string) error { return a.showConsumers(c) }),
		a.withSet(1, &cobra.Command{
			Use: "delete NAME", Short: "Take a consumer away; what it parked stays in the journal",
			Example: lines("toka-node consumers delete mailer", "toka-node consumers delete mailer --data ./data"),
		}, func(c *cobra.Command, s *consumer.Set, args []string) error {
			if err := s.Delete(c.Context(), args[0]); err != nil {
				return err
			}
			return a.said("deleted", 1)
		}))
	return c
}

// withSet completes a command that takes at least n arguments.
func (a *app) withSet(n int, c *cobra.Command, f func(c *cobra.Command, s *consumer.Set, args []string) error, outputs ...string) *cobra.Command {
	if c.Args == nil {
		c.Args = args(n, [...]string{"no arguments", "one NAME"}[n])
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.read(func(j *journal.Journal) error {
			s, err := consumer.Open(j)
			if err != nil {
				return err
			}
			err = f(c, s, args)
			if errors.Is(err, events.ErrInvalid) {
				err = &exit{ExitUsage, err}
			}
			return errors.Join(err, s.Close())
		})
	}
	return a.withData(c, outputs...)
}

// withConsumer completes a command about one consumer with at least n more
// arguments.
func (a *app) withConsumer(n int, c *cobra.Command, f func(c *cobra.Command, of *consumer.Consumer, args []string) error, outputs ...string) *cobra.Command {
	if c.Args == nil && n > 0 {
		c.Args = func(c *cobra.Command, given []string) error {
			if len(given) < 1+n {
				return usage("%s takes NAME and at least one more; run %s --help", c.CommandPath(), c.CommandPath())
			}
			return nil
		}
	}
	return a.withSet(1, c, func(cmd *cobra.Command, s *consumer.Set, args []string) error {
		of, err := s.Get(args[0])
		if err != nil {
			return fmt.Errorf("%w; run toka-node consumers list", err)
		}
		return f(cmd, of, args[1:])
	}, outputs...)
}

func (a *app) consumersList() *cobra.Command {
	return a.withSet(0, &cobra.Command{
		Use: "list", Short: "List the consumers of a journal",
		Example: lines("toka-node consumers list --data ./data", "toka-node consumers list -o json | jq .lag"),
	}, func(_ *cobra.Command, s *consumer.Set, _ []string) error { return a.showConsumers(s.List()...) }, asNames)
}

func (a *app) showConsumers(cs ...*consumer.Consumer) error {
	t := a.table()
	if a.output == "table" {
		fmt.Fprintln(t, "NAME\tPOSITION\tLAG\tOPEN\tDUE\tFILTER")
	}
	for _, c := range cs {
		i := server.DescribeConsumer(c.Info())
		if a.json() {
			if err := a.object(i); err != nil {
				return err
			}
			continue
		}
		if a.output == asNames {
			if err := a.name(i.Name); err != nil {
				return err
			}
			continue
		}
		var filter []string
		for _, f := range []struct{ name, value string }{
			{"stream", i.Stream},
			{"agent", i.Agent},
			{"kind", strings.Join(i.Kinds, ",")},
			{"correlation", i.Correlation},
			{"intent", i.Intent},
		} {
			if f.value != "" {
				filter = append(filter, f.name+"="+printable(f.value))
			}
		}
		if i.Like != "" {
			filter = append(filter, fmt.Sprintf("like=(a text) min=%g", i.Min))
		}
		if len(filter) == 0 {
			filter = []string{"everything"}
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\n", printable(i.Name), i.Position, i.Lag, i.Open, i.Due, strings.Join(filter, " "))
	}
	return t.Flush()
}

func (a *app) consumersCreate() *cobra.Command {
	var f filter
	var config consumer.Config
	var fromEnd bool
	var l likeness
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a consumer, or show the one that is there with the same configuration",
		Long: `Creates a consumer. It begins with the first event of the journal, after a cursor,
at a time, or with --from-end after the last event there is now.

--like selects by meaning, and --intent what is assigned to an intent, under any name
that the intent has or had. Either is handed an event that is embedded later as the
event in the stream $intents that embedded it.

If there is one of this name it must be configured alike.`,
		Example: lines(
			"toka-node consumers create mailer --kind 'order.placed' --data ./data",
			"toka-node consumers create refunds --intent 0193b5a4-9c1e-8c4e-8a53-2f1d3c5b7a90",
			"toka-node consumers create audit --from-end --max-deliver 10 --backoff 1s,1m"),
	}
	// withSet wraps RunE, so what needs no journal is checked in Args.
	c.Args = func(c *cobra.Command, given []string) error {
		if err := args(1, "one NAME")(c, given); err != nil {
			return err
		}
		if fromEnd && f.after != "" {
			return usage("give --after or --from-end, not both")
		}
		return f.parse()
	}
	out := a.withSet(1, c, func(c *cobra.Command, s *consumer.Set, args []string) error {
		j := s.Journal()
		q, err := f.query(j)
		if err != nil {
			return err
		}
		if fromEnd {
			q.After = j.Position()
		}
		if l.text != "" {
			like, err := a.likeness(c.Context(), j, &l)
			if err != nil {
				return err
			}
			q.Like, q.Min, q.Model = like.vector, like.min, like.model
		}
		config.Name, config.Query = args[0], q
		of, err := s.Create(c.Context(), config)
		if err != nil {
			return err
		}
		return a.showConsumers(of)
	})
	l.flags(c, 0.3)
	f.flags(c, false)
	c.Flags().BoolVar(&fromEnd, "from-end", false, "begin after the last event there is now")
	c.Flags().DurationVar(&config.AckWait, "ack-wait", 30*time.Second, "how long a delivery may take before it comes again")
	c.Flags().IntVar(&config.MaxInFlight, "max-in-flight", 256, "how many deliveries may be open")
	c.Flags().IntVar(&config.MaxDeliver, "max-deliver", 5, "how often an event is delivered before it is parked")
	c.Flags().DurationSliceVar(&config.Backoff, "backoff", nil, "delays after a refusal, by delivery; default 1s,5s,30s,2m")
	return out
}

func (a *app) consumersFetch() *cobra.Command {
	var limit int
	var wait time.Duration
	c := a.withConsumer(0, &cobra.Command{
		Use:   "fetch NAME",
		Short: "Take deliveries; they are in flight until they are settled",
		Long: `Takes at most --limit deliveries and prints them: those that come again first. With
--wait it waits so long for the first. Each comes again when it is not settled
within the consumer's ack wait.`,
		Example: lines(
			"toka-node consumers fetch mailer --data ./data",
			"toka-node consumers fetch mailer --limit 10 --wait 5s -o json"),
	}, func(cmd *cobra.Command, c *consumer.Consumer, _ []string) error {
		if limit < 1 {
			return usage("limit %d: use a positive number", limit)
		}
		ds, err := c.FetchNow(cmd.Context(), limit)
		if err == nil && len(ds) == 0 && wait > 0 {
			ds, err = fetchWithin(cmd, c, limit, wait)
		}
		if err != nil {
			return err
		}
		t := a.table()
		if a.output == "table" {
			fmt.Fprintln(t, "POSITION\tATTEMPT\tSTREAM\tKIND\tDIGEST")
		}
		for _, d := range ds {
			if a.json() {
				if err := a.object(deliveryJSON{d.Attempt, toJSON(d.Event)}); err != nil {
					return err
				}
				continue
			}
			if a.output == asNames { // as ack takes it
				if err := a.name(d.Event.Position); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\n", d.Event.Position, d.Attempt, printable(d.Event.Stream), printable(d.Event.Kind), d.Event.Digest.Short())
		}
		return t.Flush()
	}, asNames)
	c.Flags().IntVar(&limit, "limit", 1, "at most so many")
	c.Flags().DurationVar(&wait, "wait", 0, "how long to wait for the first")
	return c
}

// positions reads the positions of deliveries.
func positions(texts []string) ([]uint64, error) {
	var out []uint64
	for _, s := range texts {
		p, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return nil, usage("position %q: write the position of an event that fetch gave", s)
		}
		out = append(out, p)
	}
	return out, nil
}

// settle completes a command that settles deliveries by position.
func (a *app) settle(c *cobra.Command, done string, f func(cmd *cobra.Command, d consumer.Delivery) error) *cobra.Command {
	return a.withConsumer(1, c, func(cmd *cobra.Command, c *consumer.Consumer, args []string) error {
		ps, err := positions(args)
		if err != nil {
			return err
		}
		for _, p := range ps {
			d, err := c.InFlight(cmd.Context(), p)
			if err == nil {
				err = f(cmd, d)
			}
			if err != nil {
				return err
			}
		}
		return a.said(done, len(ps))
	})
}

func (a *app) consumersSettle() *cobra.Command {
	return a.settle(&cobra.Command{
		Use: "ack NAME POSITION...", Short: "Say that deliveries are dealt with",
		Example: lines("toka-node consumers ack mailer 42", "toka-node consumers ack mailer 42 43 --data ./data"),
	}, "acknowledged", func(cmd *cobra.Command, d consumer.Delivery) error { return d.Ack(cmd.Context()) })
}

func (a *app) consumersNak() *cobra.Command {
	var reason string
	var delay time.Duration
	c := a.settle(&cobra.Command{
		Use: "nak NAME POSITION...", Short: "Refuse deliveries: they come again later, or are parked when they came too often",
		Example: lines("toka-node consumers nak mailer 42", "toka-node consumers nak mailer 42 --reason 'no connection' --delay 1m"),
	}, "refused", func(cmd *cobra.Command, d consumer.Delivery) error { return d.Nak(cmd.Context(), reason, delay) })
	c.Flags().StringVar(&reason, "reason", "", "why, for when it is parked")
	c.Flags().DurationVar(&delay, "delay", 0, "when it comes again; default the consumer's backoff")
	return c
}

func (a *app) consumersPark() *cobra.Command {
	var reason string
	c := a.settle(&cobra.Command{
		Use: "park NAME POSITION...", Short: "Refuse deliveries for good",
		Example: lines("toka-node consumers park mailer 42", "toka-node consumers park mailer 42 --reason 'no such customer'"),
	}, "parked", func(cmd *cobra.Command, d consumer.Delivery) error { return d.Terminate(cmd.Context(), reason) })
	c.Flags().StringVar(&reason, "reason", "", "why")
	return c
}

func (a *app) consumersParked() *cobra.Command {
	return a.withConsumer(0, &cobra.Command{
		Use: "parked NAME", Short: "List what a consumer has parked",
		Example: lines("toka-node consumers parked mailer", "toka-node consumers parked mailer -o json | jq .reason"),
	}, func(cmd *cobra.Command, c *consumer.Consumer, _ []string) error {
		ps, err := c.Parked(cmd.Context())
		if err != nil {
			return err
		}
		t := a.table()
		if a.output == "table" {
			fmt.Fprintln(t, "ID\tPOSITION\tATTEMPTS\tRECORDED\tREASON")
		}
		for _, p := range ps {
			if a.json() {
				if err := a.object(server.DescribeParked(p)); err != nil {
					return err
				}
				continue
			}
			if a.output == asNames { // as replay and drop take it
				if err := a.name(p.ID); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\n", p.ID, p.Event.Position, p.Attempts, p.At.Format(time.RFC3339), printable(p.Reason))
		}
		return t.Flush()
	}, asNames)
}

func (a *app) consumersReplay() *cobra.Command {
	return a.resolveParked(&cobra.Command{
		Use: "replay NAME [ID...]", Short: "Deliver parked events again, all of them if no ID is given",
		Long: `Puts parked events back among what is to be delivered, as far as there is room for
deliveries in flight, and prints how many. IDs are those that parked lists.`,
		Example: lines("toka-node consumers replay mailer", "toka-node consumers replay mailer 0193b5a4-9c1e-7c4e-8a53-2f1d3c5b7a90"),
	}, "replayed", func(cmd *cobra.Command, c *consumer.Consumer, ids []events.ID) (int, error) {
		return c.Replay(cmd.Context(), ids...)
	})
}

func (a *app) consumersDrop() *cobra.Command {
	return a.resolveParked(&cobra.Command{
		Use: "drop NAME [ID...]", Short: "Take parked events off the list for good, all of them if no ID is given",
		Example: lines("toka-node consumers drop mailer", "toka-node consumers drop mailer 0193b5a4-9c1e-7c4e-8a53-2f1d3c5b7a90"),
	}, "dropped", func(cmd *cobra.Command, c *consumer.Consumer, ids []events.ID) (int, error) {
		return c.Drop(cmd.Context(), ids...)
	})
}

// resolveParked completes a command that does something to parked events and
// says to how many.
func (a *app) resolveParked(c *cobra.Command, done string, f func(cmd *cobra.Command, c *consumer.Consumer, ids []events.ID) (int, error)) *cobra.Command {
	c.Args = func(c *cobra.Command, given []string) error {
		if len(given) == 0 {
			return usage("%s takes NAME and IDs; run %s --help", c.CommandPath(), c.CommandPath())
		}
		return nil
	}
	return a.withConsumer(0, c, func(cmd *cobra.Command, c *consumer.Consumer, texts []string) error {
		var ids []events.ID
		for _, s := range texts {
			id, err := events.ParseID(s)
			if err != nil {
				return usage("%w", err)
			}
			ids = append(ids, id)
		}
		n, err := f(cmd, c, ids)
		if err != nil {
			return err
		}
		return a.said(done, n)
	})
}

// said prints to how many something was done.
func (a *app) said(done string, n int) error {
	if a.json() {
		return a.object(map[string]int{done: n})
	}
	_, err := fmt.Fprintf(a.streams.Out, "%s: %d\n", done, n)
	return err
}

// fetchWithin waits for deliveries, and gives none where none came in time.
func fetchWithin(cmd *cobra.Command, c *consumer.Consumer, limit int, wait time.Duration) ([]consumer.Delivery, error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), wait)
	defer cancel()
	ds, err := c.Fetch(ctx, limit)
	if errors.Is(err, context.DeadlineExceeded) && cmd.Context().Err() == nil {
		return nil, nil
	}
	return ds, err
}
