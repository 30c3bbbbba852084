package actorstest

import (
	"context"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// Probe sees the events of a journal that match, from when it was made on.
type Probe struct {
	t  testing.TB
	es chan events.Event
}

// NewProbe returns a probe for kinds that match one of the patterns, or all
// kinds if none are given. It ends with the test.
func NewProbe(t testing.TB, j *journal.Journal, patterns ...string) *Probe {
	t.Helper()
	q := journal.Query{After: j.Position()}
	for _, p := range patterns {
		q.Kinds = append(q.Kinds, events.MustPattern(p))
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Probe{t: t, es: make(chan events.Event)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e, err := range j.Subscribe(ctx, q) {
			if err != nil {
				return
			}
			select {
			case p.es <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return p
}

// Next waits for the next event, and fails the test if none comes within d.
func (p *Probe) Next(d time.Duration) events.Event {
	p.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case e := <-p.es:
		return e
	case <-timer.C:
		p.t.Fatalf("no event came within %v", d)
		return events.Event{}
	}
}

// None fails the test if an event comes within d.
func (p *Probe) None(d time.Duration) {
	p.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case e := <-p.es:
		p.t.Errorf("there is %s in stream %q: %s", e.Kind, e.Stream, e.Payload)
	case <-timer.C:
	}
}
