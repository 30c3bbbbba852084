package cluster_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
)

// draw makes a stream of one of the shapes and a leader of its settings.
func draw(t *rapid.T, most int) (func() *cluster.Leader, []intent.Vector) {
	s := shapes[rapid.IntRange(0, len(shapes)-1).Draw(t, "shape")]
	o := cluster.Options{
		Dimension: rapid.SampledFrom(s.dims).Draw(t, s.name+" dim"),
		Threshold: rapid.SampledFrom(s.threshold).Draw(t, "threshold"),
	}
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	stream := s.make(r, o.Dimension, rapid.IntRange(1, most).Draw(t, "arrivals"))
	return func() *cluster.Leader { return cluster.NewLeader(o) }, stream
}

func TestLeaderIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leader, stream := draw(t, 200)
		one, two := leader(), leader()
		want := answers(one, 1, stream)
		// Another slice for each vector: where it lies must not matter.
		for i, v := range stream {
			off := make(intent.Vector, i%9, i%9+len(v))
			stream[i] = append(off, v...)[i%9:]
		}
		compare(t, answers(two, 1, stream), want)
		if !bytes.Equal(one.Snapshot(), two.Snapshot()) || one.Count() != two.Count() {
			t.Fatal("other snapshots")
		}
	})
}

// The literals were computed once; a machine, a compiler or a change that makes
// others makes other intents out of the same journal. The stream is made of
// integers, so that it is the same everywhere, too.
func TestLeaderGolden(t *testing.T) {
	l := cluster.NewLeader(cluster.Options{Threshold: 0.6})
	state := uint64(1)
	next := func(n uint64) float32 { // an ordinary linear congruential generator
		state = state*6364136223846793005 + 1442695040888963407
		return float32(int64(state >> 33 % n))
	}
	var centres [12][intent.DefaultDimension]float32
	for i := range centres {
		for j := range centres[i] {
			centres[i][j] = next(2001) - 1000
		}
	}
	var bits []byte
	for i := range 500 {
		x, noise := make([]float32, intent.DefaultDimension), 500+next(1500)
		for j, c := range centres[int(next(uint64(len(centres))))] {
			x[j] = c + next(uint64(2*noise+1)) - noise
		}
		a := l.Assign(arrival(i+1, quantize(x)))
		bits = append(bits, fmt.Sprintf("%v %x %v\n", a.Intent, math.Float64bits(a.Similarity), a.Created)...)
	}
	got := fmt.Sprintf("%d intents, answers %s, snapshot %s", l.Count(),
		events.PayloadDigest(bits).Short(), events.PayloadDigest(l.Snapshot()).Short())
	if want := "283 intents, answers 3575d8a07f94, snapshot a928a759be7f"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestTiesGoToTheOldest(t *testing.T) {
	x, y, between := quantize([]float32{1, 0}), quantize([]float32{0, 1}), quantize([]float32{1, 1})
	for _, stream := range [][]intent.Vector{{x, y, between}, {y, x, between}} {
		got := answers(cluster.NewLeader(cluster.Options{Dimension: 2, Threshold: 0.7}), 1, stream)
		if !got[0].Created || !got[1].Created || got[2].Created || got[2].Intent != got[0].Intent {
			t.Errorf("%v: %+v", stream, got)
		}
	}
	// The tie is between the second and the third of four, and a sum of two
	// members ties with a single one.
	got := answers(cluster.NewLeader(cluster.Options{Dimension: 3, Threshold: 0.7}), 1, []intent.Vector{
		quantize([]float32{0, 0, 1}), quantize([]float32{0, 1, 0}), quantize([]float32{1, 0, 0}),
		quantize([]float32{0, -1, 0}), quantize([]float32{1, 0, 0}), quantize([]float32{1, 1, 0}),
	})
	if got[5].Intent != got[1].Intent {
		t.Errorf("not the oldest: %+v", got)
	}
}

// The cosine of a unit vector and one of 16 or 64 equal components is 1/4 or
// 1/8, exactly, and so is a threshold of that.
func TestThresholdIsExact(t *testing.T) {
	for _, c := range []struct {
		dim       int
		threshold float64
		joins     bool
	}{
		{4, 0.5, true},
		{4, 0.500000001, false},
		{4, 0.499999999, true},
		{16, 0.25, true},
		{16, 0.250000001, false},
		{64, 0.125, true},
		{64, 0.125000001, false},
	} {
		axis, diagonal := make([]float32, c.dim), make([]float32, c.dim)
		axis[1] = 1
		for i := range diagonal {
			diagonal[i] = 1
		}
		for range 2 {
			axis, diagonal = diagonal, axis // the comparison is symmetric
			l := cluster.NewLeader(cluster.Options{Dimension: c.dim, Threshold: c.threshold})
			got := answers(l, 1, []intent.Vector{quantize(axis), quantize(diagonal)})[1]
			if got.Created == c.joins || c.joins && got.Similarity != 1/math.Sqrt(float64(c.dim)) {
				t.Errorf("%s: %+v", l.Name(), got)
			}
		}
	}
	// At 1, only the same direction joins; a threshold just below lets in what
	// differs by one unit.
	v := quantize(gaussian(rand.New(rand.NewPCG(1, 1)), 768))
	w := slices.Clone(v)
	w[100]++
	for threshold, joins := range map[float64]bool{1: false, 0.999999: true} {
		got := answers(cluster.NewLeader(cluster.Options{Threshold: threshold}), 1, []intent.Vector{v, v, w})
		if got[1].Created || got[1].Similarity != 1 || got[2].Created == joins {
			t.Errorf("threshold %v: %+v", threshold, got)
		}
	}
}

func TestSimilarity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leader, stream := draw(t, 100)
		l := leader()
		var threshold float64
		if _, err := fmt.Sscanf(l.Name()[strings.Index(l.Name(), "t="):], "t=%g", &threshold); err != nil {
			t.Fatal(err)
		}
		for i, a := range answers(l, 1, stream) {
			// Written so that NaN fails.
			if !(a.Similarity >= threshold && a.Similarity <= 1) || a.Created && a.Similarity != 1 {
				t.Fatalf("%s: arrival %d: %+v", l.Name(), i, a)
			}
		}
	})
}

