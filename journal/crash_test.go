package journal_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// A power-cut run appends to a journal on a crashable disk. Before each change
// of the file system it notes what was acknowledged and what was observed, and
// then takes the disk as a power cut would leave it. Each such copy is opened
// and held against the notes and against what was written.

const crashDir = "/data/journal"

// planned is one write of a run. Every write has a checkpoint with its ordinal
// and a state digest for its first event, so that a torn one shows.
type planned struct {
	writer, ordinal int
	write           journal.Write
}

func (p *planned) checkpoint() string { return fmt.Sprintf("writer %d", p.writer) }

func (p *planned) stateDigest() events.Digest {
	return events.PayloadDigest([]byte(p.checkpoint() + fmt.Sprint(p.ordinal)))
}

// plan makes the writes of one writer: one to four events over its own stream
// and side streams, with parents in and before the write and with payloads
// that repeat.
func plan(seed uint64, writer, n int) []planned {
	rng := rand.New(rand.NewPCG(uint64(writer), seed))
	out := make([]planned, n)
	var last events.ID
	for i := range out {
		p := planned{writer: writer, ordinal: i + 1}
		stream := fmt.Sprintf("writer/%d", writer)
		for k := range 1 + rng.IntN(4) {
			id := events.EmittedID(events.Digest{byte(writer)}, "crash", uint32(i*8+k))
			d := withID(draft(stream, "crash.test", strings.Repeat("x", rng.IntN(3000))+fmt.Sprint(rng.IntN(4))), id)
			if k > 0 {
				d.Stream = fmt.Sprintf("side/%d", rng.IntN(3))
			}
			if !last.IsZero() && rng.IntN(3) > 0 {
				d.Parents = []events.Ref{{ID: last}}
			}
			last = id
			p.write.Events = append(p.write.Events, d)
		}
		p.write.Checkpoints = []journal.Checkpoint{{Name: p.checkpoint(), Position: uint64(p.ordinal)}}
		p.write.StateDigests = []journal.StateDigest{{Stream: stream, StreamPosition: uint64(p.ordinal), Digest: p.stateDigest()}}
		p.write.Expect = map[string]journal.Expected{stream: journal.Version(uint64(i))}
		out[i] = p
	}
	return out
}

// seen is an event at its position, acknowledged or observed.
type seen struct {
	position uint64
	digest   events.Digest
}

type crashRun struct {
	t        *testing.T
	disk     *disktest.Disk
	writers  [][]planned
	level    journal.Level
	stride   int64 // take every stride-th point
	percents []int
	early    bool // the observer has the bug that the mark prevents
	lying    bool // syncs do nothing
	house    bool // prune, erase and back up beside the writers

	j atomic.Pointer[journal.Journal]

	mu       sync.Mutex // guards what was noted
	acked    []seen
	observed []seen
	kept     []housework

	ops      atomic.Int64
	kinds    sync.Map // disktest.Kind -> *atomic.Int64
	shots    chan shot
	points   atomic.Int64
	verified atomic.Int64
	checks   atomic.Int64 // of acknowledged events
	looks    atomic.Int64 // of observed events

	lost, absent, torn, other atomic.Int64
}

// shot is a disk after a power cut with the notes from before it.
type shot struct {
	disk            *disktest.Disk
	acked, observed []seen
	kept            []housework
	what            string
}

// housework is what a journal did besides appending, and has to stand by.
type housework struct {
	position uint64 // of an event that reads so from then on
	state    events.PayloadState
	backup   string // or a backup that is whole
}

func (r *crashRun) note(list *[]seen, position uint64, digest events.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, seen{position, digest})
}

// before is called before every change of the disk.
func (r *crashRun) before(op disktest.Op) {
	if r.early && op.Is(disktest.Sync, ".log") {
		r.peek()
	}
	n := r.ops.Add(1)
	counter, _ := r.kinds.LoadOrStore(op.Kind, new(atomic.Int64))
	counter.(*atomic.Int64).Add(1)
	if n%r.stride != 0 {
		return
	}
	for _, percent := range r.percents {
		// The notes come first: what is in them was true before the cut.
		r.mu.Lock()
		s := shot{acked: r.acked, observed: r.observed, kept: r.kept, what: fmt.Sprintf("point %d, before %v, %d%% of the unsynced kept", n, op, percent)}
		r.mu.Unlock()
		s.disk = r.disk.PowerCut(percent, uint64(n))
		r.shots <- s
	}
}

