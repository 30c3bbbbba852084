package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

type liveInput struct {
	Filter
	LastEventID string `header:"Last-Event-ID" doc:"Goes before after; browsers send it when they come back" required:"false"`
	As          string `query:"as" doc:"record: as the command line prints events, with digests, parents and place" enum:"cloudevent,record" default:"cloudevent"`
	Gap         uint64 `query:"gap" doc:"Rather than to fall more events behind than this, be told of the gap and go on at the end; 0 misses nothing"`
	Limit       int    `query:"limit" doc:"End after so many events; 0 does not end" minimum:"0"`
}

func (s *Server) liveRoutes() {
	op := huma.Operation{
		Method: http.MethodGet, Path: "/v1/events/stream", OperationID: "follow-events", Tags: []string{"events"},
		Summary: "Follow events as they become durable",
		Description: "Server-sent events. Each has the cursor as its id and a CloudEvent as its data; a quiet stream repeats its cursor now and then. " +
			"Without a cursor it begins at the end. Named events are the stream's own: toka.start, toka.gap (what was passed over), toka.end (why it ends; come back with the cursor).",
		Responses: map[string]*huma.Response{"200": {Description: "The stream", Content: map[string]*huma.MediaType{
			"text/event-stream": {Schema: &huma.Schema{Type: "string"}},
		}}},
	}
	operation(s, auth.Read, op, s.live)
}

// selection is what a reader gets: what it asked for of what its token covers.
type selection struct {
	q       journal.Query
	who     *auth.Principal
	records bool // in the form of the command line
}

func (f *selection) matches(e *events.Event) bool {
	q := &f.q
	switch {
	case q.Stream != "" && q.Stream != e.Stream,
		q.Agent != "" && (q.Agent != e.Stream || events.SystemStream(e.Stream)),
		q.Correlation != "" && q.Correlation != e.Correlation,
		e.RecordTime.Before(q.Since),
		!q.Until.IsZero() && !e.RecordTime.Before(q.Until):
		return false
	}
	if len(q.Kinds) > 0 {
		found := false
		for i := 0; i < len(q.Kinds) && !found; i++ {
			found = q.Kinds[i].Match(e.Kind)
		}
		if !found {
			return false
		}
	}
	return f.who.Covers(e.Stream, e.Kind)
}

func (s *Server) live(ctx context.Context, n *Node, in *liveInput) (*huma.StreamResponse, error) {
	if in.LastEventID != "" {
		in.After = in.LastEventID
	}
	q, err := in.query(ctx, n.Journal)
	if err != nil {
		return nil, err
	}
	if in.After == "" {
		q.After = n.Journal.Position()
	}
	release, ok := hold(s.limits.streams)
	if !ok {
		p := problem(http.StatusServiceUnavailable, "busy", fmt.Sprintf("%d readers follow already", cap(s.limits.streams)))
		p.retryAfter = 5
		return nil, p
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer release()
		r, w := humago.Unwrap(hc)
		l := &reader{
			s: s, j: n.Journal, r: r, w: w, rc: http.NewResponseController(w), c: connOf(r),
			sel: selection{q, principal(ctx), in.As == "record"}, position: q.After, gap: in.Gap, left: in.Limit, endless: in.Limit == 0,
		}
		l.came.Store(l.position)
		s.counters.join(l)
		defer s.counters.leave(l)
		l.run(r.Context())
	}}, nil
}

// reader is one stream. It belongs to the goroutine of its request.
type reader struct {
	s  *Server
	j  *journal.Journal
	r  *http.Request
	w  http.ResponseWriter
	rc *http.ResponseController
	c  *conn // nil if it has other requests too

	sel      selection
	position uint64 // everything up to here was sent or passed over
	gap      uint64
	left     int // events to send, unless endless
	endless  bool
	came     atomic.Uint64 // position, for who looks from outside
	buf      []byte
	frames   [][]byte
}

// errLimit ends a stream that has sent what was asked for.
var errLimit = errors.New("the limit is reached")

func (l *reader) run(ctx context.Context) {
	h := l.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	// The server's deadlines are for requests that end.
	_ = l.rc.SetReadDeadline(time.Time{})
	if err := l.write([]byte("retry: 2000\n" + l.named("toka.start", nil))); err != nil {
		return
	}
	var err error
	if l.sel.q.Intent.IsZero() {
		turn := l.s.hub.join(l.j)
		defer l.s.hub.leave(turn)
		err = l.follow(ctx, &l.s.hub, turn)
	} else {
		err = l.followIntent(ctx)
	}
	reason := ""
	switch {
	case errors.Is(err, errLimit):
		reason = "limit"
	case errors.Is(err, errEnding), errors.Is(err, journal.ErrClosed):
		reason = "stopping"
	case errors.Is(err, journal.ErrFatal):
		reason = "storage-failed"
	case errors.Is(err, journal.ErrCorrupt):
		reason = "damaged"
	}
	if p, ok := errors.AsType[*Problem](err); ok {
		reason = p.Code
	}
	if reason != "" {
		_ = l.write([]byte(l.named("toka.end", map[string]any{"reason": reason})))
	}
}

var errEnding = errors.New("the node is stopping")

