package consumer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/journal"
)

// Errors that a caller can act on.
var (
	// ErrExists: there is a consumer of this name with another configuration.
	ErrExists = errors.New("consumer exists with another configuration")
	// ErrNotFound: there is no such consumer.
	ErrNotFound = errors.New("no such consumer")
	// ErrNotInFlight: the delivery was settled, or delivered again, before.
	ErrNotInFlight = errors.New("delivery is not in flight")
)

// Limits of a configuration.
const (
	MaxInFlight = 2048 // the most that Config.MaxInFlight may be
	maxName     = 200
)

// Config describes a consumer.
type Config struct {
	// Name is unique in a journal: 1 to 200 bytes, no control characters, not
	// beginning with $.
	Name string

	// Query is the filter: Stream, Agent, Kinds, Correlation, Like, Intent, and
	// where to begin: After or Since. Like is of Query.Model, or of the model that the
	// journal has when the consumer is created. The zero Query is everything from the beginning.
	Query journal.Query

	// AckWait is how long a delivery may take before it comes again. Default
	// 30 s.
	AckWait time.Duration
	// MaxInFlight is how many deliveries may be open at a time, those that
	// wait to come again included. Default 256.
	MaxInFlight int
	// MaxDeliver is how often an event is delivered before it is parked.
	// Default 5.
	MaxDeliver int
	// Backoff is how long a refused delivery waits before it comes again, by
	// how often it was delivered; the last holds for all further ones. Default
	// 1 s, 5 s, 30 s, 2 min.
	Backoff []time.Duration
}

func (c Config) withDefaults() Config {
	if c.AckWait == 0 {
		c.AckWait = 30 * time.Second
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 256
	}
	if c.MaxDeliver == 0 {
		c.MaxDeliver = 5
	}
	if len(c.Backoff) == 0 {
		c.Backoff = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute}
	}
	return c
}

func (c *Config) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("consumer %q: %w: %s", c.Name, events.ErrInvalid, fmt.Sprintf(format, args...))
	}
	if err := events.CheckName("consumer", c.Name); err != nil {
		return err
	}
	q := &c.Query
	switch {
	case len(c.Name) > maxName:
		return bad("its name has %d bytes; the limit is %d", len(c.Name), maxName)
	case strings.HasPrefix(c.Name, "$"):
		return bad("names that begin with $ belong to the system")
	case q.Like != nil && q.Like.Check(len(q.Like)) != nil:
		return bad("the vector of Like is none that intent.Quantize makes")
	case q.Like == nil && q.Model != "":
		return bad("model %q; it is that of Like", q.Model)
	case q.Like == nil && q.Min != 0 || math.IsNaN(q.Min) || math.IsInf(q.Min, 0):
		return bad("min %v; it is the least cosine to Like", q.Min)
	case !q.Until.IsZero() || q.Before != 0 || q.Backwards || q.Limit != 0:
		return bad("a filter has no end and no direction: leave Until, Before, Backwards and Limit out")
	case c.AckWait < time.Millisecond:
		return bad("ack wait %v; at least 1ms is needed", c.AckWait)
	case c.MaxInFlight < 1 || c.MaxInFlight > MaxInFlight:
		return bad("max in flight %d; 1 to %d are allowed", c.MaxInFlight, MaxInFlight)
	case c.MaxDeliver < 1:
		return bad("max deliver %d; at least 1 is needed", c.MaxDeliver)
	case len(c.Backoff) > 64:
		return bad("%d delays of backoff; the limit is 64", len(c.Backoff))
	case len(q.Kinds) > 64:
		return bad("%d patterns; the limit is 64", len(q.Kinds))
	}
	for _, d := range c.Backoff {
		if d < 0 {
			return bad("a delay of %v", d)
		}
	}
	return nil
}

// backoff is the delay after so many deliveries.
func (c *Config) backoff(attempts int) time.Duration {
	return c.Backoff[min(max(attempts, 1), len(c.Backoff))-1]
}