// What the strategy is for: variations of a few unrelated directions.
func TestVariationsShareAnIntent(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	const topics = 25
	var centres [topics][]float32
	for i := range centres {
		centres[i] = gaussian(r, intent.DefaultDimension)
	}
	l := cluster.NewLeader(cluster.Options{})
	of := make(map[events.ID]int)
	for i := range 40 * topics {
		topic := i % topics
		x := gaussian(r, intent.DefaultDimension)
		for j, c := range centres[topic] {
			x[j] = c + 0.4*x[j] // a cosine of about 0.93 to the centre, 0.86 to each other
		}
		a := l.Assign(arrival(i+1, quantize(x)))
		if was, ok := of[a.Intent]; ok == a.Created || ok && was != topic {
			t.Fatalf("arrival %d of topic %d: %+v, an intent of topic %d", i, topic, a, was)
		}
		of[a.Intent] = topic
	}
	if l.Count() != topics {
		t.Errorf("%d intents, want %d", l.Count(), topics)
	}
}

func TestIntentIDDerives(t *testing.T) {
	v := quantize([]float32{1, 2, 3})
	found := func(o cluster.Options, position int) events.ID {
		return cluster.NewLeader(o).Assign(arrival(position, v)).Intent
	}
	three := cluster.Options{Dimension: 3}
	id := found(three, 1)
	if got, want := id.String(), "2a0df382-d0b8-8168-8f4b-c646a8e7a66e"; got != want {
		t.Errorf("id %s, want %s", got, want)
	}
	if want := events.IntentID("leader/1 dim=3 t=0.82", arrival(1, v).Digest); id != want || id[6]>>4 != 8 || id[8]>>6 != 2 {
		t.Errorf("id %v, want %v, of version 8", id, want)
	}
	if found(three, 1) != id {
		t.Error("another id for the same founder")
	}
	if found(three, 2) == id || found(cluster.Options{Dimension: 3, Threshold: 0.83}, 1) == id {
		t.Error("the same id for another founder or strategy")
	}
}