func (l *reader) follow(ctx context.Context, hub *hub, turn *turn) error {
	beat := time.NewTicker(l.s.opts.Heartbeat)
	defer beat.Stop()
	for {
		if end := l.j.Position(); l.gap > 0 && end > l.position && end-l.position > l.gap {
			from := l.position
			l.position = end
			l.came.Store(end)
			text := l.named("toka.gap", map[string]any{"after": l.at(from), "until": l.at(end)})
			if err := l.write([]byte(text)); err != nil {
				return err
			}
		}
		b := hub.after(turn, l.position, &l.sel, l.left, l.frames[:0])
		l.frames = b.frames
		switch {
		case b.behind:
			if err := l.catchUp(ctx); err != nil {
				return err
			}
			continue
		case b.next > l.position:
			if err := l.send(b.frames, b.next); err != nil {
				return err
			}
			continue
		case b.err != nil:
			return b.err
		}
		select {
		case <-b.moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.s.ending:
			return errEnding
		case <-beat.C:
			if err := l.beat(); err != nil {
				return err
			}
		}
	}
}

// beat says that the stream is there and how far it came, if it still may.
func (l *reader) beat() error {
	if _, refused := l.s.identify(l.r); refused != nil && l.sel.who.ID != "" {
		return refused // revoked or expired meanwhile
	}
	return l.write([]byte("id: " + l.at(l.position) + "\n: heartbeat\n\n"))
}

// followIntent follows behind the assignment of intents, which the hub is not.
func (l *reader) followIntent(ctx context.Context) error {
	type item struct {
		e   events.Event
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	items := make(chan item)
	go func() {
		for e, err := range l.j.Subscribe(ctx, l.sel.q) {
			select {
			case items <- item{e, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	beat := time.NewTicker(l.s.opts.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case i := <-items:
			if i.err != nil {
				return i.err
			}
			if !l.sel.who.Covers(i.e.Stream, i.e.Kind) {
				l.position = i.e.Position
				continue
			}
			l.buf = l.append(l.buf[:0], &i.e)
			if err := l.sent(l.write(l.buf), 1, i.e.Position); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-l.s.ending:
			return errEnding
		case <-beat.C:
			if err := l.beat(); err != nil {
				return err
			}
		}
	}
}

// catchUp sends a chunk from the journal itself.
func (l *reader) catchUp(ctx context.Context) error {
	select {
	case <-l.s.ending:
		return errEnding
	default:
	}
	q := l.sel.q
	q.After = l.position
	end := l.j.Position()
	chunk := chunks.Get().(*[]byte)
	defer letGo(chunk)
	*chunk = (*chunk)[:0]
	var n int
	var next uint64
	full := false
	for e, err := range l.j.Read(ctx, q) {
		if err != nil {
			return err
		}
		next = e.Position
		if l.sel.who.Covers(e.Stream, e.Kind) {
			*chunk = l.append(*chunk, &e)
			n++
		}
		if len(*chunk) >= maxChunk || !l.endless && n == l.left {
			full = true
			break
		}
	}
	if !full {
		next = max(next, end)
	}
	return l.sent(l.write(*chunk), n, next)
}

// chunks are what is sent to readers, while it is. A chunk for each reader would
// be of its largest size for all of them once they had fallen behind together,
// and most of their time went into making them that large.
var chunks = sync.Pool{New: func() any { b := make([]byte, 0, maxChunk+4<<10); return &b }}

// letGo keeps a chunk for the next one, unless a large event made it large.
func letGo(chunk *[]byte) {
	if cap(*chunk) <= 2*maxChunk {
		chunks.Put(chunk)
	}
}

func (l *reader) send(frames [][]byte, next uint64) error {
	chunk := chunks.Get().(*[]byte)
	defer letGo(chunk)
	*chunk = (*chunk)[:0]
	for _, f := range frames {
		*chunk = append(*chunk, f...)
	}
	return l.sent(l.write(*chunk), len(frames), next)
}

func (l *reader) sent(err error, n int, next uint64) error {
	if err != nil {
		return err
	}
	l.position = next
	l.came.Store(next)
	l.left -= n
	if !l.endless && l.left <= 0 {
		return errLimit
	}
	return nil
}

func (l *reader) append(dst []byte, e *events.Event) []byte {
	if l.sel.records {
		return append(dst, l.s.recordFrame(e)...)
	}
	return appendFrame(dst, e)
}

// recordFrame encodes an event as the command line prints it.
func (s *Server) recordFrame(e *events.Event) []byte {
	body, err := json.Marshal(s.opts.Describe(*e))
	if err != nil {
		body = []byte("null") // it is made of texts and numbers
	}
	return append(append(append([]byte("id: "+cursor(e)), "\ndata: "...), body...), "\n\n"...)
}

// write sends b, or fails if the reader does not take it in time.
func (l *reader) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_ = l.rc.SetWriteDeadline(time.Now().Add(l.s.opts.Patience))
	return l.c.together(func() error {
		if _, err := l.w.Write(b); err != nil {
			return err
		}
		return l.rc.Flush()
	})
}

func (l *reader) at(position uint64) string {
	return journal.Cursor{Epoch: l.j.Epoch(), Position: position}.String()
}

// named returns an event of the stream's own. It carries the cursor, so that a
// reader that saw nothing else can come back too.
func (l *reader) named(name string, data map[string]any) string {
	if data == nil {
		data = map[string]any{}
	}
	data["cursor"] = l.at(l.position)
	text, err := json.Marshal(data)
	if err != nil {
		panic("server: " + err.Error()) // texts and numbers
	}
	return "id: " + l.at(l.position) + "\nevent: " + name + "\ndata: " + string(text) + "\n\n"
}
