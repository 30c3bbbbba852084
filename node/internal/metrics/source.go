package metrics

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
)

// MaxConsumers is how many consumers have numbers of their own.
const MaxConsumers = 50

// Source is what is asked at each scrape.
type Source struct {
	Journal   *journal.Journal
	System    *actors.System
	Consumers *consumer.Set

	// Readers returns how many streams are followed now.
	Readers func() int
	// Lag returns how many events the furthest of them is behind.
	Lag func() uint64

	// Space returns how much room there is on the disk, and how much is kept.
	// Nil, or not ok: it is not known.
	Space func() (free, keep uint64, ok bool)
}

// Attach adds the numbers of a journal that is open, and what runs on it.
func (m *Metrics) Attach(s Source) {
	m.registry.MustRegister(&collector{Source: s, upto: unread})
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("toka_"+name, help, labels, nil)
}

var (
	failed     = describe("journal_failed", "1 when the storage has failed: nothing is acknowledged any more.")
	appended   = describe("journal_position", "Position of the last durable event.")
	epoch      = describe("journal_epoch", "Epoch of the journal.")
	streams    = describe("journal_streams", "Streams that have events.")
	payloads   = describe("journal_payloads", "Distinct payloads.")
	intents    = describe("journal_intents", "Intents that events were assigned to.")
	stored     = describe("journal_disk_bytes", "Bytes on disk, by store.", "store")
	walBytes   = describe("journal_wal_bytes", "Bytes of the write-ahead log on disk, by store.", "store")
	written    = describe("journal_written_bytes_total", "Bytes that the storage engine wrote, compactions included, by store.", "store")
	free       = describe("disk_free_bytes", "Room that is left on the disk of the journal.")
	keep       = describe("disk_keep_free_bytes", "Room below which appends are refused.")
	readers    = describe("readers", "Streams that are followed now.")
	readerLag  = describe("reader_lag_max_events", "Events that the followed stream furthest behind has not been sent.")
	agents     = describe("agents", "Live agents and resources, by behaviour and state.", "behaviour", "state")
	mailbox    = describe("mailbox_messages", "Messages that wait in mailboxes, by behaviour.", "behaviour")
	mailboxMax = describe("mailbox_max_messages", "Messages that wait in the fullest mailbox, by behaviour.", "behaviour")
	restarts   = describe("agent_restarts_total", "Failures of agents and resources that they were restarted after, or given up.")
	parked     = describe("parked", "Messages that were given up and not dealt with since, by who parked them.", "by")
	consumers  = describe("consumers", "Durable consumers.")
	lag        = describe("consumer_lag_events", "Durable events that a consumer has not come past.", "consumer")
	lagMax     = describe("consumer_lag_max_events", "The same of the consumer that is furthest behind.")
	open       = describe("consumer_open_deliveries", "Deliveries that are not settled, of all consumers.")
)

// all are the numbers of a collector.
var all = []*prometheus.Desc{
	failed, appended, epoch, streams, payloads, intents, stored, walBytes, written, free, keep, readers, readerLag,
	agents, mailbox, mailboxMax, restarts, parked, consumers, lag, lagMax, open,
}

// patience bounds what a scrape waits for the journal.
const patience = 10 * time.Second

// unread says that nothing was read yet.
const unread = ^uint64(0)

// collector asks its source when it is scraped.
type collector struct {
	Source

	mu                    sync.Mutex
	upto                  uint64 // the counts below are of the events up to here
	byAgents, byConsumers int
}

// Describe lists the numbers.
func (*collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range all {
		to <- d
	}
}

// Collect reads the numbers.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.journal(ctx, gauge, counter)
	if c.Space != nil {
		if left, kept, ok := c.Space(); ok {
			gauge(free, float64(left))
			gauge(keep, float64(kept))
		}
	}
	gauge(readers, float64(c.Readers()))
	gauge(readerLag, float64(c.Lag()))
	c.agents(gauge)
	counter(restarts, float64(c.System.Restarts()))
	c.consumers(gauge)
	if byAgents, byConsumers, err := c.parked(ctx); err == nil {
		gauge(parked, float64(byAgents), "agents")
		gauge(parked, float64(byConsumers), "consumers")
	}
}

type observe func(d *prometheus.Desc, v float64, labels ...string)

func (c *collector) journal(ctx context.Context, gauge, counter observe) {
	bad := 0.0
	if c.Journal.Err() != nil {
		bad = 1
	}
	gauge(failed, bad)
	s := c.Journal.Stats()
	gauge(appended, float64(s.Position))
	gauge(epoch, float64(s.Epoch))
	gauge(streams, float64(s.Streams))
	gauge(payloads, float64(s.Payloads))
	gauge(intents, float64(s.Intents))
	u, err := c.Journal.Usage(ctx)
	if err != nil {
		return
	}
	for name, s := range map[string]journal.StoreUsage{"log": u.Log, "index": u.Index} {
		gauge(stored, float64(s.Bytes), name)
		gauge(walBytes, float64(s.LogBytes), name)
		counter(written, float64(s.Written), name)
	}
}

func (c *collector) agents(gauge observe) {
	type kind struct{ behaviour, state string }
	counts, waiting, most := map[kind]int{}, map[string]int{}, map[string]int{}
	for _, i := range c.System.Agents() {
		counts[kind{i.Behaviour, i.State}]++
		waiting[i.Behaviour] += i.Mailbox
		most[i.Behaviour] = max(most[i.Behaviour], i.Mailbox)
	}
	for k, n := range counts {
		gauge(agents, float64(n), k.behaviour, k.state)
	}
	for b, n := range waiting {
		gauge(mailbox, float64(n), b)
		gauge(mailboxMax, float64(most[b]), b)
	}
}

func (c *collector) consumers(gauge observe) {
	list := c.Consumers.List()
	furthest, unsettled := uint64(0), 0
	for i, each := range list {
		info := each.Info()
		furthest, unsettled = max(furthest, info.Lag), unsettled+info.Open
		if i < MaxConsumers {
			gauge(lag, float64(info.Lag), info.Config.Name)
		}
	}
	gauge(consumers, float64(len(list)))
	gauge(lagMax, float64(furthest))
	gauge(open, float64(unsettled))
}

// parkings are the kinds of events that change what is parked.
var parkings = []events.Pattern{
	events.MustPattern("toka.agent.parked"), events.MustPattern("toka.agent.retry"), events.MustPattern("toka.agent.unparked"),
	events.MustPattern("toka.consumer.*"),
}

// parked counts what is parked. Nothing is counted again while no event has
// come that changes it.
func (c *collector) parked(ctx context.Context) (byAgents, byConsumers int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.Journal.Position()
	if c.upto != unread {
		changed, err := c.changed(ctx, end)
		if err != nil {
			return 0, 0, err
		}
		if !changed {
			c.upto = end
			return c.byAgents, c.byConsumers, nil
		}
	}
	list, err := actors.ListParked(ctx, c.Journal, "")
	if err != nil {
		return 0, 0, err
	}
	n := 0
	for _, each := range c.Consumers.List() {
		given, err := each.Parked(ctx)
		if err != nil {
			return 0, 0, err
		}
		n += len(given)
	}
	c.upto, c.byAgents, c.byConsumers = end, len(list), n
	return len(list), n, nil
}

func (c *collector) changed(ctx context.Context, end uint64) (bool, error) {
	for _, err := range c.Journal.Read(ctx, journal.Query{After: c.upto, Before: end + 1, Kinds: slices.Clone(parkings), Limit: 1}) {
		return err == nil, err
	}
	return false, nil
}