// peek looks for an event that is visible in the engine and not yet synced.
func (r *crashRun) peek() {
	j := r.j.Load()
	if j == nil {
		return
	}
	for range 200 {
		position, digest := j.EarlyReader()
		if position > j.Position() {
			r.note(&r.observed, position, digest)
			return
		}
		runtime.Gosched()
	}
}

// keepHouse prunes, erases and backs up, and notes what is done.
func (r *crashRun) keepHouse(ctx context.Context, j *journal.Journal, half int) {
	for i := range 2 {
		name := fmt.Sprintf("house/%d-%d", half, i)
		private := draft("house/private", "crash.private", strings.Repeat("p", 900))
		private.SubjectKey = name
		receipt, err := j.Append(ctx, write(draft(name, "crash.long", strings.Repeat(name, 150)), private))
		if err != nil {
			r.t.Errorf("append: %v", err)
			return
		}
		done := func(w housework, err error) {
			if err != nil {
				r.t.Errorf("%+v: %v", w, err)
				return
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.kept = append(r.kept, w)
		}
		for _, e := range receipt.Events {
			r.note(&r.acked, e.Position, e.Digest)
		}
		dir := "/data/backups/" + name
		_, err = j.Backup(ctx, dir)
		done(housework{backup: dir}, err)
		_, err = j.Prune(ctx, journal.Query{Stream: name})
		done(housework{position: receipt.Events[0].Position, state: events.PayloadPruned}, err)
		done(housework{position: receipt.Events[1].Position, state: events.PayloadErased}, j.Erase(ctx, name))
	}
}

// houseStands checks that what was done is not undone.
func (r *crashRun) houseStands(j *journal.Journal, s *shot, bad func(*atomic.Int64, string, ...any)) {
	for _, w := range s.kept {
		if w.backup != "" {
			b, err := journal.VerifyBackup(r.t.Context(), w.backup, r.options(s.disk), nil, nil)
			if err != nil || !b.OK {
				bad(&r.other, "%s: %+v, %v", w.backup, b, err)
			}
			continue
		}
		if e, err := j.At(r.t.Context(), w.position); err != nil || e.PayloadState != w.state {
			bad(&r.other, "position %d was %v and reads as %v (%v)", w.position, w.state, e.PayloadState, err)
		}
	}
}

// observe subscribes and reads along.
func (r *crashRun) observe(ctx context.Context, j *journal.Journal) {
	for e, err := range j.Subscribe(ctx, journal.Query{}) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				r.t.Errorf("subscriber: %v", err)
			}
			return
		}
		r.note(&r.observed, e.Position, e.Digest)
		if e.Position%16 == 0 {
			if got, err := j.ByID(ctx, e.ID); err == nil {
				r.note(&r.observed, got.Position, got.Digest)
			}
		}
	}
}

func (r *crashRun) options(d *disktest.Disk) journal.Options {
	o := on(d.Volume())
	o.Level = r.level
	return o
}

