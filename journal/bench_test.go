package journal_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

func perSecond(b *testing.B, n uint64) {
	b.Helper()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkAppend appends events of 200 bytes on disk, each writer to its own
// stream, with the expected version and the last event as a parent.
func BenchmarkAppend(b *testing.B) {
	for _, level := range []journal.Level{journal.LevelFsync, journal.LevelOS} {
		for _, writers := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("%v/writers=%d", level, writers), func(b *testing.B) {
				j := open(b, b.TempDir()+"/journal", journal.Options{Level: level})
				work := make(chan struct{}, writers)
				var wg sync.WaitGroup
				b.ReportAllocs()
				b.ResetTimer()
				for w := range writers {
					wg.Go(func() {
						stream := fmt.Sprintf("writer/%04d", w)
						payload := make([]byte, 200)
						var parents []events.Ref
						for n := uint64(0); ; n++ {
							if _, more := <-work; !more {
								return
							}
							copy(payload, fmt.Sprint(stream, n))
							r, err := j.Append(context.Background(), journal.Write{
								Events: []events.Draft{{Stream: stream, Kind: "bench.event", Payload: payload, Parents: parents}},
								Expect: map[string]journal.Expected{stream: journal.Version(n)},
							})
							if err != nil {
								b.Error(err)
								continue
							}
							parents = []events.Ref{r.Events[0].Ref()}
						}
					})
				}
				for range b.N {
					work <- struct{}{}
				}
				close(work)
				wg.Wait()
				perSecond(b, uint64(b.N))
			})
		}
	}
}

// filled is a journal with n events of 200 bytes, all of them in the index.
func filled(b *testing.B, n int) *journal.Journal {
	b.Helper()
	dir := b.TempDir() + "/journal"
	j := open(b, dir, journal.Options{Level: journal.LevelOS})
	for i := 0; i < n; i += 100 {
		var w journal.Write
		for k := range 100 {
			w.Events = append(w.Events, draft(fmt.Sprintf("s/%d", k), "bench.event", fmt.Sprintf("%0200d", i+k)))
		}
		if err := j.Submit(b.Context(), w, func(_ journal.Receipt, err error) {
			if err != nil {
				b.Error(err)
			}
		}); err != nil {
			b.Fatal(err)
		}
	}
	closeOK(b, j)
	return open(b, dir, journal.Options{})
}

const benchEvents = 50_000

// BenchmarkLargeWrite appends chains of events, each the parent of the next, in
// writes of different sizes.
func BenchmarkLargeWrite(b *testing.B) {
	for _, size := range []int{32, 1024, journal.MaxWriteEvents} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			j := open(b, b.TempDir()+"/journal", journal.Options{Level: journal.LevelOS})
			var n uint64
			for b.Loop() {
				ds := make([]events.Draft, size)
				for i := range ds {
					ds[i] = events.Draft{ID: nthID(int(n) + i + 1), Stream: "s", Kind: "bench.event", Payload: fmt.Append(nil, n, i)}
					if i > 0 {
						ds[i].Parents = []events.Ref{{ID: ds[i-1].ID}}
					}
				}
				if _, err := j.Append(b.Context(), journal.Write{Events: ds}); err != nil {
					b.Fatal(err)
				}
				n += uint64(size)
			}
			perSecond(b, n)
		})
	}
}

func BenchmarkRead(b *testing.B) {
	j := filled(b, benchEvents)
	for name, q := range map[string]journal.Query{
		"all":    {},
		"kind":   {Kinds: []events.Pattern{events.MustPattern("bench.*")}},
		"stream": {Stream: "s/7"},
	} {
		b.Run(name, func(b *testing.B) {
			n := uint64(0)
			for b.Loop() {
				for _, err := range j.Read(b.Context(), q) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
			}
			perSecond(b, n)
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	j := filled(b, benchEvents)
	n := uint64(0)
	for b.Loop() {
		n += verified(b, j).Events
	}
	perSecond(b, n)
}

// BenchmarkQueryByIntent asks for an intent that one event in a thousand has.
// Nothing is skipped: the list of assignments is walked, and only the records of
// the intent are read.
func BenchmarkQueryByIntent(b *testing.B) {
	const n = 100_000
	j := open(b, "", journal.Options{Level: journal.LevelMemory, Intents: leader(0.9)})
	var rare events.ID
	for i := 0; i < n; i += 1000 {
		ds := make([]events.Draft, 1000)
		for k := range ds {
			ds[k] = draft(fmt.Sprint("s/", k%50), "bench.embedded", fmt.Sprint(i+k))
			ds[k].Embedding = []float32{1, 1, 1, 1, 1, 1, 1, 1}
			if k == 500 {
				ds[k].Embedding = []float32{-1, -1, -1, -1, -1, 1, 1, 1}
			}
		}
		r, err := tryAppend(b, j, write(ds...))
		if err != nil {
			b.Fatal(err)
		}
		rare = r.Events[500].Intent.ID
	}
	for b.Loop() {
		if got := len(all(b, j.Read(b.Context(), journal.Query{Intent: rare}))); got != n/1000 {
			b.Fatalf("%d events", got)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
