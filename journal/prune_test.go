package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// noise returns bytes that no compression changes, so that they can be looked
// for in the files.
func noise(rng *rand.Rand) []byte {
	b := make([]byte, 64)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// inFiles counts the files that hold a part of text that no block boundary
// is likely to cut.
func inFiles(t testing.TB, d *disktest.Disk, dir string, text []byte) (found []string) {
	t.Helper()
	files, err := d.Files(dir)
	for errors.Is(err, fs.ErrNotExist) { // the engine tidies up meanwhile
		files, err = d.Files(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range files {
		if bytes.Contains([]byte(content), text[:24]) || bytes.Contains([]byte(content), text[len(text)-24:]) {
			found = append(found, path)
		}
	}
	return found
}

func TestPrune(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	const n = 400
	var payloads [][]byte
	var parent []events.Ref
	for i := range n {
		p := noise(rng)
		payloads = append(payloads, p)
		dr := draft(fmt.Sprintf("s/%d", i%4), "test.happened", string(p))
		dr.Parents = parent
		e := add(t, j, dr)[0]
		parent = []events.Ref{e.Ref()}
	}
	// The payload of an event of s/1 is also carried by one that stays.
	add(t, j, draft("stays", "test.happened", string(payloads[1])))
	snapshot := noise(rng)
	if err := j.SaveSnapshot(t.Context(), journal.Snapshot{Stream: "s/1", StreamPosition: 3, Schema: "x", State: snapshot}); err != nil {
		t.Fatal(err)
	}
	before := everything(t, j)
	head, err := j.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	content := verified(t, j).Content
	for i := range payloads {
		if len(inFiles(t, d, markedDir, payloads[i])) == 0 {
			t.Fatalf("payload %d is in no file before it is pruned: the test shows nothing", i+1)
		}
	}

	p, err := j.Prune(t.Context(), journal.Query{Stream: "s/1"})
	if err != nil || p != (journal.Pruned{Events: n / 4, Payloads: n/4 - 1, Bytes: 64 * (n/4 - 1), Kept: 1}) {
		t.Fatalf("%+v, %v", p, err)
	}
	check := func(what string) {
		t.Helper()
		for i := range payloads {
			want := i%4 != 1 || i == 1
			if found := inFiles(t, d, markedDir, payloads[i]); (len(found) > 0) != want {
				t.Fatalf("%s: payload %d is in %v", what, i+1, found)
			}
		}
		if found := inFiles(t, d, markedDir, snapshot); len(found) > 0 {
			t.Errorf("%s: the snapshot is in %v", what, found)
		}
		after := everything(t, j)
		for i, e := range after {
			want := before[i]
			if i < n && i%4 == 1 && i != 1 {
				want.Payload, want.PayloadState = nil, events.PayloadPruned
			}
			if e.RecordHash() != want.RecordHash() || e.PayloadState != want.PayloadState || !bytes.Equal(e.Payload, want.Payload) {
				t.Fatalf("%s: event %d is %+v, want %+v", what, i+1, e, want)
			}
		}
		if r := verified(t, j); r.Content != content || r.Pruned != n/4-1 {
			t.Errorf("%s: %+v", what, r)
		}
		if h, err := j.HeadAt(t.Context(), head.Size); err != nil || h != head {
			t.Errorf("%s: the head is another: %+v, %v", what, h, err)
		}
	}
	check("pruned")
	if _, err := j.LatestSnapshot(t.Context(), "s/1", "x"); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("the snapshot: %v", err)
	}
	if _, err := j.Payload(t.Context(), before[5].PayloadDigest); !errors.Is(err, journal.ErrNotFound) && !errors.Is(err, journal.ErrPruned) {
		t.Errorf("the payload: %v", err)
	}
	if p, err := j.Prune(t.Context(), journal.Query{Stream: "s/1", After: 2}); err != nil || p != (journal.Pruned{}) {
		t.Errorf("again: %+v, %v", p, err)
	}
	closeOK(t, j)
	j = open(t, markedDir, on(d.Volume()))
	check("opened again")
	closeOK(t, j)
	if err := d.Volume().FS.RemoveAll(markedDir + "/index"); err != nil {
		t.Fatal(err)
	}
	j = open(t, markedDir, on(d.Volume()))
	check("with a new index")

	// Also while memory and not the index knows of it.
	add(t, j, draft("s/1", "test.happened", "the last one"))
	if p, err := j.Prune(t.Context(), journal.Query{Stream: "s/1"}); err != nil || p.Payloads != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	closeOK(t, j)
	if err := d.Volume().FS.RemoveAll(markedDir + "/index"); err != nil {
		t.Fatal(err)
	}
	j = open(t, markedDir, on(d.Volume()))
	last := add(t, j, draft("new", "test.happened", "the last one"))[0]
	if got, err := j.At(t.Context(), last.Position); err != nil || string(got.Payload) != "the last one" {
		t.Errorf("stored anew: %+v, %v", got, err)
	}

	// Appended again it is stored anew, and the pruned one stays pruned.
	e := add(t, j, draft("new", "test.happened", string(payloads[5])))[0]
	if got, err := j.At(t.Context(), e.Position); err != nil || !bytes.Equal(got.Payload, payloads[5]) {
		t.Errorf("stored anew: %+v, %v", got, err)
	}
	if got, err := j.At(t.Context(), 6); err != nil || got.PayloadState != events.PayloadPruned {
		t.Errorf("pruned: %+v, %v", got, err)
	}
	add(t, j, draft("new", "test.happened", string(payloads[5]))) // shares it
	verified(t, j)
}

// What is appended while payloads are pruned has its payload.
func TestPruneBesideWriters(t *testing.T) {
	j := memory(t)
	const writers, each, lag = 4, 300, 40
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				// A payload is first only of an event that is pruned, and then
				// of one that is not.
				stream, text := "prune", fmt.Sprintf("payload %d of %d", i/2, w)
				if i%2 == 0 && i >= lag {
					stream, text = fmt.Sprintf("keep/%d", w), fmt.Sprintf("payload %d of %d", (i-lag)/2, w)
				}
				if _, err := tryAppend(t, j, write(draft(stream, "test.happened", text))); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	rounds, pruned := 0, uint64(0)
	for running := true; running; rounds++ {
		select {
		case <-done:
			running = false
		default:
		}
		p, err := j.Prune(t.Context(), journal.Query{Stream: "prune"})
		if err != nil {
			t.Fatal(err)
		}
		pruned += p.Payloads
	}
	for e, err := range j.Read(t.Context(), journal.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(e.Stream, "keep/") && (e.PayloadState != events.PayloadHere || !strings.HasPrefix(string(e.Payload), "payload ")) {
			t.Fatalf("event %d lost its payload: %+v", e.Position, e)
		}
	}
	verified(t, j)
	t.Logf("%d rounds, %d payloads pruned", rounds, pruned)
	if pruned == 0 {
		t.Error("nothing was pruned")
	}
}

func TestErase(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	about := func(subject string, payload []byte) events.Draft {
		dr := draft("s", "test.happened", string(payload))
		dr.SubjectKey = subject
		return dr
	}
	const subjects = 50
	var secrets [][]byte
	var ids []events.ID
	for i := range subjects {
		p := noise(rng)
		secrets = append(secrets, p)
		e := add(t, j, about(fmt.Sprint("subject ", i), p))[0]
		ids = append(ids, e.ID)
		if !bytes.Equal(e.Payload, p) || e.SubjectKey != fmt.Sprint("subject ", i) || e.PayloadDigest == events.PayloadDigest(p) {
			t.Fatalf("the receipt: %+v", e)
		}
		// The same event again is the same event.
		again := about(fmt.Sprint("subject ", i), p)
		again.ID = e.ID
		r, err := tryAppend(t, j, write(again))
		if err != nil || !r.Duplicate || !bytes.Equal(r.Events[0].Payload, p) {
			t.Fatalf("a retry: %+v, %v", r, err)
		}
	}
	// Within a subject a payload is stored once, across subjects never.
	same := add(t, j, about("subject 1", secrets[1]), about("subject 2", secrets[1]), draft("s", "test.happened", string(noise(rng))))
	es := everything(t, j)
	if same[0].PayloadDigest != es[1].PayloadDigest || same[1].PayloadDigest == es[1].PayloadDigest {
		t.Error("a payload of two subjects has one digest, or of one two")
	}
	if r := verified(t, j); r.Payloads != subjects+2 {
		t.Errorf("%d payloads", r.Payloads)
	}
	content := verified(t, j).Content
	for i, p := range secrets {
		if found := inFiles(t, d, "/data", p); len(found) > 0 {
			t.Errorf("payload %d is in the clear in %v", i+1, found)
		}
	}
	backup(t, j, "/backup")

	for i := 0; i < subjects; i += 2 {
		if err := j.Erase(t.Context(), fmt.Sprint("subject ", i)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string) {
		t.Helper()
		for i := range subjects {
			e, err := j.ByID(t.Context(), ids[i])
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				if e.Payload != nil || e.PayloadState != events.PayloadErased {
					t.Errorf("%s: event %d: %+v", what, i+1, e)
				}
				continue
			}
			if !bytes.Equal(e.Payload, secrets[i]) || e.PayloadState != events.PayloadHere {
				t.Errorf("%s: event %d: %+v", what, i+1, e)
			}
		}
		if r := verified(t, j); r.Events != uint64(len(es))+subjects/2 {
			t.Errorf("%s: %+v", what, r)
		}
		// A retry is told, and so is a new event.
		retry := about("subject 4", secrets[4])
		retry.ID = ids[4]
		refused(t, j, write(retry), journal.ErrErased)
		refused(t, j, write(about("subject 4", noise(rng))), journal.ErrErased)
		if err := j.Erase(t.Context(), "subject 4"); err != nil {
			t.Errorf("%s: erased again: %v", what, err)
		}
	}
	check("erased")
	if err := j.Erase(t.Context(), "nobody"); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("nobody was erased: %v", err)
	}
	var told int
	for e, err := range j.ReadStream(t.Context(), journal.StreamErased, 0) {
		if told++; err != nil || e.Kind != journal.KindErased || !strings.Contains(string(e.Payload), `"subject_key":"subject `) {
			t.Errorf("%+v, %v", e, err)
		}
	}
	if told != subjects/2 {
		t.Errorf("%d erasures are journaled", told)
	}
	closeOK(t, j)
	j = open(t, markedDir, on(d.Volume()))
	check("opened again")
	closeOK(t, j)
	// Keys that are lost are not taken for keys that were erased.
	if err := d.Volume().FS.RemoveAll(markedDir + "/keys"); err != nil {
		t.Fatal(err)
	}
	j = open(t, markedDir, on(d.Volume()))
	if e, err := j.ByID(t.Context(), ids[1]); err != nil || e.PayloadState != events.PayloadSealed || e.Payload != nil {
		t.Errorf("without keys: %+v, %v", e, err)
	}
	closeOK(t, j)
	// The backup from before has them all.
	if _, err := journal.Restore("/backup", "/restored", on(d.Volume())); err != nil {
		t.Fatal(err)
	}
	k := open(t, "/restored", on(d.Volume()))
	if r := verified(t, k); r.Content != content {
		t.Errorf("%+v", r)
	}
	for i := range subjects {
		if e, err := k.ByID(t.Context(), ids[i]); err != nil || !bytes.Equal(e.Payload, secrets[i]) {
			t.Errorf("restored: event %d: %+v, %v", i+1, e, err)
		}
	}
}

// A key is on disk before anything that it encrypts is acknowledged, and what
// was erased stays erased, whenever the power is cut.
func TestPowerCutKeepsKeys(t *testing.T) {
	d := disktest.New()
	type state struct{ acked, erased, begun int } // events acknowledged, erasures acknowledged and begun
	var mu sync.Mutex
	var now state
	var cuts, changes atomic.Uint64
	d.Before(func(op disktest.Op) {
		if n := changes.Add(1); underRace && n%5 != 0 {
			return
		}
		mu.Lock()
		before := now
		mu.Unlock()
		for _, percent := range []int{0, 50, 100} {
			after := d.PowerCut(percent, cuts.Add(1))
			mu.Lock()
			// The mark is written beside the rest, which goes on meanwhile.
			begun := now.begun
			mu.Unlock()
			k, err := journal.Open(markedDir, on(after.Volume()))
			if err != nil {
				t.Errorf("before %v: %v", op, err)
				return
			}
			for i := range before.acked {
				e, err := k.ByID(t.Context(), nthID(i+1))
				want := events.PayloadHere
				if i < before.erased {
					want = events.PayloadErased
				}
				// An erasure that is under way may have happened.
				if err != nil || e.PayloadState != want && (i >= begun || e.PayloadState != events.PayloadErased) {
					t.Errorf("before %v, %d%% kept: event %d of %+v: %v, %v", op, percent, i+1, before, e.PayloadState, err)
				}
			}
			_ = k.Close()
		}
	})
	j := open(t, markedDir, on(d.Volume()))
	const n = 6
	for i := range n {
		dr := withID(draft("s", "test.happened", fmt.Sprint("payload ", i)), nthID(i+1))
		dr.SubjectKey = fmt.Sprint("subject ", i)
		add(t, j, dr)
		mu.Lock()
		now.acked++
		mu.Unlock()
	}
	for i := range n {
		mu.Lock()
		now.begun++
		mu.Unlock()
		if err := j.Erase(t.Context(), fmt.Sprint("subject ", i)); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		now.erased++
		mu.Unlock()
	}
	closeOK(t, j)
	t.Logf("%d power cuts", cuts.Load())
}

func TestSubjectKeyLimits(t *testing.T) {
	j := memory(t)
	d := draft("s", "test.happened", strings.Repeat("x", events.MaxPayload-39))
	d.SubjectKey = "a"
	refused(t, j, write(d), events.ErrInvalid)
	d.Payload = d.Payload[1:]
	if got := add(t, j, d)[0]; len(got.Payload) != events.MaxPayload-40 {
		t.Errorf("%d bytes", len(got.Payload))
	}
	d = draft("s", "test.happened", "")
	d.SubjectKey = "a"
	if got := add(t, j, d)[0]; len(got.Payload) != 0 || got.PayloadState != events.PayloadHere {
		t.Errorf("%+v", got)
	}
	d.Embedding = []float32{1, 2}
	refused(t, j, write(d), events.ErrInvalid)
	d = draft("s", "test.happened", "x")
	d.SubjectKey = strings.Repeat("k", events.MaxName+1)
	refused(t, j, write(d), events.ErrInvalid)
}

// Every damage to the file of keys is refused by name.
func TestDamagedKeysAreRefused(t *testing.T) {
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	dr := draft("s", "test.happened", "x")
	dr.SubjectKey = "a"
	add(t, j, dr)
	closeOK(t, j)
	path := markedDir + "/keys/000000"
	text := readFile(t, d.Volume().FS, path)
	if text == "" {
		t.Fatal("there is no file of keys")
	}
	for i := range len(text) {
		changed := []byte(text)
		changed[i] ^= 1 << (i % 8)
		writeFile(t, d.Volume().FS, path, string(changed))
		if _, err := journal.Open(markedDir, on(d.Volume())); !errors.Is(err, journal.ErrCorrupt) || !strings.Contains(err.Error(), path) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}
