package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/tokaworks/toka/node/internal/server"
)

// discard is a client that takes any answer and counts those that are not 201.
type discard struct {
	header http.Header
	bad    int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int) {
	if status != http.StatusCreated {
		d.bad++
	}
}

// BenchmarkAppend is what a request costs inside the handler, on a journal in
// memory: one event, and a batch of 100.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := start(b, server.Options{})
			h := r.s.Handler()
			addr := net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7171})
			body := &bytes.Reader{}
			req, err := http.NewRequest("POST", "http://localhost/v1/events", io.NopCloser(body))
			if err != nil {
				b.Fatal(err)
			}
			req.RemoteAddr = addr.String()
			kind := structured
			if size > 1 {
				kind = batched
			}
			req.Header.Set("Content-Type", kind)
			b.ReportAllocs()
			b.ResetTimer()
			w := &discard{}
			for i := range b.N {
				b.StopTimer()
				texts := make([]string, size)
				for k := range texts {
					texts[k] = cloud("writer", fmt.Sprint(i*size+k), "bench.appended", fmt.Sprintf(`,"data":{"n":%d,"filling":"%040d"}`, i, k))
				}
				text := strings.Join(texts, ",")
				if size > 1 {
					text = "[" + text + "]"
				}
				body.Reset([]byte(text))
				req.ContentLength, w.header = int64(len(text)), http.Header{}
				b.StartTimer()
				h.ServeHTTP(w, req)
			}
			if w.bad > 0 {
				b.Errorf("%d of %d were refused", w.bad, b.N)
			}
		})
	}
}
