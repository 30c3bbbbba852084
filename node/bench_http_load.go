package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// benchConn is a client that knows as much of HTTP as the benchmark needs.
type benchConn struct {
	net.Conn
	in   *bufio.Reader
	body []byte
}

func dialBench(addr string) (*benchConn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &benchConn{Conn: c, in: bufio.NewReaderSize(c, 16<<10)}, nil
}

// exchange sends a request and returns the body of the answer, which is good
// until the next one.
func (c *benchConn) exchange(request []byte) ([]byte, error) {
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	status, err := c.line()
	if err != nil {
		return nil, err
	}
	good := bytes.HasPrefix(status, []byte("HTTP/1.1 201 "))
	first := string(status)
	length := -1
	for {
		header, err := c.line()
		if err != nil {
			return nil, err
		}
		if len(header) == 0 {
			break
		}
		if v, ok := bytes.CutPrefix(header, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(v)); err != nil {
				return nil, err
			}
		}
	}
	if length < 0 { // the batches' answers are long enough to come in chunks
		c.body, err = c.chunks(c.body[:0])
	} else {
		c.body = append(c.body[:0], make([]byte, length)...)
		_, err = io.ReadFull(c.in, c.body)
	}
	if err == nil && !good {
		err = fmt.Errorf("the node answered %s: %.200s", first, c.body)
	}
	return c.body, err
}

func (c *benchConn) chunks(dst []byte) ([]byte, error) {
	for {
		text, err := c.line()
		if err != nil {
			return dst, err
		}
		n, err := strconv.ParseInt(string(text), 16, 32)
		if err != nil {
			return dst, err
		}
		at := len(dst)
		dst = append(dst, make([]byte, n+2)...) // and its line break
		if _, err := io.ReadFull(c.in, dst[at:]); err != nil {
			return dst, err
		}
		dst = dst[:at+int(n)]
		if n == 0 {
			return dst, nil
		}
	}
}

func (c *benchConn) line() ([]byte, error) {
	b, err := c.in.ReadSlice('\n')
	return bytes.TrimRight(b, "\r\n"), err
}

