package bus_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
)

// Each subscriber receives everything; the emission is timed for one in 64.
func BenchmarkMemory(b *testing.B) {
	for _, n := range []int{0, 1, 2, 10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := bus.NewMemory(bus.Options{})
			var wg sync.WaitGroup
			got := make([]int, n)
			for i := range n {
				r, err := m.Receive(bus.Filter{})
				if err != nil {
					b.Fatal(err)
				}
				wg.Go(func() {
					c := 0
					for _, err := range r.All(b.Context()) {
						if err != nil {
							break
						}
						c++
					}
					got[i] = c
				})
			}
			payload := []byte(`{"user":"ada"}`)
			var took []time.Duration
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				var t time.Time
				if i&63 == 0 {
					t = time.Now()
				}
				if err := m.Emit(b.Context(), "auth", "user.login", events.System{Component: "auth", Payload: payload}); err != nil {
					b.Fatal(err)
				}
				if i&63 == 0 {
					took = append(took, time.Since(t))
				}
				i++
			}
			_ = m.Close(b.Context())
			wg.Wait()
			for _, g := range got {
				if g != i {
					b.Fatal(g, i)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2]), "p50ns")
			b.ReportMetric(float64(took[len(took)*99/100]), "p99ns")
			b.ReportMetric(float64(i*n)/b.Elapsed().Seconds()/1e6, "Mdeliveries/s")
		})
	}
}