// configJSON is a configuration as it is stored.
type configJSON struct {
	Stream      string     `json:"stream,omitempty"`
	Agent       string     `json:"agent,omitempty"`
	Kinds       []string   `json:"kinds,omitempty"`
	Correlation string     `json:"correlation,omitempty"`
	Like        []byte     `json:"like,omitempty"` // as a vector is stored
	Min         float64    `json:"min,omitempty"`
	Model       string     `json:"model,omitempty"` // of like
	Intent      events.ID  `json:"intent,omitzero"`
	After       uint64     `json:"after,omitempty"`
	Since       *time.Time `json:"since,omitempty"`
	AckWait     int64      `json:"ack_wait_ms"`
	MaxInFlight int        `json:"max_in_flight"`
	MaxDeliver  int        `json:"max_deliver"`
	Backoff     []int64    `json:"backoff_ms"`
	// Begun is where the journal stood when the consumer was created: what its
	// stream says before is about an earlier consumer of the name.
	Begun uint64 `json:"begun"`
}

func (c *Config) encode(begun uint64) (string, error) {
	w := configJSON{
		Stream: c.Query.Stream, Agent: c.Query.Agent, Correlation: c.Query.Correlation, After: c.Query.After,
		Intent: c.Query.Intent, AckWait: c.AckWait.Milliseconds(), MaxInFlight: c.MaxInFlight, MaxDeliver: c.MaxDeliver, Begun: begun,
	}
	if c.Query.Like != nil {
		w.Like, w.Min, w.Model = c.Query.Like.Bytes(), c.Query.Min, c.Query.Model
	}
	for _, p := range c.Query.Kinds {
		w.Kinds = append(w.Kinds, p.String())
	}
	if t := c.Query.Since; !t.IsZero() {
		t = t.UTC()
		w.Since = &t
	}
	for _, d := range c.Backoff {
		w.Backoff = append(w.Backoff, d.Milliseconds())
	}
	b, err := json.Marshal(w)
	return string(b), err
}

func decodeConfig(name, text string) (c Config, begun uint64, err error) {
	var w configJSON
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return c, 0, fmt.Errorf("consumer %q: %w: its configuration cannot be read: %w", name, journal.ErrCorrupt, err)
	}
	c = Config{
		Name: name, AckWait: time.Duration(w.AckWait) * time.Millisecond, MaxInFlight: w.MaxInFlight, MaxDeliver: w.MaxDeliver,
		Query: journal.Query{Stream: w.Stream, Agent: w.Agent, Correlation: w.Correlation, Intent: w.Intent, After: w.After},
	}
	if len(w.Like) > 0 {
		if c.Query.Like, err = intent.ParseVector(w.Like, len(w.Like)/2); err != nil {
			return c, 0, fmt.Errorf("consumer %q: %w: %w", name, journal.ErrCorrupt, err)
		}
		c.Query.Min, c.Query.Model = w.Min, w.Model
	}
	for _, k := range w.Kinds {
		p, err := events.ParsePattern(k)
		if err != nil {
			return c, 0, fmt.Errorf("consumer %q: %w: %w", name, journal.ErrCorrupt, err)
		}
		c.Query.Kinds = append(c.Query.Kinds, p)
	}
	if w.Since != nil {
		c.Query.Since = *w.Since
	}
	for _, d := range w.Backoff {
		c.Backoff = append(c.Backoff, time.Duration(d)*time.Millisecond)
	}
	if err := c.check(); err != nil {
		return c, 0, fmt.Errorf("%w: %w", journal.ErrCorrupt, err)
	}
	return c, w.Begun, nil
}

// modelAt completes a filter by meaning with the name of the model that the journal
// had at a position.
func (c *Config) modelAt(j *journal.Journal, position uint64) {
	if c.Query.Like == nil || c.Query.Model != "" {
		return
	}
	for _, m := range j.Models() {
		if m.Position <= position {
			c.Query.Model = cmp.Or(m.Name, journal.UnnamedModel)
		}
	}
}

// same reports whether two configurations are stored alike.
func same(a, b Config) bool {
	x, err1 := a.encode(0)
	y, err2 := b.encode(0)
	return err1 == nil && err2 == nil && x == y
}
