package tracing

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// remembered is how many events' spans are known at least, for those that follow
// from them.
const remembered = 1 << 16

// Follow makes spans of the events that come, until ctx ends or the journal
// does; that is no error.
func Follow(ctx context.Context, j *journal.Journal) error {
	return follow(ctx, j, j.Position(), remembered)
}

func follow(ctx context.Context, j *journal.Journal, after uint64, most int) error {
	f := &follower{
		tracer: otel.Tracer("github.com/tokaworks/toka/tracing"),
		spans:  recent[events.ID, span]{most: most},
	}
	for e, err := range j.Subscribe(ctx, journal.Query{After: after}) {
		switch {
		case ctx.Err() != nil || errors.Is(err, journal.ErrClosed):
			return nil
		case err != nil:
			return err
		}
		f.trace(ctx, &e)
	}
	return nil
}

// follower is a run of Follow.
type follower struct {
	tracer trace.Tracer
	spans  recent[events.ID, span]
}

// span is what is kept of one.
type span struct {
	at       trace.SpanContext
	recorded time.Time
}

func (f *follower) trace(ctx context.Context, e *events.Event) {
	start := e.RecordTime
	above, own := given(e.Trace)
	var links []trace.Link
	forgotten := 0
	upper := f.upper(e)
	for _, p := range e.Parents {
		cause, known := f.spans.get(p.ID)
		if !known {
			forgotten++
			continue
		}
		if p.ID == upper {
			start = cause.recorded
			if !own {
				above = cause.at
				continue
			}
		}
		links = append(links, trace.Link{SpanContext: cause.at, Attributes: []attribute.KeyValue{attribute.String("toka.parent", p.ID.String())}})
	}
	kind := trace.SpanKindInternal
	if e.Trigger.IsZero() {
		kind = trace.SpanKindProducer
	}
	attributes := []attribute.KeyValue{
		attribute.String("toka.event.id", e.ID.String()), attribute.String("toka.event.kind", e.Kind),
		attribute.String("toka.stream", e.Stream), attribute.Int64("toka.position", int64(e.Position)),
		attribute.String("toka.digest", e.Digest.String()), attribute.Int("toka.parents", len(e.Parents)),
	}
	if forgotten > 0 {
		attributes = append(attributes, attribute.Int("toka.parents.unlinked", forgotten))
	}
	if e.Correlation != "" {
		attributes = append(attributes, attribute.String("toka.correlation", e.Correlation))
	}
	_, s := f.tracer.Start(trace.ContextWithRemoteSpanContext(context.WithoutCancel(ctx), above), done(e),
		trace.WithTimestamp(start), trace.WithSpanKind(kind), trace.WithLinks(links...), trace.WithAttributes(attributes...))
	s.End(trace.WithTimestamp(e.RecordTime))
	f.spans.put(e.ID, span{s.SpanContext(), e.RecordTime})
}

// upper is the parent that an event's span is below: what it reacts to, else the
// oldest whose span is known.
func (f *follower) upper(e *events.Event) (id events.ID) {
	if !e.Trigger.IsZero() {
		return e.Trigger
	}
	least := e.Position
	for _, p := range e.Parents {
		if _, known := f.spans.get(p.ID); known && p.Position < least {
			id, least = p.ID, p.Position
		}
	}
	return id
}

// commands are journaled under the kind that they came with, behind this.
const commands = "toka.command."

// done says what was done, and to what: append, react or command.
func done(e *events.Event) string {
	if kind, ok := strings.CutPrefix(e.Kind, commands); ok {
		return "command " + kind
	}
	if e.Trigger.IsZero() {
		return "append " + e.Kind
	}
	return "react " + e.Kind
}

// given is the span that a trace context names, if it is one.
func given(traceparent string) (trace.SpanContext, bool) {
	if traceparent == "" {
		return trace.SpanContext{}, false
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent})
	s := trace.SpanContextFromContext(ctx)
	return s, s.IsValid()
}

// recent keeps what was put last: at least most, and at most twice as many.
type recent[K comparable, V any] struct {
	most     int
	now, old map[K]V
}

func (r *recent[K, V]) get(k K) (V, bool) {
	v, ok := r.now[k]
	if !ok {
		v, ok = r.old[k]
	}
	return v, ok
}

func (r *recent[K, V]) put(k K, v V) {
	if r.now == nil || len(r.now) >= r.most {
		r.now, r.old = make(map[K]V), r.now
	}
	r.now[k] = v
}