// run writes everything, twice over a clean close, and checks every point.
func (r *crashRun) run() {
	t := r.t
	r.shots = make(chan shot, 4)
	var checkers sync.WaitGroup
	for range 2 {
		checkers.Go(func() {
			for s := range r.shots {
				r.check(s)
			}
		})
	}
	r.disk.Before(r.before)
	if r.lying {
		r.disk.SyncsLie()
	}
	for half := range 2 {
		j, err := journal.Open(crashDir, r.options(r.disk))
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		r.j.Store(j)
		ctx, cancel := context.WithCancel(t.Context())
		var observer, writers sync.WaitGroup
		observer.Go(func() { r.observe(ctx, j) })
		for _, ps := range r.writers {
			writers.Go(func() {
				n := len(ps) / 2
				for i := range ps[half*n : half*n+n] {
					p := &ps[half*n+i]
					receipt, err := j.Append(ctx, p.write)
					if err != nil {
						t.Errorf("append: %v", err)
						return
					}
					for _, e := range receipt.Events {
						r.note(&r.acked, e.Position, e.Digest)
					}
				}
			})
		}
		if r.house {
			writers.Go(func() { r.keepHouse(ctx, j, half) })
		}
		writers.Wait()
		r.j.Store(nil)
		cancel()
		observer.Wait()
		if err := j.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	close(r.shots)
	checkers.Wait()
	var kinds []string
	for _, k := range []disktest.Kind{
		disktest.Write, disktest.Sync, disktest.Create, disktest.Reuse,
		disktest.Rename, disktest.Link, disktest.Remove, disktest.Mkdir, disktest.Lock,
	} {
		if n, ok := r.kinds.Load(k); ok {
			kinds = append(kinds, fmt.Sprintf("%s %d", k, n.(*atomic.Int64).Load()))
		}
	}
	t.Logf("%d events acknowledged over %d changes (%s), every %d-th tried: %d power cuts, %d of them with Verify, %d checks of acknowledged and %d of observed events: lost %d, observed and absent %d, torn %d, other %d",
		len(r.acked), r.ops.Load(), strings.Join(kinds, ", "), r.stride, r.points.Load(), r.verified.Load(), r.checks.Load(), r.looks.Load(),
		r.lost.Load(), r.absent.Load(), r.torn.Load(), r.other.Load())
}

func (r *crashRun) violations() int64 {
	return r.lost.Load() + r.absent.Load() + r.torn.Load() + r.other.Load()
}

// check opens what a power cut left. It counts violations and describes the
// first few of a run that should have none.
func (r *crashRun) check(s shot) {
	points := r.points.Add(1)
	bad := func(counter *atomic.Int64, format string, args ...any) {
		if counter.Add(1) <= 3 && !r.early && !r.lying {
			r.t.Errorf("%s: %s", s.what, fmt.Sprintf(format, args...))
		}
	}
	j, err := journal.Open(crashDir, r.options(s.disk))
	if err != nil {
		bad(&r.other, "open: %v", err)
		return
	}
	defer func() {
		if err := j.Close(); err != nil {
			bad(&r.other, "close: %v", err)
		}
	}()
	ctx := r.t.Context()
	there := make(map[events.ID]events.Event)
	at := []events.Digest{{}}
	for e, err := range j.Read(ctx, journal.Query{}) {
		if err != nil {
			bad(&r.other, "read: %v", err)
			return
		}
		there[e.ID] = e
		at = append(at, e.Digest)
	}
	for _, want := range s.acked {
		if r.checks.Add(1); want.position >= uint64(len(at)) || at[want.position] != want.digest {
			bad(&r.lost, "position %d was acknowledged and is not there; the journal ends at %d", want.position, len(at)-1)
			break
		}
	}
	for _, want := range s.observed {
		if r.looks.Add(1); want.position >= uint64(len(at)) || at[want.position] != want.digest {
			bad(&r.absent, "position %d was observed and is not there; the journal ends at %d", want.position, len(at)-1)
			break
		}
	}
	var next []*planned
	for _, ps := range r.writers {
		whole := 0
		for i := range ps {
			n := 0
			for _, d := range ps[i].write.Events {
				if e, ok := there[d.ID]; ok {
					if n++; string(e.Payload) != string(d.Payload) {
						bad(&r.torn, "event %s has another payload", d.ID)
					}
				}
			}
			switch {
			case n == len(ps[i].write.Events) && whole == i:
				whole = i + 1
			case n > 0:
				bad(&r.torn, "writer %d: %d of %d events of write %d are there, after %d whole writes", ps[i].writer, n, len(ps[i].write.Events), i+1, whole)
			}
		}
		r.operational(j, ps, whole, bad)
		if whole < len(ps) {
			next = append(next, &ps[whole])
		}
	}
	r.houseStands(j, &s, bad)
	if !underRace || points%8 == 0 {
		report, err := j.Verify(ctx, nil)
		if err != nil || !report.OK {
			bad(&r.other, "verify: %v %v", err, report.Problems)
		}
		if stats := j.Stats(); stats.Payloads != report.Payloads || stats.Streams != report.Streams {
			bad(&r.other, "stats say %+v, verify %+v", stats, report)
		}
		r.verified.Add(1)
	}
	// Life goes on where the journal ends.
	end := uint64(len(at) - 1)
	for _, p := range next {
		receipt, err := j.Append(ctx, p.write)
		if err != nil || receipt.Duplicate || receipt.Events[0].Position != end+1 {
			bad(&r.other, "append after %d: %+v, %v", end, receipt, err)
			return
		}
		end += uint64(len(receipt.Events))
	}
}

// operational checks that the checkpoint and the state digests of a writer
// stand where its events do.
func (r *crashRun) operational(j *journal.Journal, ps []planned, whole int, bad func(*atomic.Int64, string, ...any)) {
	ctx := r.t.Context()
	name := ps[0].checkpoint()
	c, err := j.Checkpoint(ctx, name)
	if errors.Is(err, journal.ErrNotFound) {
		err = nil
	}
	if err != nil || c.Position != uint64(whole) {
		bad(&r.torn, "%s: checkpoint %d with %d whole writes (%v)", name, c.Position, whole, err)
	}
	n := 0
	for d, err := range j.StateDigests(ctx, ps[0].write.Events[0].Stream) {
		if err != nil {
			bad(&r.other, "state digests: %v", err)
			return
		}
		if n++; d.StreamPosition != uint64(n) || n > len(ps) || d.Digest != ps[n-1].stateDigest() {
			bad(&r.torn, "%s: state digest %d is %+v", name, n, d)
			return
		}
	}
	if n != whole {
		bad(&r.torn, "%s: %d state digests with %d whole writes", name, n, whole)
	}
}

func TestPowerCut(t *testing.T) {
	points := int64(0)
	for _, tt := range []struct {
		name            string
		writers, writes int
		house           bool
	}{
		{"one writer", 1, 100, false},
		{"eight writers", 8, 12, false},
		{"pruning, erasing and backing up", 2, 16, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &crashRun{t: t, disk: disktest.New(), stride: 1, percents: []int{0, 50, 100}, house: tt.house}
			switch {
			case underRace:
				r.stride = 12
			case allFaults():
				r.percents = []int{0, 30, 70, 100}
			case tt.house:
				r.stride, r.percents = 4, []int{30}
			}
			for w := range tt.writers {
				r.writers = append(r.writers, plan(2, w, tt.writes))
			}
			r.run()
			points += r.points.Load()
			kinds := []disktest.Kind{disktest.Write, disktest.Sync, disktest.Create, disktest.Reuse, disktest.Remove}
			if tt.house {
				kinds = []disktest.Kind{disktest.Write, disktest.Sync, disktest.Create, disktest.Link, disktest.Rename, disktest.Remove}
			}
			for _, kind := range kinds {
				if _, ok := r.kinds.Load(kind); !ok {
					t.Errorf("the run never came to a %s: it is too small to show anything", kind)
				}
			}
			if r.checks.Load() == 0 || r.looks.Load() == 0 {
				t.Error("nothing was acknowledged or observed before a power cut")
			}
		})
	}
	t.Logf("%d power cuts in all", points)
	if allFaults() && !underRace && points < 10_000 {
		t.Error("that is fewer than ten thousand")
	}
}

func TestPowerCutFindsAnEarlyAcknowledgement(t *testing.T) {
	r := &crashRun{t: t, disk: disktest.New(), stride: 4, percents: []int{0}, lying: true}
	r.writers = [][]planned{plan(2, 0, 40)}
	r.run()
	if r.lost.Load() == 0 {
		t.Error("acknowledgements without a sync were not found out")
	}
}

func TestPowerCutFindsAnEarlyReader(t *testing.T) {
	r := &crashRun{t: t, disk: disktest.New(), stride: 5, percents: []int{0}, early: true}
	r.writers = [][]planned{plan(2, 0, 60)}
	r.run()
	if r.absent.Load() == 0 {
		t.Error("a reader that does not wait for the sync was not found out")
	}
	if n := r.violations() - r.absent.Load(); n > 0 {
		t.Errorf("%d violations of another kind", n)
	}
}
