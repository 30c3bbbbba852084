package events_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/events"
)

// Run with -update only where the format gets a new version, and read the
// difference: bytes that change here have changed in every journal.
var update = flag.Bool("update", false, "rewrite testdata/golden.json")

var goldenFile = filepath.Join("testdata", "golden.json")

type golden struct {
	Events   []vector         `json:"events"`
	Ingested []ingestedVector `json:"ingested"`
	Emitted  []emittedVector  `json:"emitted"`
	Intents  []intentVector   `json:"intents"`
}

type ingestedVector struct {
	Source    string `json:"source"`
	OutsideID string `json:"outside_id"`
	ID        string `json:"id"`
}

type emittedVector struct {
	Cause   string `json:"cause"`
	Agent   string `json:"agent"`
	Ordinal uint32 `json:"ordinal"`
	ID      string `json:"id"`
}

type intentVector struct {
	Strategy string `json:"strategy"`
	Founder  string `json:"founder"`
	ID       string `json:"id"`
}

func readGolden(t testing.TB) golden {
	t.Helper()
	b, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var g golden
	if err := dec.Decode(&g); err != nil {
		t.Fatalf("%s: %v", goldenFile, err)
	}
	return g
}

// goldenInputs are the events of the golden file before anything is computed.
func goldenInputs() []vector {
	const when = "2025-06-23T00:11:00.000000042Z"
	place := func(v vector, position uint64) vector {
		v.ID = nthID(byte(100 + position)).String()
		v.Position, v.StreamPosition, v.Epoch, v.RecordTime = position, position, 1, when
		if v.Stream == "" {
			v.Stream = "s"
		}
		if v.Kind == "" {
			v.Kind = "k"
		}
		return v
	}
	parent := func(n byte) vectorParent {
		return vectorParent{nthID(n).String(), nthDigest(n).String(), uint64(n)}
	}
	var many []vectorParent
	for n := byte(events.MaxParents); n > 0; n-- {
		many = append(many, parent(n))
	}
	all := fullVector()
	all.Name, all.Position = "every field", 12
	elsewhere := fullVector()
	elsewhere.Name, elsewhere.PayloadAt = "every field, payload elsewhere", 12
	return []vector{
		place(vector{Name: "least"}, 1),
		place(vector{Name: "time with nanoseconds", Time: "2025-06-23T00:10:59.999999999Z"}, 2),
		place(vector{Name: "time before 1970", Time: "0001-01-01T00:00:00.000000001Z"}, 3),
		place(vector{Name: "last time", Time: "9999-12-31T23:59:59.999999999Z"}, 4),
		place(vector{
			Name: "longest names", Stream: strings.Repeat("s", 256), Kind: strings.Repeat("k.", 127) + "kk",
			ContentType: strings.Repeat("c", 256), Correlation: strings.Repeat("x", 256),
			Trace: strings.Repeat("t", 256), SchemaVersion: 1<<32 - 1,
		}, 5),
		place(vector{Name: "UTF-8", Stream: "заказ/7", Kind: "заказ.размещён", Correlation: "🛒"}, 6),
		place(vector{Name: "payload of 200 bytes", Payload: strings.Repeat("ab", 200), ContentType: "application/octet-stream"}, 7),
		place(vector{Name: "payload elsewhere", Payload: strings.Repeat("ab", 200), PayloadAt: 7}, 8),
		place(vector{Name: "two parents", Parents: []vectorParent{parent(9), parent(3)}, Trigger: nthID(9).String()}, 9),
		place(vector{Name: "a parent twice", Parents: []vectorParent{parent(3), parent(9), parent(3)}, Trigger: nthID(3).String()}, 10),
		place(vector{Name: "most parents", Parents: many}, 11),
		all,
		elsewhere,
		place(vector{Name: "extensions", Extensions: map[string]string{"b": "", "a": "1", "aa": "2\n", "0": strings.Repeat("v", 300)}}, 14),
		place(vector{Name: "encrypted", SubjectKey: "customer-9", Payload: "00ff"}, 15),
		place(vector{Name: "embedding", EmbeddingDigest: strings.Repeat("ab", 32)}, 16),
		{
			Name: "a far place", ID: "01976f4e-0000-7000-8000-000000000001", Stream: "$system", Kind: "toka.note",
			Position: 1<<64 - 1, StreamPosition: 1<<64 - 1, Epoch: 1<<32 - 1, RecordTime: "2262-04-11T23:47:16.854775807Z",
		},
	}
}

// build makes the event of v with the package, fills in what came out and
// returns both.
func build(t *testing.T, v vector) (events.Event, vector) {
	t.Helper()
	d := events.Draft{
		ID: mustID(v.ID), Stream: v.Stream, Kind: v.Kind, SchemaVersion: v.SchemaVersion,
		ContentType: v.ContentType, Payload: unhex(v.Payload), Correlation: v.Correlation,
		Extensions: v.Extensions, Trace: v.Trace,
	}
	if v.Time != "" {
		d.Time = specTime(v.Time)
	}
	if v.Trigger != "" {
		d.Trigger = mustID(v.Trigger)
	}
	for _, p := range v.Parents {
		d.Parents = append(d.Parents, events.Ref{ID: mustID(p.ID), Digest: events.Digest(unhex(p.Digest)), Position: p.Position})
	}
	e := mustSeal(t, d)
	e.SubjectKey = v.SubjectKey
	if err := e.SetParents(e.Parents); err != nil {
		t.Fatal(err)
	}
	copy(e.EmbeddingDigest[:], unhex(v.EmbeddingDigest))
	e.Position, e.StreamPosition, e.Epoch, e.RecordTime = v.Position, v.StreamPosition, v.Epoch, specTime(v.RecordTime)
	v.PayloadDigest, v.CausalDigest = e.PayloadDigest.String(), e.Digest.String()
	v.RecordHash, v.Record = e.RecordHash().String(), hex.EncodeToString(events.AppendRecord(nil, &e, v.PayloadAt))
	return e, v
}

