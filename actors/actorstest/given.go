package actorstest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/supervisor"
)

// patience is how long anything may take that has to end.
const patience = 30 * time.Second

// bench is a system in memory for one case.
type bench struct {
	t   testing.TB
	j   *journal.Journal
	sys *actors.System
}

func newBench(t testing.TB, b actors.Behaviour) *bench {
	t.Helper()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		t.Fatal(err)
	}
	sys, err := actors.Start(j, actors.NewRegistry(b), actors.Options{Supervision: supervisor.Policy{MaxAttempts: 1}})
	if err != nil {
		t.Fatal(errors.Join(err, j.Close()))
	}
	x := &bench{t: t, j: j, sys: sys}
	t.Cleanup(x.close)
	return x
}

func (x *bench) close() {
	if err := errors.Join(x.sys.Stop(x.ctx()), x.j.Close()); err != nil {
		x.t.Error(err)
	}
}

func (x *bench) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	x.t.Cleanup(cancel)
	return ctx
}

// publish journals v in a stream, after it has survived its encoding.
func publish[T any](x *bench, stream string, codec events.Codec[T], v T) {
	x.t.Helper()
	RoundTrip(x.t, codec, v)
	if _, err := actors.Publish(x.ctx(), x.sys, stream, codec, v); err != nil {
		x.t.Fatal(err)
	}
}

// RoundTrip fails the test if a value is not the same after it was encoded and
// decoded again.
func RoundTrip[T any](t testing.TB, codec events.Codec[T], vs ...T) {
	t.Helper()
	for _, v := range vs {
		d, err := codec.Encode(v)
		if err != nil {
			t.Fatalf("%#v cannot be encoded: %v", v, err)
		}
		back, err := codec.Decode(events.Event{
			Kind: d.Kind, SchemaVersion: d.SchemaVersion, ContentType: d.ContentType, Payload: d.Payload,
		})
		if err != nil {
			t.Fatalf("%#v cannot be decoded again: %v", v, err)
		}
		if !reflect.DeepEqual(back, v) {
			t.Errorf("%#v is %#v after it was encoded and decoded", v, back)
		}
	}
}

// roundTripState is RoundTrip for a state, which is JSON where it is kept.
func roundTripState(t testing.TB, state any) {
	t.Helper()
	b, err := json.Marshal(state)
	if err != nil {
		t.Errorf("the state %#v cannot be encoded: %v", state, err)
		return
	}
	back := reflect.New(reflect.TypeOf(state))
	if err := json.Unmarshal(b, back.Interface()); err != nil {
		t.Errorf("the state %#v cannot be decoded again: %v", state, err)
	} else if got := back.Elem().Interface(); !reflect.DeepEqual(got, state) {
		t.Errorf("the state %#v is %#v after it was encoded and decoded", state, got)
	}
}

const subject = "subject"

// Case is a resource that has had some events.
type Case[S, C, E any] struct {
	x *bench
	r *actors.Resource[S, C, E]
}

// Given is a resource that has had some events.
func Given[S, C, E any](t testing.TB, r *actors.Resource[S, C, E], es ...E) *Case[S, C, E] {
	t.Helper()
	x := newBench(t, r)
	for _, e := range es {
		publish(x, subject, r.Events, e)
	}
	return &Case[S, C, E]{x, r}
}

// When sends it a command.
func (c *Case[S, C, E]) When(command C) *Result[S, C, E] {
	c.x.t.Helper()
	RoundTrip(c.x.t, c.r.Commands, command)
	ref, err := c.r.Spawn(c.x.sys, subject)
	if err != nil {
		c.x.t.Fatal(err)
	}
	res := &Result[S, C, E]{Case: c}
	out, err := ref.Ask(c.x.ctx(), command)
	if res.err = err; err == nil {
		for _, e := range out.Events {
			v, err := c.r.Events.Decode(e)
			if err != nil {
				c.x.t.Fatal(err)
			}
			res.got = append(res.got, v)
		}
	}
	if res.state, err = ref.State(c.x.ctx()); err != nil {
		c.x.t.Fatal(err)
	}
	c.folded(res.state)
	return res
}

// folded checks that whoever folds the journal gets the same, and so does who
// begins with a snapshot, if the resource keeps any.
func (c *Case[S, C, E]) folded(state S) {
	c.x.t.Helper()
	if c.r.Snapshots.Version > 0 {
		roundTripState(c.x.t, state)
	}
	want, err := json.Marshal(state)
	if err != nil {
		return // a state need not be JSON; it cannot be compared then
	}
	again, err := actors.StateAt(c.x.ctx(), c.x.j, actors.NewRegistry(c.r), subject, c.x.j.Position())
	if err == nil && again.Behaviour == actors.RecorderName+"/1" || errors.Is(err, journal.ErrNotFound) {
		return // the resource has journaled nothing yet
	}
	if err != nil {
		c.x.t.Errorf("the state cannot be folded from the journal: %v", err)
	} else if !bytes.Equal(again.State, want) {
		c.x.t.Errorf("the state is %s, and %s when it is folded from the journal", want, again.State)
	}
}

// Result is what came of a command.
type Result[S, C, E any] struct {
	*Case[S, C, E]
	got   []E
	err   error
	state S
}

