package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/tokaworks/toka/internal/cloudevents"
)

// land notes the outcome of a line. It is called once, by the journal or for a
// line that never got there.
func (f *flight) land(duplicate bool, err error) {
	f.duplicate, f.err = duplicate, err
	f.landed.Store(true)
}

// account counts and reports the lines whose outcome is known, up to the first
// whose outcome is not: reports come in the order of the input. The error is
// one that is not about a line.
func (g *ingest) account() error {
	n := 0
	for ; n < len(g.queue) && g.queue[n].landed.Load(); n++ {
		f := g.queue[n]
		g.queue[n] = nil
		g.bytes -= f.size
		g.flying.remove(f)
		switch {
		case f.err == nil && f.duplicate:
			g.count.Duplicates++
		case f.err == nil:
			g.count.Ingested++
		case rejects(f.err) || errors.Is(f.err, cloudevents.ErrLineTooLong):
			g.count.Rejected++
			g.report(f.line, f.reason())
		default:
			return fmt.Errorf("line %d: %w", f.line, f.err)
		}
	}
	g.queue = g.queue[n:]
	g.progress.set(g.reader.Consumed())
	return nil
}

// report says something about a line.
func (g *ingest) report(line int, reason string) {
	reason = printable(reason)
	g.progress.above(func(w io.Writer) {
		if !g.json {
			_, _ = fmt.Fprintf(w, "line %d: %s\n", line, reason)
			return
		}
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(struct {
			Line   int    `json:"line"`
			Reason string `json:"reason"`
		}{line, reason})
	})
}

// progress shows how much of an input was read, on a terminal only.
type progress struct {
	w   io.Writer
	bar *progressbar.ProgressBar // nil: nothing is shown
}

func newProgress(w io.Writer, size int64) *progress {
	p := &progress{w: w}
	f, ok := w.(*os.File)
	if !ok {
		return p
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return p
	}
	p.show(size)
	return p
}

func (p *progress) show(size int64) {
	if size == 0 {
		size = -1 // unknown: a spinner
	}
	p.bar = progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription("reading"),
		progressbar.OptionShowBytes(true), progressbar.OptionSetWidth(32),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}

func (p *progress) set(consumed int64) {
	if p.bar != nil {
		_ = p.bar.Set64(consumed)
	}
}

// above writes lines without the bar running through them.
func (p *progress) above(write func(w io.Writer)) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	write(p.w)
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
		_ = p.bar.Clear()
	}
}

// interruptible makes reads of r return when ctx ends, which a terminal's or a
// pipe's own read does not.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	i := &interruptibleReader{ctx: ctx, full: make(chan chunk), empty: make(chan []byte, 2)}
	i.empty <- make([]byte, 64<<10)
	i.empty <- make([]byte, 64<<10)
	go i.pump(r)
	return i
}

type interruptibleReader struct {
	ctx   context.Context
	full  chan chunk
	empty chan []byte // two buffers go round
	now   chunk
	rest  []byte
}

type chunk struct {
	buf []byte
	n   int
	err error
}

func (i *interruptibleReader) pump(r io.Reader) {
	for {
		select {
		case buf := <-i.empty:
			n, err := r.Read(buf)
			select {
			case i.full <- chunk{buf, n, err}:
			case <-i.ctx.Done():
				return
			}
			if err != nil {
				return
			}
		case <-i.ctx.Done():
			return
		}
	}
}

func (i *interruptibleReader) Read(p []byte) (int, error) {
	for len(i.rest) == 0 {
		if i.now.err != nil {
			return 0, i.now.err
		}
		if i.now.buf != nil {
			i.empty <- i.now.buf
			i.now = chunk{}
		}
		select {
		case i.now = <-i.full:
			i.rest = i.now.buf[:i.now.n]
		case <-i.ctx.Done():
			return 0, context.Cause(i.ctx)
		}
	}
	n := copy(p, i.rest)
	i.rest = i.rest[n:]
	return n, nil
}
