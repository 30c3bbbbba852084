package tracing_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/tracing"
)

// recorder keeps the spans of a test.
func recorder(t *testing.T) *tracetest.SpanRecorder {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	p := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(p)
	t.Cleanup(func() {
		otel.SetTracerProvider(before)
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return spans
}

func inMemory(t *testing.T) *journal.Journal {
	t.Helper()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

// until follows a journal from its beginning until all events have spans.
func until(t *testing.T, j *journal.Journal, spans *tracetest.SpanRecorder, most int) []sdk.ReadOnlySpan {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tracing.FollowFrom(ctx, j, 0, most) }()
	for end := int(j.Position()); len(spans.Ended()) < end && t.Context().Err() == nil; {
		select {
		case err := <-ended:
			t.Fatalf("it ends with %v, %d of %d", err, len(spans.Ended()), end)
		default:
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return spans.Ended()
}

func attr(s sdk.ReadOnlySpan, key attribute.Key) string {
	for _, a := range s.Attributes() {
		if a.Key == key {
			return a.Value.Emit()
		}
	}
	return ""
}

// bump is a resource with one command.
var bump = &actors.Resource[int, Bump, Bumped]{
	Name: "counter", Version: 1,
	Commands: events.NewType[Bump]("counter.bump", 1), Events: events.NewType[Bumped]("counter.bumped", 1),
	Decide: func(_ *actors.Turn, _ int, c Bump) ([]Bumped, error) { return []Bumped{{c.By}}, nil },
	Evolve: func(state int, e Bumped) int { return state + e.By },
}

type (
	Bump   struct{ By int }
	Bumped struct{ By int }
)

// TestFollow holds spans to what led to what: a trace context that came with an
// event, a reaction, a command, and an event with several parents.
func TestFollow(t *testing.T) {
	spans := recorder(t)
	j := inMemory(t)
	const traceID, spanID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	greeter := actors.NewAgent("greeter", 1, "guest.arrived", func(t *actors.Turn, e events.Event) error {
		return t.Emit(events.Draft{Kind: "guest.greeted", Payload: []byte("Hello, secret!")})
	})
	sys, err := actors.Start(j, actors.NewRegistry(greeter, bump), actors.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := greeter.Spawn(sys, "greeter"); err != nil {
		t.Fatal(err)
	}
	arrived, err := sys.Publish(t.Context(), "guests", events.Draft{
		Kind: "guest.arrived", Trace: "00-" + traceID + "-" + spanID + "-01", Correlation: "visit-1", SubjectKey: "somebody", Payload: []byte("secret"),
	})
	if err != nil {
		t.Fatal(err)
	}
	counter, err := bump.Spawn(sys, "counter")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := counter.Ask(t.Context(), Bump{2}); err != nil {
		t.Fatal(err)
	}
	if err := sys.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := sys.Publish(t.Context(), "guests", events.Draft{Kind: "guest.left"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = sys.Publish(t.Context(), "ledger", events.Draft{
		Kind: "day.closed", Parents: []events.Ref{arrived[0].Ref(), other[0].Ref()},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sys.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := map[string]sdk.ReadOnlySpan{}
	for _, s := range until(t, j, spans, 100) {
		all[s.Name()] = s
		if text := fmt.Sprint(s.Name(), s.Attributes(), s.Links()); strings.Contains(text, "secret") || strings.Contains(text, "somebody") {
			t.Errorf("a span tells too much: %s", text)
		}
	}
	first, greeted, closed := all["append guest.arrived"], all["react guest.greeted"], all["append day.closed"]
	command, bumped := all["command counter.bump"], all["react counter.bumped"]
	if first == nil || greeted == nil || closed == nil || command == nil || bumped == nil {
		t.Fatalf("%v", all)
	}
	if bumped.Parent().SpanID() != command.SpanContext().SpanID() {
		t.Errorf("what the command led to is below %v", bumped.Parent())
	}
	if p := first.Parent(); p.TraceID().String() != traceID || p.SpanID().String() != spanID || !p.IsRemote() {
		t.Errorf("the first is below %v", p)
	}
	if p := greeted.Parent(); p.SpanID() != first.SpanContext().SpanID() || greeted.SpanContext().TraceID().String() != traceID {
		t.Errorf("the reaction is below %v", p)
	}
	if greeted.StartTime() != first.EndTime() || greeted.EndTime().Before(greeted.StartTime()) || first.SpanKind() != trace.SpanKindProducer {
		t.Errorf("the reaction is from %v to %v, its cause ended at %v", greeted.StartTime(), greeted.EndTime(), first.EndTime())
	}
	left := all["append guest.left"].SpanContext()
	if p := closed.Parent(); p.SpanID() != first.SpanContext().SpanID() || len(closed.Links()) != 1 || closed.Links()[0].SpanContext.SpanID() != left.SpanID() {
		t.Errorf("of two parents: below %v, links %v", p, closed.Links())
	}
	if attr(first, "toka.correlation") != "visit-1" || attr(closed, "toka.parents") != "2" || attr(first, "toka.stream") != "guests" {
		t.Errorf("%v, %v", first.Attributes(), closed.Attributes())
	}
}

// TestFollowForgets says of causes that lie too far back that there are such.
func TestFollowForgets(t *testing.T) {
	spans := recorder(t)
	j := inMemory(t)
	appended := func(d events.Draft) events.Ref {
		t.Helper()
		r, err := j.Append(t.Context(), journal.Write{Events: []events.Draft{d}})
		if err != nil {
			t.Fatal(err)
		}
		return r.Events[0].Ref()
	}
	first := appended(events.Draft{Stream: "s", Kind: "far.back"})
	var last events.Ref
	for range 9 {
		last = appended(events.Draft{Stream: "s", Kind: "since.then"})
	}
	appended(events.Draft{Stream: "s", Kind: "of.both", Parents: []events.Ref{first, last}})
	got := until(t, j, spans, 4)
	s := got[len(got)-1]
	if attr(s, "toka.parents.unlinked") != "1" || !s.Parent().Equal(got[len(got)-2].SpanContext().WithRemote(true)) || len(s.Links()) != 0 {
		t.Errorf("%s: below %v, links %v, %v", s.Name(), s.Parent(), s.Links(), s.Attributes())
	}
}
