package bundle_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/bundle"
	"github.com/tokaworks/toka/journal/causal"
	"github.com/tokaworks/toka/journal/merkle"
)

func memory(t testing.TB) *journal.Journal {
	t.Helper()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func add(t testing.TB, j *journal.Journal, d events.Draft, parents ...uint64) events.Event {
	t.Helper()
	for _, p := range parents {
		e, err := j.At(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		d.Parents = append(d.Parents, e.Ref())
	}
	r, err := j.Append(t.Context(), journal.Write{Events: []events.Draft{d}, Authority: authority.System()})
	if err != nil {
		t.Fatal(err)
	}
	return r.Events[0]
}

// shop is a journal with a history of 9 events in four streams.
func shop(t testing.TB) *journal.Journal {
	t.Helper()
	j := memory(t)
	d := func(stream, kind, payload string) events.Draft {
		return events.Draft{Stream: stream, Kind: kind, Payload: []byte(payload)}
	}
	add(t, j, d("order", "order.placed", "book"))
	add(t, j, d("bank", "order.paid", "12"), 1)
	add(t, j, d("stock", "order.packed", "book"), 1) // a payload that is there
	add(t, j, d("$timers", "toka.timer.set", "x"), 2)
	add(t, j, d("order", "order.shipped", ""), 2, 3)
	add(t, j, d("apart", "stock.counted", "7"))
	late := d("bank", "bank.billed", "12")
	late.Trace, late.Correlation, late.ContentType, late.SchemaVersion = "00-trace", "order 1", "text/plain", 3
	late.Extensions = map[string]string{"a": "b", events.ExtOutsideID: "bill"}
	add(t, j, late, 5, 4)
	embedded := d("bank", "bank.read", "words")
	embedded.Embedding = []float32{1, 2, 3}
	add(t, j, embedded, 7)
	add(t, j, d("bank", "bank.closed", strings.Repeat("y", 100_000)), 8)
	return j
}

func export(t testing.TB, j *journal.Journal, o bundle.ExportOptions, positions iter.Seq2[uint64, error]) ([]byte, bundle.Summary) {
	t.Helper()
	var b bytes.Buffer
	s, err := bundle.Export(t.Context(), &b, j, positions, o)
	if err != nil {
		t.Fatal(err)
	}
	if s.Bytes != int64(b.Len()) {
		t.Fatalf("%d bytes are said to be %d", b.Len(), s.Bytes)
	}
	return b.Bytes(), s
}

func these(positions ...uint64) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		for _, p := range positions {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func key(t testing.TB) *merkle.Key {
	t.Helper()
	k, err := merkle.NewKey("toka.test")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestRoundTrip(t *testing.T) {
	j := shop(t)
	for name, o := range map[string]bundle.ExportOptions{"plain": {}, "proofs": {Proofs: true}, "signed": {Key: key(t)}} {
		for _, of := range []uint64{1, 5, 9} {
			b, want := export(t, j, o, causal.Cone(t.Context(), j, 0, of))
			got, err := bundle.Verify(bytes.NewReader(b), bundle.VerifyOptions{})
			got.Signed = want.Signed // it takes the key to tell
			if err != nil || got != want {
				t.Errorf("%s, cone of %d: %+v, %v; exported %+v", name, of, got, err, want)
			}
		}
	}
	if _, s := export(t, j, bundle.ExportOptions{}, these(5, 7)); s.Events != 2 || s.Stubs != 3 {
		t.Errorf("two events with three parents elsewhere: %+v", s)
	}
	if b, s := export(t, j, bundle.ExportOptions{}, these()); s.Events != 0 {
		t.Errorf("nothing: %+v", s)
	} else if _, err := bundle.Verify(bytes.NewReader(b), bundle.VerifyOptions{}); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

func TestExportErrors(t *testing.T) {
	j := shop(t)
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		positions iter.Seq2[uint64, error]
		w         io.Writer
	}{
		"descending": {these(2, 1), io.Discard},
		"twice":      {these(2, 2), io.Discard},
		"positions":  {func(yield func(uint64, error) bool) { yield(0, boom) }, io.Discard},
		"writer":     {these(1, 2), failing{boom}},
	} {
		if _, err := bundle.Export(t.Context(), c.w, j, c.positions, bundle.ExportOptions{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestProofs(t *testing.T) {
	j := shop(t)
	b, s := export(t, j, bundle.ExportOptions{Proofs: true}, causal.Cone(t.Context(), j, 0, 5))
	head, err := j.HeadAt(t.Context(), s.Size)
	if err != nil {
		t.Fatal(err)
	}
	if s.Size != 9 || s.Origin != j.Origin() {
		t.Errorf("%+v", s)
	}
	if _, err := bundle.Verify(bytes.NewReader(b), bundle.VerifyOptions{Head: head}); err != nil {
		t.Error(err)
	}
	other := head
	other.Root[0] ^= 1
	if _, err := bundle.Verify(bytes.NewReader(b), bundle.VerifyOptions{Head: other}); !errors.Is(err, bundle.ErrBundle) {
		t.Errorf("against another head: %v", err)
	}
	plain, _ := export(t, j, bundle.ExportOptions{}, these(1))
	if _, err := bundle.Verify(bytes.NewReader(plain), bundle.VerifyOptions{Head: head}); !errors.Is(err, bundle.ErrBundle) {
		t.Errorf("without proofs: %v", err)
	}
	// An event that was made up has no proof, however well it is hashed.
	forged := memory(t)
	add(t, forged, events.Draft{Stream: "order", Kind: "order.placed", Payload: []byte("two books")})
	fake, _ := export(t, forged, bundle.ExportOptions{Proofs: true}, these(1))
	if _, err := bundle.Verify(bytes.NewReader(fake), bundle.VerifyOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := bundle.Verify(bytes.NewReader(reframe(t, fake, 'h', []byte(head.Text()))), bundle.VerifyOptions{}); !errors.Is(err, merkle.ErrProof) {
		t.Errorf("a forged event under a real head: %v", err)
	}
}

// reframe replaces the body of the first frame of a kind, and the end to fit.
func reframe(t *testing.T, b []byte, kind byte, body []byte) []byte {
	t.Helper()
	return bundle.Reframe(b, func(k byte, old []byte) []byte {
		if k == kind {
			return body
		}
		return old
	})
}

func TestSignedHead(t *testing.T) {
	j, k, other := shop(t), key(t), key(t)
	b, s := export(t, j, bundle.ExportOptions{Key: k}, these(1, 2))
	if !s.Signed {
		t.Errorf("%+v", s)
	}
	got, err := bundle.Verify(bytes.NewReader(b), bundle.VerifyOptions{Keys: []string{other.Public(), k.Public()}})
	if err != nil || !got.Signed {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := bundle.Verify(bytes.NewReader(b), bundle.VerifyOptions{Keys: []string{other.Public()}}); !errors.Is(err, merkle.ErrSignature) {
		t.Errorf("another key: %v", err)
	}
	unsigned, _ := export(t, j, bundle.ExportOptions{Proofs: true}, these(1, 2))
	if _, err := bundle.Verify(bytes.NewReader(unsigned), bundle.VerifyOptions{Keys: []string{k.Public()}}); !errors.Is(err, merkle.ErrSignature) {
		t.Errorf("unsigned: %v", err)
	}
	plain, _ := export(t, j, bundle.ExportOptions{}, these(1, 2))
	if _, err := bundle.Verify(bytes.NewReader(plain), bundle.VerifyOptions{Keys: []string{k.Public()}}); !errors.Is(err, bundle.ErrBundle) {
		t.Errorf("without a head: %v", err)
	}
}

// samples are bundles that are small enough to change every byte of.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	j := shop(t)
	plain, _ := export(t, j, bundle.ExportOptions{}, these(1, 2, 3, 5, 7, 8))
	proofs, _ := export(t, j, bundle.ExportOptions{Proofs: true}, these(1, 4, 7))
	signed, _ := export(t, j, bundle.ExportOptions{Key: key(t)}, these(2))
	empty, _ := export(t, j, bundle.ExportOptions{}, these())
	return map[string][]byte{"plain": plain, "proofs": proofs, "signed": signed, "empty": empty}
}

func TestEveryByteCounts(t *testing.T) {
	n := 0
	for name, b := range samples(t) {
		for at := range b {
			for _, bit := range []byte{1, 0x10, 0x80} {
				changed := bytes.Clone(b)
				changed[at] ^= bit
				n++
				if s, err := bundle.Verify(bytes.NewReader(changed), bundle.VerifyOptions{}); !errors.Is(err, bundle.ErrBundle) {
					t.Fatalf("%s: byte %d: %+v, %v", name, at, s, err)
				}
			}
		}
		if _, err := bundle.Verify(bytes.NewReader(append(bytes.Clone(b), 0)), bundle.VerifyOptions{}); !errors.Is(err, bundle.ErrBundle) {
			t.Errorf("%s: a byte more: %v", name, err)
		}
	}
	t.Logf("%d changed bundles refused", n)
}

func TestEveryCutIsFound(t *testing.T) {
	for name, b := range samples(t) {
		for at := range b {
			if s, err := bundle.Verify(bytes.NewReader(b[:at]), bundle.VerifyOptions{}); !errors.Is(err, bundle.ErrBundle) {
				t.Fatalf("%s: cut at %d: %+v, %v", name, at, s, err)
			}
		}
	}
}

// What is under the right digest is still held to its own rules.
func TestWellHashedNonsense(t *testing.T) {
	b := samples(t)["proofs"]
	var bodies [][]byte
	bundle.Reframe(b, func(_ byte, old []byte) []byte { bodies = append(bodies, bytes.Clone(old)); return old })
	event := bodies[1]
	for name, nonsense := range map[string][]byte{
		"no events":           bundle.Frames("h", bodies[0]),
		"event without proof": bundle.Frames("he", bodies[0], event),
		"two proofs":          bundle.Frames("hepp", bodies[0], event, bodies[2], bodies[2]),
		"proof before":        bundle.Frames("hp", bodies[0], bodies[2]),
		"proof without head":  bundle.Frames("ep", event, bodies[2]),
		"head late":           bundle.Frames("eh", event, bodies[0]),
		"two heads":           bundle.Frames("hh", bodies[0], bodies[0]),
		"same event":          bundle.Frames("ee", event, event),
		"backwards":           bundle.Frames("ee", bodies[3], event),
		"position 0":          bundle.Frames("e", append([]byte{0}, event[1:]...)),
		"another position":    bundle.Frames("hep", bodies[0], append([]byte{2}, event[1:]...), bodies[2]),
		"long varint":         bundle.Frames("e", append([]byte{0x81, 0}, event[1:]...)),
		"empty event":         bundle.Frames("e", nil),
		"odd proof":           bundle.Frames("hep", bodies[0], event, bodies[2][1:]),
		"head of nothing":     bundle.Frames("h", []byte(merkle.Head{Origin: "x"}.Text())),
		"no head":             bundle.Frames("h", []byte("x")),
		"unknown frame":       bundle.Frames("x", nil),
	} {
		_, err := bundle.Verify(bytes.NewReader(nonsense), bundle.VerifyOptions{})
		if name == "no events" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if !errors.Is(err, bundle.ErrBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestImport(t *testing.T) {
	j, to := shop(t), memory(t)
	add(t, to, events.Draft{Stream: "bank", Kind: "bank.opened"})
	b, _ := export(t, j, bundle.ExportOptions{Proofs: true}, causal.Ancestors(t.Context(), j, 0, 1)) // nothing
	n, err := bundle.Import(t.Context(), bytes.NewReader(b), to, bundle.VerifyOptions{})
	if err != nil || n != (bundle.Imported{}) {
		t.Fatal(n, err)
	}
	part, _ := export(t, j, bundle.ExportOptions{}, these(3, 5))
	if n, err := bundle.Import(t.Context(), bytes.NewReader(part), to, bundle.VerifyOptions{}); err != nil || n.Imported != 2 {
		t.Fatal(n, err)
	}
	all, _ := export(t, j, bundle.ExportOptions{}, causal.Since(t.Context(), j))
	for i, want := range []bundle.Imported{{Imported: 6, Duplicates: 2, LeftOut: 1, Embeddings: 1}, {Duplicates: 8, LeftOut: 1}} {
		if n, err := bundle.Import(t.Context(), bytes.NewReader(all), to, bundle.VerifyOptions{}); err != nil || n != want {
			t.Fatalf("import %d: %+v, %v; want %+v", i, n, err, want)
		}
	}
	r, err := to.Verify(t.Context(), nil)
	if err != nil || !r.OK || r.Stubs != 3 || r.Events != 9 { // 1 and 2 came after 3 and 5; 4 is left out
		t.Fatalf("%+v, %v", r, err)
	}
	for e, err := range j.Read(t.Context(), journal.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := to.ByID(t.Context(), e.ID)
		if e.Stream == "$timers" {
			if !errors.Is(err, journal.ErrNotFound) {
				t.Errorf("%+v, %v", got, err)
			}
			continue
		}
		if err != nil || got.Digest != e.Digest || string(got.Payload) != string(e.Payload) || got.Trace != e.Trace {
			t.Errorf("%+v\nwas imported as\n%+v, %v", e, got, err)
		}
	}
}

func TestSystemStreamsAreLeftOut(t *testing.T) {
	j, to := shop(t), memory(t)
	b, _ := export(t, j, bundle.ExportOptions{}, these(4, 7))
	n, err := bundle.Import(t.Context(), bytes.NewReader(b), to, bundle.VerifyOptions{})
	if err != nil || n != (bundle.Imported{Imported: 1, LeftOut: 1}) {
		t.Fatal(n, err)
	}
	if r, err := to.Verify(t.Context(), nil); err != nil || !r.OK || r.Stubs != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestImportStoresNothingOfADamagedBundle(t *testing.T) {
	j, to := shop(t), memory(t)
	b, _ := export(t, j, bundle.ExportOptions{}, these(1, 2, 3))
	for _, at := range []int{len(b) - 1, len(b) / 2} {
		damaged := bytes.Clone(b)
		damaged[at] ^= 1
		if _, err := bundle.Import(t.Context(), bytes.NewReader(damaged), to, bundle.VerifyOptions{}); !errors.Is(err, bundle.ErrBundle) {
			t.Error(err)
		}
	}
	if _, err := bundle.Import(t.Context(), bytes.NewReader(b), to, bundle.VerifyOptions{Keys: []string{key(t).Public()}}); !errors.Is(err, bundle.ErrBundle) {
		t.Error(err)
	}
	if to.Position() != 0 {
		t.Errorf("%d events were stored", to.Position())
	}
	// One that is sound, and does not fit here.
	e, err := j.At(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	add(t, to, events.Draft{ID: e.ID, Stream: "s", Kind: "a.b"})
	if _, err := bundle.Import(t.Context(), bytes.NewReader(b), to, bundle.VerifyOptions{}); !errors.Is(err, journal.ErrIDConflict) {
		t.Error(err)
	}
}

// More events than are under way at a time.
func TestImportMany(t *testing.T) {
	j, to := memory(t), memory(t)
	var w journal.Write
	var last events.ID
	for i := range 5000 {
		d := events.Draft{ID: journal.NewID(), Stream: fmt.Sprint("s", i%7), Kind: "a.b", Payload: fmt.Append(nil, i)}
		if i > 0 {
			d.Parents = []events.Ref{{ID: last}}
		}
		last = d.ID
		w.Events = append(w.Events, d)
	}
	if _, err := j.Append(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	b, _ := export(t, j, bundle.ExportOptions{}, causal.Since(t.Context(), j))
	if n, err := bundle.Import(t.Context(), bytes.NewReader(b), to, bundle.VerifyOptions{}); err != nil || n.Imported != 5000 {
		t.Fatal(n, err)
	}
	x, err := j.Verify(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if y, err := to.Verify(t.Context(), nil); err != nil || !y.OK || y.Stubs != 0 || x.Content != y.Content {
		t.Fatalf("%+v, %v; want the content of %+v", y, err, x)
	}
}

// A length that claims more than there is takes no memory, and neither does a
// stream that never ends.
func TestReadingIsBounded(t *testing.T) {
	head := []byte("toka bundle 1\n")
	huge := binary.AppendUvarint(append(bytes.Clone(head), 'e'), math.MaxUint64)
	most := binary.AppendUvarint(append(bytes.Clone(head), 'e'), 1<<20)
	for name, r := range map[string]io.Reader{
		"huge":    bytes.NewReader(huge),
		"vector":  bytes.NewReader(append([]byte("toka bundle 2\nm\x05\x80\x80\x04ab"), "v\x80\x80\x08"...)),
		"claimed": bytes.NewReader(most),
		"endless": io.MultiReader(bytes.NewReader(head), endless('h')),
		"zeroes":  endless(0),
		"lengths": io.MultiReader(bytes.NewReader(append(bytes.Clone(head), 'e')), endless(0xff)),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := bundle.Verify(r, bundle.VerifyOptions{}); !errors.Is(err, bundle.ErrBundle) {
			t.Errorf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
			t.Errorf("%s: took %d bytes", name, took)
		}
	}
}

type endless byte

func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e)
	}
	return len(b), nil
}

func FuzzVerify(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(b)
	}
	f.Add([]byte("toka bundle 1\n"))
	f.Add(bundle.Before(samples(f)["plain"]))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := bundle.Verify(bytes.NewReader(b), bundle.VerifyOptions{})
		if err == nil && s.Bytes != int64(len(b)) {
			t.Errorf("%d bytes are said to be %d", len(b), s.Bytes)
		}
		// The same frames under a digest that fits, so that the fuzzer gets
		// behind it.
		if again := bundle.Reframe(b, func(_ byte, body []byte) []byte { return body }); again != nil {
			if _, err := bundle.Verify(bytes.NewReader(again), bundle.VerifyOptions{}); err == nil {
				if !slices.Equal(bundle.Reframe(again, func(_ byte, body []byte) []byte { return body }), again) {
					t.Error("a sound bundle is written otherwise")
				}
			}
		}
	})
}

// Events whose payload is encrypted, was erased or was pruned are exported as
// they are stored, prove themselves like any other, and are imported as far as
// anybody can know them.
func TestPayloadsThatCannotBeRead(t *testing.T) {
	j, to := memory(t), memory(t)
	d := func(stream, payload, subject string) events.Draft {
		return events.Draft{Stream: stream, Kind: "a.b", Payload: []byte(payload), SubjectKey: subject}
	}
	add(t, j, d("plain", "in the clear", ""))
	add(t, j, d("private", "of alice", "alice"), 1)
	add(t, j, d("private", "of bob", "bob"), 2)
	add(t, j, d("private", "of bob", "bob"), 3) // the same payload, in another record
	add(t, j, d("old", "a long story", ""), 4)
	add(t, j, d("old", "a long story", ""), 5)
	add(t, j, d("old", "in the clear", ""), 6)
	if err := j.Erase(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	if p, err := j.Prune(t.Context(), journal.Query{Stream: "old"}); err != nil || p.Payloads != 1 || p.Kept != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	b, want := export(t, j, bundle.ExportOptions{Key: key(t)}, these(1, 2, 3, 4, 5, 6, 7))
	for _, plain := range []string{"of alice", "of bob", "a long story"} {
		if bytes.Contains(b, []byte(plain)) {
			t.Errorf("%q is in the bundle", plain)
		}
	}
	got, err := bundle.Verify(bytes.NewReader(b), bundle.VerifyOptions{})
	if got.Signed = want.Signed; err != nil || got != want || got.Events != 7 || got.Stubs != 0 {
		t.Fatalf("%+v, %v; exported %+v", got, err, want)
	}
	for i, want := range []bundle.Imported{{Imported: 7}, {Duplicates: 7}} {
		if n, err := bundle.Import(t.Context(), bytes.NewReader(b), to, bundle.VerifyOptions{}); err != nil || n != want {
			t.Fatalf("import %d: %+v, %v", i, n, err)
		}
	}
	state := map[uint64]events.PayloadState{2: events.PayloadSealed, 3: events.PayloadSealed, 4: events.PayloadSealed, 5: events.PayloadPruned, 6: events.PayloadPruned}
	for p := uint64(1); p <= 7; p++ {
		here, err := j.At(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		there, err := to.ByID(t.Context(), here.ID)
		if err != nil || there.Digest != here.Digest || there.PayloadDigest != here.PayloadDigest || there.SubjectKey != here.SubjectKey || there.PayloadState != state[p] {
			t.Errorf("position %d: %v, want %v (%v)\n%+v", p, there.PayloadState, state[p], err, there)
		}
	}
	if r, err := to.Verify(t.Context(), nil); err != nil || !r.OK || r.Events != 7 || r.Pruned != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	// What is imported is exported again, and a payload that comes back is
	// stored anew.
	again, _ := export(t, to, bundle.ExportOptions{Proofs: true}, these(1, 2, 3, 4, 5, 6, 7))
	if _, err := bundle.Verify(bytes.NewReader(again), bundle.VerifyOptions{}); err != nil {
		t.Error(err)
	}
	e := add(t, to, d("new", "a long story", ""))
	if back, err := to.At(t.Context(), e.Position); err != nil || string(back.Payload) != "a long story" {
		t.Errorf("%q, %v", back.Payload, err)
	}
	if r, err := to.Verify(t.Context(), nil); err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
}