func TestGoldenVectors(t *testing.T) {
	var now golden
	for _, in := range goldenInputs() {
		e, v := build(t, in)
		now.Events = append(now.Events, v)
		got, at, err := events.CheckRecord(v.Position, unhex(v.Record))
		if err != nil || at != v.PayloadAt {
			t.Errorf("%s: decoded with payload at %d, error %v", v.Name, at, err)
			continue
		}
		sameEvent(t, got, written(e, v.PayloadAt))
	}
	for _, in := range [][2]string{{"shop", "A-1"}, {"shop", "A-2"}, {"a", "bc"}, {"ab", "c"}, {"", ""}, {strings.Repeat("s", 256), strings.Repeat("o", 256)}} {
		now.Ingested = append(now.Ingested, ingestedVector{in[0], in[1], events.IngestedID(in[0], in[1]).String()})
	}
	for n, agent := range []string{"shipping", "shipping", "billing", strings.Repeat("a", 256)} {
		cause, ordinal := nthDigest(byte(n/2)), uint32(n)<<30
		now.Emitted = append(now.Emitted, emittedVector{cause.String(), agent, ordinal, events.EmittedID(cause, agent, ordinal).String()})
	}
	for n, strategy := range []string{"cluster/1", "cluster/2", "cluster/2"} {
		founder := nthDigest(byte(n / 2))
		now.Intents = append(now.Intents, intentVector{strategy, founder.String(), events.IntentID(strategy, founder).String()})
	}
	if *update {
		b, err := json.MarshalIndent(now, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenFile, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := readGolden(t)
	if len(now.Events) != len(want.Events) {
		t.Fatalf("%d events here, %d in the golden file", len(now.Events), len(want.Events))
	}
	for i, v := range now.Events {
		if !reflect.DeepEqual(v, want.Events[i]) {
			t.Errorf("%s:\n got %+v\nwant %+v", v.Name, v, want.Events[i])
		}
	}
	if !slices.Equal(now.Ingested, want.Ingested) {
		t.Errorf("ids of ingested events:\n got %v\nwant %v", now.Ingested, want.Ingested)
	}
	if !slices.Equal(now.Emitted, want.Emitted) {
		t.Errorf("ids of emitted events:\n got %v\nwant %v", now.Emitted, want.Emitted)
	}
	if !slices.Equal(now.Intents, want.Intents) {
		t.Errorf("ids of intents:\n got %v\nwant %v", now.Intents, want.Intents)
	}
}

// The golden file follows from the drawings in doc.go, whatever the package's
// encoder does.
func TestGoldenVectorsFollowTheDrawing(t *testing.T) {
	g := readGolden(t)
	for _, v := range g.Events {
		payload := tagSum("toka/payload/1", unhex(v.Payload)...)
		digest, hash := specDigest(v), specRecordHash(v)
		for _, c := range []struct{ what, file, drawing string }{
			{"payload digest", v.PayloadDigest, hex.EncodeToString(payload[:])},
			{"causal digest", v.CausalDigest, hex.EncodeToString(digest[:])},
			{"record hash", v.RecordHash, hex.EncodeToString(hash[:])},
			{"record", v.Record, hex.EncodeToString(join(specRecord(v)))},
		} {
			if c.file != c.drawing {
				t.Errorf("%s: %s\nin the file %s\nby the drawing %s", v.Name, c.what, c.file, c.drawing)
			}
		}
	}
	for _, v := range g.Ingested {
		want := specID(tagSum("toka/ingest/1", slices.Concat(text(v.Source), text(v.OutsideID))...))
		if v.ID != want {
			t.Errorf("ingested %q %q: %s in the file, %s by the rule", v.Source, v.OutsideID, v.ID, want)
		}
	}
	for _, v := range g.Emitted {
		want := specID(tagSum("toka/emit/1", slices.Concat(unhex(v.Cause), text(v.Agent), fixed(4, uint64(v.Ordinal)))...))
		if v.ID != want {
			t.Errorf("emitted %s %q %d: %s in the file, %s by the rule", v.Cause, v.Agent, v.Ordinal, v.ID, want)
		}
	}
	for _, v := range g.Intents {
		want := specID(tagSum("toka/intent/1", slices.Concat(text(v.Strategy), unhex(v.Founder))...))
		if v.ID != want {
			t.Errorf("intent %q %s: %s in the file, %s by the rule", v.Strategy, v.Founder, v.ID, want)
		}
	}
}

// specID writes the first 16 bytes of a digest as a UUID of version 8.
func specID(d events.Digest) string {
	h := hex.EncodeToString(d[:16])
	variant := "89ab"[d[8]>>4&3]
	return fmt.Sprintf("%s-%s-8%s-%c%s-%s", h[:8], h[8:12], h[13:16], variant, h[17:20], h[20:])
}
