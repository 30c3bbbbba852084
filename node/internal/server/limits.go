package server

import (
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tokaworks/toka/node/internal/server/auth"
)

// What may be under way at a time, whoever asks.
const (
	maxLarge   = 16       // bodies above smallBody that are read or being stored
	smallBody  = 64 << 10 // bytes
	maxBuckets = 10_000   // tokens and addresses whose rate is known
)

// limits bound what clients can make a node hold.
type limits struct {
	streams chan struct{}
	large   chan struct{}
	conns   chan struct{}
	rate    float64

	mu      sync.Mutex
	buckets map[string]*bucket
}

// bucket lets through rate requests a second, and a second's worth at once.
type bucket struct {
	level float64
	at    time.Time
}

func (l *limits) init(o Options) {
	l.streams = make(chan struct{}, o.Streams)
	l.large = make(chan struct{}, maxLarge)
	l.conns = make(chan struct{}, o.Connections)
	l.rate = o.RatePerToken
	l.buckets = map[string]*bucket{}
}

// admit refuses who asks too often.
func (l *limits) admit(r *http.Request, p *auth.Principal) *Problem {
	if l.rate <= 0 {
		return nil
	}
	key := ""
	if p != nil {
		key = p.ID
	}
	if key == "" {
		key, _, _ = net.SplitHostPort(r.RemoteAddr)
	}
	if l.take(key, time.Now()) {
		return nil
	}
	refused := problem(http.StatusTooManyRequests, "rate", "too many requests; wait and go on more slowly, or send batches")
	refused.retryAfter = 1
	return refused
}

func (l *limits) take(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[key]
	if !ok {
		if len(l.buckets) >= maxBuckets {
			clear(l.buckets) // everybody begins anew: cheaper than to keep order
		}
		b = &bucket{level: l.rate, at: now}
		l.buckets[key] = b
	}
	b.level = min(l.rate, b.level+now.Sub(b.at).Seconds()*l.rate)
	b.at = now
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}

// hold takes a place in a bounded set without waiting for one.
func hold(places chan struct{}) (release func(), ok bool) {
	select {
	case places <- struct{}{}:
		return sync.OnceFunc(func() { <-places }), true
	default:
		return nil, false
	}
}

// listener closes connections above the bound as they come: to leave them
// waiting would hide from clients that the node is full.
func (l *limits) listener(ln net.Listener) net.Listener { return &limited{ln, l.conns} }

type limited struct {
	net.Listener
	places chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		release, ok := hold(l.places)
		if !ok {
			_ = c.Close()
			continue
		}
		return &conn{Conn: c, release: release}, nil
	}
}
