package cluster_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
)

// TestKnownTopics measures the defaults on real embeddings. They are too large
// to be kept here: TOKA_INTENT_DATA names a directory with, for each set, a
// SET.mpnet.f32 (768 little-endian float32 a text) and a SET.jsonl.gz (an
// object with a "label" a line, in the same order).
func TestKnownTopics(t *testing.T) {
	dir := os.Getenv("TOKA_INTENT_DATA")
	if dir == "" {
		t.Skip("TOKA_INTENT_DATA names no directory with embeddings")
	}
	for _, c := range []struct {
		set          string
		least, most  int     // intents
		rand         float64 // adjusted, within 0.03
		precision    float64 // at least
		topics, size int
	}{
		{"banking77", 1300, 1600, 0.187, 0.85, 77, 3080},
		{"clinc150", 2400, 2850, 0.176, 0.95, 150, 4500},
	} {
		t.Run(c.set, func(t *testing.T) {
			labels := readLabels(t, filepath.Join(dir, c.set+".jsonl.gz"))
			vectors := readVectors(t, filepath.Join(dir, c.set+".mpnet.f32"))
			if len(labels) != c.size || len(vectors) != c.size {
				t.Fatalf("%d labels and %d vectors, want %d", len(labels), len(vectors), c.size)
			}
			l := cluster.NewLeader(cluster.Options{})
			intents := make([]events.ID, len(vectors))
			for i, a := range answers(l, 1, vectors) {
				intents[i] = a.Intent
			}
			ari, precision, recall := score(intents, labels)
			t.Logf("%s: %d intents for %d topics, ARI %.3f, precision %.3f, recall %.3f, snapshot %d bytes",
				l.Name(), l.Count(), c.topics, ari, precision, recall, len(l.Snapshot()))
			if l.Count() < c.least || l.Count() > c.most {
				t.Errorf("%d intents, want %d to %d", l.Count(), c.least, c.most)
			}
			if math.Abs(ari-c.rand) > 0.03 || precision < c.precision {
				t.Errorf("ARI %.3f, want %.3f or near it; precision %.3f, want %.2f at least", ari, c.rand, precision, c.precision)
			}
		})
	}
}

func readLabels(t *testing.T, name string) []string {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var labels []string
	for lines := bufio.NewScanner(z); lines.Scan(); {
		var line struct{ Label string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		labels = append(labels, line.Label)
	}
	return labels
}

func readVectors(t testing.TB, name string) []intent.Vector {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, intent.DefaultDimension)
	return fill(len(b)/4/len(x), func(i int) intent.Vector {
		if _, err := binary.Decode(b[4*i*len(x):], binary.LittleEndian, x); err != nil {
			t.Fatal(err)
		}
		return quantize(x)
	})
}

// score returns the adjusted Rand index (Hubert and Arabie 1985), and which part
// of the pairs in an intent are of one topic, and of those in a topic of one
// intent.
func score(intents []events.ID, labels []string) (ari, precision, recall float64) {
	type cell struct {
		intent events.ID
		label  string
	}
	cells, rows, columns := make(map[cell]int), make(map[events.ID]int), make(map[string]int)
	for i := range intents {
		cells[cell{intents[i], labels[i]}]++
		rows[intents[i]]++
		columns[labels[i]]++
	}
	both, inIntent, inTopic := pairs(cells), pairs(rows), pairs(columns)
	all := float64(len(intents)) * float64(len(intents)-1) / 2
	chance := inIntent * inTopic / all
	return (both - chance) / ((inIntent+inTopic)/2 - chance), both / inIntent, both / inTopic
}

func pairs[K comparable](counts map[K]int) float64 {
	sum := 0
	for _, n := range counts {
		sum += n * (n - 1) / 2
	}
	return float64(sum)
}