func TestNameTellsEverySetting(t *testing.T) {
	for want, o := range map[string]cluster.Options{
		"leader/1 dim=768 t=0.82":        {},
		"leader/1 dim=3 t=1":             {Dimension: 3, Threshold: 1},
		"leader/1 dim=65536 t=0.5":       {Dimension: 65536, Threshold: 0.5},
		"leader/1 dim=1 t=0.000000001":   {Dimension: 1, Threshold: 1e-9},
		"leader/1 dim=768 t=0.333333333": {Threshold: 1.0 / 3},
	} {
		l := cluster.NewLeader(o)
		if l.Name() != want {
			t.Errorf("%+v: name %q, want %q", o, l.Name(), want)
		}
		if o.Dimension != 0 && l.Dimension() != o.Dimension {
			t.Errorf("%+v: dimension %d", o, l.Dimension())
		}
	}
}

func TestMisusePanics(t *testing.T) {
	leader := cluster.NewLeader(cluster.Options{Dimension: 3})
	assign := func(v ...int16) func() {
		return func() { leader.Assign(intent.Arrival{Position: 9, Vector: v}) }
	}
	options := func(o cluster.Options) func() { return func() { cluster.NewLeader(o) } }
	for name, f := range map[string]func(){
		"negative threshold":   options(cluster.Options{Threshold: -0.1}),
		"vanishing threshold":  options(cluster.Options{Threshold: 1e-10}),
		"threshold above 1":    options(cluster.Options{Threshold: 1.001}),
		"threshold NaN":        options(cluster.Options{Threshold: math.NaN()}),
		"infinite threshold":   options(cluster.Options{Threshold: math.Inf(1)}),
		"negative dimension":   options(cluster.Options{Dimension: -1}),
		"too large dimension":  options(cluster.Options{Dimension: 65537}),
		"no vector":            assign(),
		"another dimension":    assign(23170, 23170),
		"zero vector":          assign(0, 0, 0),
		"not of unit length":   assign(100, 100, 100),
		"beyond the quantised": assign(-32768, 0, 0),
	} {
		func() {
			defer func() {
				text, _ := recover().(string)
				if !strings.HasPrefix(text, "cluster: ") {
					t.Errorf("%s: panic %q", name, text)
				}
			}()
			f()
		}()
	}
	if leader.Count() != 0 {
		t.Errorf("%d intents after refusals", leader.Count())
	}
}

func ExampleLeader() {
	l := cluster.NewLeader(cluster.Options{Dimension: 3})
	fmt.Println(l.Name())
	for i, embedding := range [][]float32{{1, 0, 0}, {0, 1, 0.1}, {0.9, 0.2, 0}, {1, 1, 0}} {
		v, err := intent.Quantize(embedding, l.Dimension())
		if err != nil {
			fmt.Println(err)
			return
		}
		digest := events.PayloadDigest([]byte{byte(i)}) // a journal gives the event's causal digest
		a := l.Assign(intent.Arrival{Position: uint64(i + 1), Digest: digest, Vector: v})
		fmt.Printf("%v %.3f %t\n", a.Intent, a.Similarity, a.Created)
	}
	fmt.Println(l.Count(), "intents")
	// Output:
	// leader/1 dim=3 t=0.82
	// f8c2e9cc-4eea-87d2-b561-08f41e474f41 1.000 true
	// 6aa8b776-3c27-8da0-b0be-800acd5b5667 1.000 true
	// f8c2e9cc-4eea-87d2-b561-08f41e474f41 0.976 false
	// 6e3dac53-0471-8ed5-b4b4-29d32118113e 1.000 true
	// 3 intents
}
