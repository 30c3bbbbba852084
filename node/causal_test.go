package node_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/causal"
	"github.com/tokaworks/toka/node"
)

// asked is a line of an oracle: a question about a history and what is known
// to be the answer.
type asked struct {
	Op       string
	ID, A, B string
	Count    int
	XOR      string
	Best     []string
	line     string
}

func (q *asked) args() []string {
	if q.ID != "" {
		return []string{q.Op, q.ID}
	}
	return []string{q.Op, q.A, q.B}
}

func readOracle(t *testing.T, file string) (out []asked) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		q := asked{line: s.Text()}
		if err := json.Unmarshal(s.Bytes(), &q); err != nil {
			t.Fatal(err)
		}
		out = append(out, q)
	}
	return out
}

// agrees holds the ids of an answer against the oracle. XOR is over the first
// 16 digits of the ids.
func (q *asked) agrees(ids []string) error {
	if q.Op == "common" {
		ids = slices.Sorted(slices.Values(ids))
		if !slices.Equal(ids, q.Best) {
			return fmt.Errorf("%s\nanswered with %v", q.line, ids)
		}
		return nil
	}
	xor := uint64(0)
	for _, id := range ids {
		n, err := strconv.ParseUint(id[:16], 16, 64)
		if err != nil {
			return err
		}
		xor ^= n
	}
	if len(ids) != q.Count || q.Op != "between" && fmt.Sprintf("%016x", xor) != q.XOR {
		return fmt.Errorf("%s\nanswered with %d events, %016x", q.line, len(ids), xor)
	}
	return nil
}

// oracle names a history and its oracle: the real one if it is there, else a
// small part of it with an oracle of its own, worked out from the definitions.
func oracle(t *testing.T) (events, answers string) {
	t.Helper()
	for _, dir := range []string{os.Getenv("TOKA_DATA"), "../../shared/data"} {
		if _, err := os.Stat(filepath.Join(dir, "git-prometheus.oracle.jsonl")); dir != "" && err == nil {
			return filepath.Join(dir, "git-prometheus.jsonl.gz"), filepath.Join(dir, "git-prometheus.oracle.jsonl")
		}
	}
	return sample, "testdata/git-sample.oracle.jsonl"
}

// How long an answer may take on a journal that was just opened. The events
// take most of the time, and on a machine that is busy with something else
// several times what they need; the figures are printed.
const (
	coldBound = 50 * time.Millisecond // to find what the answer is
	readBound = 4 * coldBound         // and to read the events
)

// TestOracle asks each question of a journal that was opened for it alone, in
// a process that collects garbage as seldom as the program does.
func TestOracle(t *testing.T) {
	events, answers := oracle(t)
	data := filepath.Join(t.TempDir(), "data")
	must(t, node.ExitDone, "ingest", "--data", data, events)
	questions := readOracle(t, answers)
	if raceEnabled { // it opens a journal for each
		some := questions[:0]
		for i := 0; i < len(questions); i += 12 {
			some = append(some, questions[i])
		}
		questions = some
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400))

	type times struct{ find, read time.Duration }
	cold := func(q *asked) (took times) {
		j, err := journal.Open(data, journal.Options{MustExist: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = j.Close() }()
		start := time.Now()
		found, err := q.find(t.Context(), j)
		took.find = time.Since(start)
		if err != nil {
			t.Fatal(err)
		}
		ids, err := idsOf(t.Context(), j, found)
		took.read = time.Since(start)
		if err == nil {
			err = q.agrees(ids)
		}
		if err != nil {
			t.Fatal(err)
		}
		return took
	}
	slow := func(took times) bool { return took.find > coldBound || took.read > readBound }
	slowest, late := map[string]times{}, 0
	for i := range questions {
		q := &questions[i]
		took := cold(q)
		for again := 0; slow(took) && again < 3 && !raceEnabled; again++ {
			took = cold(q)
		}
		if slow(took) && !raceEnabled {
			t.Errorf("%s\ntook %v to find, %v with the events", q.line, took.find, took.read)
		}
		if took.read > coldBound {
			late++
		}
		s := slowest[q.Op]
		slowest[q.Op] = times{max(s.find, took.find), max(s.read, took.read)}
	}
	t.Logf("%d answers agree with %s; with the events, %d took more than %v", len(questions), filepath.Base(answers), late, coldBound)
	for _, op := range slices.Sorted(maps.Keys(slowest)) {
		t.Logf("slowest %-11s cold: %6v to find, %6v with the events", op,
			slowest[op].find.Round(100*time.Microsecond), slowest[op].read.Round(100*time.Microsecond))
	}

	// The commands give the same answers; a few are enough.
	for i := 0; i < len(questions); i += max(1, len(questions)/12) {
		q := &questions[i]
		out := must(t, node.ExitDone, append(q.args(), "--data", data, "-o", "ids")...).out
		if err := q.agrees(strings.Fields(out)); err != nil {
			t.Error(err)
		}
	}
}

// find returns the positions that answer q.
func (q *asked) find(ctx context.Context, j *journal.Journal) (found []uint64, err error) {
	var about []uint64
	for _, id := range q.args()[1:] {
		es, err := j.ByOutsideID(ctx, id)
		if err != nil || len(es) != 1 {
			return nil, fmt.Errorf("%d events with id %s: %w", len(es), id, err)
		}
		about = append(about, es[0].Position)
	}
	var seq iter.Seq2[uint64, error]
	switch q.Op {
	case "ancestors":
		seq = causal.Ancestors(ctx, j, 0, about...)
	case "descendants":
		seq = causal.Descendants(ctx, j, 0, about...)
	case "between":
		seq = causal.Between(ctx, j, about[0], about[1])
	case "common":
		return causal.Common(ctx, j, about[0], about[1])
	default:
		return nil, fmt.Errorf("no such question: %s", q.line)
	}
	for p, err := range seq {
		if err != nil {
			return nil, err
		}
		found = append(found, p)
	}
	return found, nil
}

// idsOf reads the ids that events were ingested with.
func idsOf(ctx context.Context, j *journal.Journal, positions []uint64) (ids []string, err error) {
	seq := func(yield func(uint64, error) bool) {
		for _, p := range positions {
			if !yield(p, nil) {
				return
			}
		}
	}
	for e, err := range j.Each(ctx, seq) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, strings.Clone(e.OutsideID())) // not the whole record
	}
	return ids, nil
}
