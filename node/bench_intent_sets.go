package node

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/static"
)

// intentFiles name the parts of one set.
type intentFiles struct {
	name  string
	texts string
	f32   string // empty: computed from the texts
}

// findIntentSets finds the pairs of files in a directory.
func findIntentSets(dir string, only []string) ([]intentFiles, error) {
	texts, err := filepath.Glob(filepath.Join(dir, "*.jsonl.gz"))
	if err != nil {
		return nil, err
	}
	var sets []intentFiles
	for _, file := range texts {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl.gz")
		if len(only) > 0 && !slices.Contains(only, name) {
			continue
		}
		vectors, err := filepath.Glob(filepath.Join(dir, name+".*.f32"))
		if err != nil {
			return nil, err
		}
		for _, v := range vectors {
			sets = append(sets, intentFiles{name, file, v})
		}
		sets = append(sets, intentFiles{name, file, ""})
	}
	if len(sets) == 0 {
		return nil, fmt.Errorf("%s holds no set: give a directory with NAME.jsonl.gz and NAME.*.f32", dir)
	}
	return sets, nil
}

// intentSet is a set in memory.
type intentSet struct {
	name      string
	vectors   string // file or builtin
	dimension int
	texts     []string
	labels    []string
	arrivals  []intent.Vector
}

func (f intentFiles) read() (*intentSet, error) {
	s := &intentSet{name: f.name, vectors: "file"}
	if err := s.readTexts(f.texts); err != nil {
		return nil, fmt.Errorf("%s: %w", f.texts, err)
	}
	if f.f32 == "" {
		s.vectors = "builtin"
		return s, s.embed()
	}
	if err := s.readVectors(f.f32); err != nil {
		return nil, fmt.Errorf("%s: %w", f.f32, err)
	}
	return s, nil
}

func (s *intentSet) readTexts(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	z, err := gzip.NewReader(file)
	if err != nil {
		return fmt.Errorf("not gzip: %w", err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var line struct {
			Text  *string `json:"text"`
			Label *string `json:"label"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("line %d: %w", len(s.labels)+1, err)
		}
		if line.Text == nil || line.Label == nil {
			return fmt.Errorf(`line %d: want {"text":...,"label":...}`, len(s.labels)+1)
		}
		s.texts, s.labels = append(s.texts, *line.Text), append(s.labels, *line.Label)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", len(s.labels)+1, err)
	}
	if len(s.labels) == 0 {
		return errors.New("no texts")
	}
	return nil
}

func (s *intentSet) readVectors(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	n := len(s.labels)
	if s.dimension = len(b) / 4 / n; s.dimension == 0 || len(b) != 4*n*s.dimension {
		return fmt.Errorf("%d bytes are no whole number of float32 for each of %d texts", len(b), n)
	}
	x := make([]float32, s.dimension)
	for i := range n {
		for j := range x {
			x[j] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*(i*s.dimension+j):]))
		}
		v, err := intent.Quantize(x, s.dimension)
		if err != nil {
			return fmt.Errorf("text %d: %w", i+1, err)
		}
		s.arrivals = append(s.arrivals, v)
	}
	return nil
}

// embed computes the vectors from the texts. A text that has none is refused:
// scores are of sets as they are.
func (s *intentSet) embed() error {
	s.dimension = static.Dimension
	vectors, err := static.Embedder{}.Embed(context.Background(), s.texts)
	if err != nil {
		return err
	}
	for i, x := range vectors {
		v, err := intent.Quantize(x, s.dimension)
		if err == nil && v == nil {
			err = fmt.Errorf("no words in %q", s.texts[i])
		}
		if err != nil {
			return fmt.Errorf("text %d: %w", i+1, err)
		}
		s.arrivals = append(s.arrivals, v)
	}
	return nil
}

func (s *intentSet) topics() int {
	seen := make(map[string]bool)
	for _, l := range s.labels {
		seen[l] = true
	}
	return len(seen)
}

func (s *intentSet) raw() [][]int16 {
	out := make([][]int16, len(s.arrivals))
	for i, v := range s.arrivals {
		out[i] = v
	}
	return out
}