// Then wants exactly these events, in this order; none if none are given.
func (r *Result[S, C, E]) Then(want ...E) *Result[S, C, E] {
	r.x.t.Helper()
	if r.err != nil {
		r.x.t.Errorf("the command was not decided: %v", r.err)
		return r
	}
	RoundTrip(r.x.t, r.r.Events, r.got...)
	if !slices.EqualFunc(r.got, want, func(a, b E) bool { return reflect.DeepEqual(a, b) }) {
		r.x.t.Errorf("events are %#v, want %#v", r.got, want)
	}
	return r
}

// ThenRejected wants the command to be refused with an error that is target,
// as errors.Is has it; with nil, any error will do.
func (r *Result[S, C, E]) ThenRejected(target error) *Result[S, C, E] {
	r.x.t.Helper()
	if r.err == nil || target != nil && !errors.Is(r.err, target) {
		r.x.t.Errorf("the answer is %#v, %v, want the rejection %v", r.got, r.err, target)
	}
	return r
}

// ThenState wants the state to be this one, and to survive its encoding.
func (r *Result[S, C, E]) ThenState(want S) *Result[S, C, E] {
	r.x.t.Helper()
	roundTripState(r.x.t, r.state)
	if !reflect.DeepEqual(r.state, want) {
		r.x.t.Errorf("the state is %#v, want %#v", r.state, want)
	}
	return r
}

// AgentCase is an agent that has had some events of its own.
type AgentCase[S any] struct {
	x *bench
	a *actors.Agent[S]
}

// GivenAgent is an agent that has had some events of its own.
func GivenAgent[S any](t testing.TB, a *actors.Agent[S], own ...events.Draft) *AgentCase[S] {
	t.Helper()
	x := newBench(t, a)
	if len(own) > 0 {
		if _, err := x.sys.Publish(x.ctx(), subject, own...); err != nil {
			t.Fatal(err)
		}
	}
	return &AgentCase[S]{x, a}
}

// WhenEvent hands it an event of somebody else's, which has to match one of its
// patterns.
func (c *AgentCase[S]) WhenEvent(d events.Draft) *AgentResult[S] {
	c.x.t.Helper()
	if err := c.a.Spawn(c.x.sys, subject); err != nil {
		c.x.t.Fatal(err)
	}
	from := c.x.j.Position()
	if _, err := c.x.sys.Publish(c.x.ctx(), "outside", d); err != nil {
		c.x.t.Fatal(err)
	}
	if err := c.x.sys.Settle(c.x.ctx()); err != nil {
		c.x.t.Fatal(err)
	}
	res := &AgentResult[S]{AgentCase: c}
	for e, err := range c.x.j.Read(c.x.ctx(), journal.Query{Stream: subject, After: from}) {
		if err != nil {
			c.x.t.Fatal(err)
		}
		if e.Kind == "toka.agent.parked" {
			res.failure = string(e.Payload)
		}
		if !events.SystemKind(e.Kind) {
			res.got = append(res.got, e)
		}
	}
	if c.a.Snapshots.Version > 0 {
		roundTripState(c.x.t, c.state())
	}
	return res
}

// state is what the agent's own events come to.
func (c *AgentCase[S]) state() (s S) {
	c.x.t.Helper()
	if c.a.Initial != nil {
		s = c.a.Initial()
	}
	for e, err := range c.x.j.ReadStream(c.x.ctx(), subject, 0) {
		if err != nil {
			c.x.t.Fatal(err)
		}
		if c.a.Evolve != nil && !events.SystemKind(e.Kind) {
			s = c.a.Evolve(s, e)
		}
	}
	return s
}

// AgentResult is what came of a reaction.
type AgentResult[S any] struct {
	*AgentCase[S]
	got     []events.Event
	failure string
}

// ThenEmits wants exactly these events, in this order, by kind and payload.
func (r *AgentResult[S]) ThenEmits(want ...events.Draft) *AgentResult[S] {
	r.x.t.Helper()
	if r.failure != "" {
		r.x.t.Errorf("the reaction failed: %s", r.failure)
		return r
	}
	same := func(e events.Event, d events.Draft) bool {
		return e.Kind == d.Kind && e.SchemaVersion == d.SchemaVersion && e.ContentType == d.ContentType && string(e.Payload) == string(d.Payload)
	}
	if !slices.EqualFunc(r.got, want, same) {
		r.x.t.Errorf("emitted were %s, want %s", shown(r.got), shownDrafts(want))
	}
	return r
}

// ThenFails wants the reaction to fail.
func (r *AgentResult[S]) ThenFails() *AgentResult[S] {
	r.x.t.Helper()
	if r.failure == "" {
		r.x.t.Errorf("the reaction did not fail, and emitted %s", shown(r.got))
	}
	return r
}

func shown(es []events.Event) (out []string) {
	for _, e := range es {
		out = append(out, e.Kind+" "+string(e.Payload))
	}
	return out
}

func shownDrafts(ds []events.Draft) (out []string) {
	for _, d := range ds {
		out = append(out, d.Kind+" "+string(d.Payload))
	}
	return out
}

// Draft is v as codec encodes it, and fails the test if that cannot be.
func Draft[T any](t testing.TB, codec events.Codec[T], v T) events.Draft {
	t.Helper()
	RoundTrip(t, codec, v)
	d, err := codec.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