// load has every connection make one request after the other.
func (o *httpBench) load(ctx context.Context, addr string, request func(writer, i int) []byte) (measure, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	all := make([]latencies, o.connections)
	var wg sync.WaitGroup
	start := time.Now()
	deadline := start.Add(o.duration)
	for w := range all {
		c, err := dialBench(addr)
		if err != nil {
			cancel(err)
			break
		}
		wg.Go(func() {
			defer func() { _ = c.Close() }()
			for i, began := 0, time.Now(); began.Before(deadline) && ctx.Err() == nil; i++ {
				if _, err := c.exchange(request(w, i)); err != nil {
					cancel(err)
					return
				}
				now := time.Now()
				all[w].note(now.Sub(began))
				began = now
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	if ctx.Err() != nil {
		return measure{}, context.Cause(ctx)
	}
	took := &latencies{}
	for i := range all {
		took.add(&all[i])
	}
	return measure{
		PerS: float64(took.count) / elapsed.Seconds(),
		P50:  microseconds(took.percentile(0.5)), P99: microseconds(took.percentile(0.99)),
	}, nil
}

const benchLiveKind = "bench.live"

// follow appends events at a rate while readers follow.
func (o *httpBench) follow(ctx context.Context, n *benchNode) (*live, error) {
	start := time.Now()
	var reading sync.WaitGroup
	readers := make([]*benchReader, o.readers)
	for i := range readers {
		c, err := dialBench(n.addr)
		if err != nil {
			return nil, err
		}
		defer func() { _ = c.Close() }()
		if _, err := io.WriteString(c, "GET /v1/events/stream?kind="+benchLiveKind+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return nil, err
		}
		r := &benchReader{conn: c, start: start, opened: make(chan struct{})}
		readers[i] = r
		reading.Go(r.run)
	}
	for _, r := range readers {
		select {
		case <-r.opened:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(30 * time.Second):
			return nil, errors.New("readers do not get through to the node")
		}
	}
	began := time.Now()
	var appends latencies
	sent, err := o.tick(ctx, n.j, start, &appends)
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	l := &live{Readers: o.readers, Rate: o.rate, PerS: float64(sent) / took.Seconds()}
	if o.stuck > 0 {
		more, err := o.withStuck(ctx, n, l, start, &appends)
		if err != nil {
			return nil, err
		}
		sent += more
	}
	l.Events, l.AppendP99 = sent, microseconds(appends.percentile(0.99))/1000
	// What is on its way may arrive.
	for wait := time.Now().Add(5 * time.Second); time.Now().Before(wait); time.Sleep(10 * time.Millisecond) {
		if delivered(readers) == sent*uint64(o.readers) {
			break
		}
	}
	for _, r := range readers {
		_ = r.conn.Close()
	}
	reading.Wait()
	all := &latencies{}
	for _, r := range readers {
		all.add(&r.took)
	}
	l.Delivered = all.count
	l.Missing = sent*uint64(o.readers) - all.count
	l.P50, l.P99 = microseconds(all.percentile(0.5))/1000, microseconds(all.percentile(0.99))/1000
	return l, nil
}

func delivered(readers []*benchReader) (n uint64) {
	for _, r := range readers {
		n += r.seen.Load()
	}
	return n
}

// withStuck goes on with readers that take nothing, then without them and with
// them again, so that both are measured in the same weather.
func (o *httpBench) withStuck(ctx context.Context, n *benchNode, l *live, start time.Time, without *latencies) (sent uint64, err error) {
	var with latencies
	l.Stuck = &stuck{Readers: o.stuck, HeapBefore: heapMiB()}
	for _, took := range []*latencies{&with, without, &with} {
		var conns []*benchConn
		for i := 0; took == &with && i < o.stuck; i++ {
			c, err := dialBench(n.addr)
			if err != nil {
				return sent, err
			}
			conns = append(conns, c)
			_ = c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10) // what it is given fills up sooner
			// From the beginning, so that there is more than the system takes for it.
			if _, err := io.WriteString(c, "GET /v1/events/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				return sent, err
			}
		}
		more, err := o.tick(ctx, n.j, start, took)
		sent += more
		if took == &with {
			l.Stuck.HeapAfter = max(l.Stuck.HeapAfter, heapMiB())
		}
		for _, c := range conns {
			_ = c.Close()
		}
		if err != nil {
			return sent, err
		}
	}
	l.Stuck.AppendP99 = microseconds(with.percentile(0.99)) / 1000
	l.Stuck.Ratio = l.Stuck.AppendP99 / (microseconds(without.percentile(0.99)) / 1000)
	return sent, nil
}

// heapMiB is what is in use after a collection.
func heapMiB() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse) / (1 << 20)
}

// tick appends events at the rate, each with the time of its append.
func (o *httpBench) tick(ctx context.Context, j *journal.Journal, start time.Time, took *latencies) (sent uint64, err error) {
	began := time.Now()
	for time.Since(began) < o.duration {
		due := uint64(time.Since(began).Seconds()*float64(o.rate)) + 1
		var ds []events.Draft
		for ; sent < due; sent++ {
			ds = append(ds, events.Draft{
				Stream: "live", Kind: benchLiveKind, ContentType: events.ContentTypeJSON,
				Payload: fmt.Appendf(nil, `{"at":%d}`, time.Since(start).Nanoseconds()),
			})
		}
		if len(ds) > 0 {
			before := time.Now()
			if _, err := j.Append(ctx, journal.Write{Events: ds}); err != nil {
				return sent, err
			}
			took.note(time.Since(before))
		}
		time.Sleep(time.Millisecond)
	}
	return sent, nil
}

// benchReader is one reader of the stream.
type benchReader struct {
	conn   *benchConn
	start  time.Time
	opened chan struct{}
	seen   atomic.Uint64
	took   latencies
}

func (r *benchReader) run() {
	once := sync.OnceFunc(func() { close(r.opened) })
	for {
		line, err := r.conn.in.ReadSlice('\n')
		if err != nil {
			return // it is closed at the end
		}
		if !bytes.HasPrefix(line, []byte("data: ")) {
			continue
		}
		at := bytes.LastIndex(line, []byte(`"at":`))
		if at < 0 {
			once() // the stream's own first word
			continue
		}
		digits, _, _ := strings.Cut(string(line[at+len(`"at":`):]), "}")
		sent, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return
		}
		r.took.note(time.Since(r.start) - time.Duration(sent))
		r.seen.Add(1)
	}
}
