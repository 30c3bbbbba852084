package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// conn is a connection from the network. It counts as one until it is closed,
// and what a stream sends at a time can leave it at once: net/http hands a long
// chunk over in pieces of 4 KiB and less, each of which would be a packet for the
// system to send and would wake the reader.
type conn struct {
	net.Conn
	release func()

	mu      sync.Mutex // TLS may answer the other side by itself while a request is being answered
	gathers bool
	out     []byte
}

func (c *conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gathers {
		c.out = append(c.out, b...)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// together has what f writes leave in one piece. A nil conn leaves f as it is.
func (c *conn) together(f func() error) error {
	if c == nil {
		return f()
	}
	buf := chunks.Get().(*[]byte)
	defer letGo(buf)
	c.mu.Lock()
	c.gathers, c.out = true, (*buf)[:0]
	c.mu.Unlock()
	err := f()
	c.mu.Lock()
	defer c.mu.Unlock() // held until it is out, so that nothing overtakes it
	*buf, c.gathers, c.out = c.out, false, nil
	if len(*buf) > 0 {
		if _, failed := c.Conn.Write(*buf); err == nil {
			err = failed
		}
	}
	return err
}

type connKey struct{}

// remember lets a request find its connection.
func remember(ctx context.Context, nc net.Conn) context.Context {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	if c, ok := nc.(*conn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// connOf returns the connection of a request that has one to itself, or nil.
func connOf(r *http.Request) *conn {
	if r.ProtoMajor != 1 {
		return nil
	}
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}
