package compat_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/journal"
)

// A directory format-N in testdata holds the files of a journal as a version
// that wrote stored format N left them, and events.jsonl, what it read in them.
const golden = "testdata"

// line is what a version says about an event; all of it must stay.
type line struct {
	Position       uint64            `json:"position"`
	StreamPosition uint64            `json:"stream_position"`
	ID             events.ID         `json:"id"`
	Stream         string            `json:"stream"`
	Kind           string            `json:"kind"`
	SchemaVersion  uint32            `json:"schema_version"`
	Time           string            `json:"time,omitempty"`
	RecordTime     string            `json:"record_time"`
	ContentType    string            `json:"content_type,omitempty"`
	Payload        string            `json:"payload"`
	Parents        []events.ID       `json:"parents,omitempty"`
	Trigger        events.ID         `json:"trigger,omitzero"`
	Correlation    string            `json:"correlation,omitempty"`
	Extensions     map[string]string `json:"extensions,omitempty"`
	Trace          string            `json:"trace,omitempty"`
	Digest         events.Digest     `json:"digest"`
	RecordHash     events.Digest     `json:"record_hash"`
	Intent         events.ID         `json:"intent,omitzero"`
}

func options() journal.Options {
	clock := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return journal.Options{
		Intents: cluster.NewLeader(cluster.Options{Dimension: 3}),
		Now:     func() time.Time { clock = clock.Add(time.Second); return clock },
	}
}

// TestGolden opens a copy of every journal that an earlier version left, checks
// that it reads as it did then, and that it can be written on.
func TestGolden(t *testing.T) {
	if update {
		write(t, filepath.Join(golden, fmt.Sprintf("format-%d", journal.Format)))
	}
	dirs, err := filepath.Glob(filepath.Join(golden, "format-*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no golden journals: %v", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join(dir, "events.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			work := t.TempDir()
			if err := os.CopyFS(work, os.DirFS(filepath.Join(dir, "files"))); err != nil {
				t.Fatal(err)
			}
			opts := options()
			opts.MustExist = true
			j, err := journal.Open(filepath.Join(work, "journal"), opts)
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			if got := read(t, j); !bytes.Equal(got, want) {
				t.Errorf("read\n%s\nwant\n%s", got, want)
			}
			if r, err := j.Verify(t.Context(), nil); err != nil || !r.OK {
				t.Errorf("verify: %+v, %v", r, err)
			}
			cp, err := j.Checkpoint(t.Context(), "golden")
			if err != nil || cp.Position != 3 {
				t.Errorf("checkpoint %+v, %v", cp, err)
			}
			// What was stored is known, and there is room for more.
			again, err := j.Append(t.Context(), drafts()[0])
			if err != nil || !again.Duplicate {
				t.Errorf("appending the first write again: %+v, %v", again, err)
			}
			if _, err := j.Append(t.Context(), journal.Write{Events: []events.Draft{{Stream: "order/7", Kind: "order.closed"}}}); err != nil {
				t.Error(err)
			}
		})
	}
}

// drafts are the writes of a golden journal.
func drafts() []journal.Write {
	id := func(n int) events.ID { return events.IngestedID("golden", fmt.Sprint(n)) }
	document, err := events.NewDomain("resource.created", events.Resource{ResourceID: id(100), Action: "created", Payload: []byte(`{"name":"ä"}`)})
	if err != nil {
		panic(err) // it is a constant
	}
	document.ID, document.Stream = id(4), "documents"
	return []journal.Write{
		{Events: []events.Draft{
			{
				ID: id(1), Stream: "order/7", Kind: "order.placed", SchemaVersion: 2, Time: time.Date(2025, 6, 23, 0, 11, 0, 5, time.UTC),
				ContentType: "text/plain", Payload: []byte("2 books"), Correlation: "story", Extensions: map[string]string{"outsideid": "7"}, Trace: "00-1-2-01",
			},
			{ID: id(2), Stream: "order/7", Kind: "order.paid", Payload: []byte("2 books"), Parents: []events.Ref{{ID: id(1)}}, Trigger: id(1)},
		}},
		{
			Events:      []events.Draft{{ID: id(3), Stream: "stock", Kind: "stock.taken", Parents: []events.Ref{{ID: id(1)}, {ID: id(2)}}}},
			Checkpoints: []journal.Checkpoint{{Name: "golden", Position: 3}},
		},
		{Events: []events.Draft{document}},
		{Events: []events.Draft{{ID: id(5), Stream: "chat", Kind: "user.message", Embedding: []float32{1, 0, 0}}}},
		{Events: []events.Draft{{ID: id(6), Stream: "chat", Kind: "user.message", Embedding: []float32{1, 0.1, 0}}}},
		{Events: []events.Draft{{ID: id(7), Stream: "chat", Kind: "user.message", Embedding: []float32{0, 0, 1}}}},
	}
}

// write leaves a golden journal in dir.
func write(t *testing.T, dir string) {
	work := t.TempDir()
	j, err := journal.Open(filepath.Join(work, "journal"), options())
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range drafts() {
		if _, err := j.Append(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	text := read(t, j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	// What lies beside the directory belongs to the journal too.
	if err := os.CopyFS(filepath.Join(dir, "files"), os.DirFS(work)); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if n := d.Name(); err == nil && (n == "LOCK" || n == "HOLDER") {
			return os.Remove(path)
		}
		return err
	})
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "events.jsonl"), text, 0o644)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, j *journal.Journal) []byte {
	var out bytes.Buffer
	for e, err := range j.Read(t.Context(), journal.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		l := line{
			Position: e.Position, StreamPosition: e.StreamPosition, ID: e.ID, Stream: e.Stream, Kind: e.Kind, SchemaVersion: e.SchemaVersion,
			RecordTime: e.RecordTime.UTC().Format(time.RFC3339Nano), ContentType: e.ContentType, Payload: string(e.Payload), Trigger: e.Trigger,
			Correlation: e.Correlation, Extensions: e.Extensions, Trace: e.Trace, Digest: e.Digest, RecordHash: e.RecordHash(), Intent: e.Intent.ID,
		}
		if !e.Time.IsZero() {
			l.Time = e.Time.UTC().Format(time.RFC3339Nano)
		}
		for _, p := range e.Parents {
			l.Parents = append(l.Parents, p.ID)
		}
		b, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(b, '\n'))
	}
	return out.Bytes()
}
