package journal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"github.com/zeebo/blake3"

	"github.com/tokaworks/toka/events"
)

// No store can tell by itself that its newest part was cut off: a log that was
// truncated looks like one that was never synced further, and an old copy of a
// directory is a perfect journal. So where the journal ends is noted in a file
// beside the directory, the outside mark, at most every markLag while there
// are appends and exactly when the journal is closed. The mark is never ahead
// of what is durable; a store that ends before it has lost something.

// markLag bounds how far the outside mark is behind.
const markLag = 100 * time.Millisecond

const (
	markSuffix = ".mark"
	markName   = "MARK"
	markText   = "toka mark 1"
)

// outerMark is what the file says.
type outerMark struct {
	journal  [16]byte
	epoch    uint32
	position uint64
	record   events.Digest // record hash of the event at position
	clean    bool          // written by Close, after all was in the tables
}

// text returns six lines; the last is a digest of the others.
func (m outerMark) text() string {
	state := "open"
	if m.clean {
		state = "closed"
	}
	s := fmt.Sprintf("%s\njournal %s\nepoch %d\nposition %d\nrecord %s\nstate %s\n",
		markText, uuid.UUID(m.journal), m.epoch, m.position, m.record, state)
	return s + "check " + checkText(s) + "\n"
}

func checkText(s string) string {
	sum := blake3.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// parseMark reads what text wrote and nothing else.
func parseMark(s string) (m outerMark, err error) {
	lines := strings.Split(s, "\n")
	if len(lines) != 8 {
		return m, fmt.Errorf("%d lines where 7 were expected", len(lines)-1)
	}
	field := func(i int, name string) string { return strings.TrimPrefix(lines[i], name+" ") }
	id, err1 := uuid.Parse(field(1, "journal"))
	epoch, err2 := strconv.ParseUint(field(2, "epoch"), 10, 32)
	position, err3 := strconv.ParseUint(field(3, "position"), 10, 64)
	record, err4 := events.ParseDigest(field(4, "record"))
	m = outerMark{id, uint32(epoch), position, record, field(5, "state") == "closed"}
	if err := errors.Join(err1, err2, err3, err4); err != nil || m.text() != s {
		return outerMark{}, errors.New("it is not as it was written")
	}
	return m, nil
}

// markFile is where the outside mark of one journal lies and what it says.
type markFile struct {
	mu      sync.Mutex // held while the file is written
	paths   []string   // the first is written to; all are read
	written outerMark  // what the file says, as far as this process knows
	ended   bool
}

// markPaths are where the mark of the journal in dir may lie. The default is
// beside the directory, so that it is not rolled back together with it. Where
// nothing can be written there, it is kept within.
func markPaths(fsys vfs.FS, dir, given string) []string {
	if given != "" {
		return []string{given}
	}
	within := fsys.PathJoin(dir, markName)
	for len(dir) > 1 && strings.HasSuffix(dir, "/") {
		dir = dir[:len(dir)-1]
	}
	switch fsys.PathBase(dir) {
	case ".", "..", "/", "":
		return []string{within}
	}
	return []string{dir + markSuffix, within}
}

// readMark reads one mark; ok is false if there is none.
func readMark(fsys vfs.FS, path string) (m outerMark, ok bool, err error) {
	text, err := readText(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err == nil {
		m, err = parseMark(text)
	}
	if err != nil {
		return m, false, fmt.Errorf("%s: %w: the outside mark cannot be read: %w; if the journal is known to be whole, remove the file", path, ErrCorrupt, err)
	}
	return m, true, nil
}

// nothingLost refuses to begin a journal where a mark says that one was.
func (s *store) nothingLost() error {
	for _, path := range s.outside.paths {
		m, ok, err := readMark(s.fs, path)
		if err != nil {
			return err
		}
		if ok && m.position > 0 {
			return fmt.Errorf("%s: %w: the outside mark %s says that a journal with %d events belongs here, and there is none; restore it from a backup, or remove the mark to begin a new one",
				s.dir, ErrLost, path, m.position)
		}
	}
	return nil
}

// holdAgainstMark refuses a journal, which ends at last, if something is
// missing, or accepts that, and returns where it ends now.
func (j *Journal) holdAgainstMark(last uint64) (uint64, error) {
	err := j.loadEpochs()
	if err != nil || len(j.store.outside.paths) == 0 {
		return last, err
	}
	err = j.checkMark(last)
	accept := j.opts.accept
	if accept == nil {
		return last, err
	}
	switch {
	case err == nil && j.opts.restore:
		return j.beginEpoch(last)
	case err == nil:
		if cut, denseErr := j.dense(last); denseErr != nil || cut == last {
			return last, denseErr
		}
		err = fmt.Errorf("%w: there are holes in the log", ErrCorrupt)
	case !errors.Is(err, ErrLost) && !errors.Is(err, ErrCorrupt):
		return last, err
	}
	accept.Lost = err.Error()
	return j.beginEpoch(last)
}

// checkMark holds the journal, which ends at last, against its outside marks.
func (j *Journal) checkMark(last uint64) error {
	s := j.store
	found := false
	for _, path := range s.outside.paths {
		m, ok, err := readMark(s.fs, path)
		if err != nil {
			return err
		}
		if !ok || m.journal == s.id && m.epoch < s.epoch || m.journal != s.id && m.position == 0 {
			continue // of an epoch before this one: the loss was accepted; or of nothing
		}
		what, err := j.missing(m, last)
		if err != nil {
			return err
		}
		if what != "" {
			return fmt.Errorf("%w: %s (outside mark %s); restore from a backup, or go on without it with restore --accept-loss", ErrLost, what, path)
		}
		if !found || m.position >= s.outside.written.position {
			s.outside.written = m
		}
		found = true
	}
	m := s.outside.written
	switch {
	case !found && last > 0:
		j.log.Warn("there is no outside mark: whether the end of the journal is missing is not known", "mark", s.outside.paths[0], "position", last)
	case m.position < last:
		j.window = Window{First: m.position + 1, Last: last}
		j.log.Info("events beyond the outside mark are there and kept; whether there were more is not known",
			"first", j.window.First, "last", j.window.Last)
	case m.clean:
		return nil
	}
	return j.walkBack(last)
}

// missing says what a journal that ends at last lacks of what m stands for.
func (j *Journal) missing(m outerMark, last uint64) (string, error) {
	s := j.store
	switch {
	case m.position == 0:
	case m.journal != s.id:
		return fmt.Sprintf("the mark is of another journal, %s with %d events; this one is %s with %d", uuid.UUID(m.journal), m.position, uuid.UUID(s.id), last), nil
	case m.epoch > s.epoch:
		return fmt.Sprintf("the store is in epoch %d, the mark in epoch %d: the store is a copy from before", s.epoch, m.epoch), nil
	case m.position > last:
		return fmt.Sprintf("positions %d to %d are missing: the store ends at %d", last+1, m.position, last), nil
	default:
		e, _, err := j.record(m.position)
		if errors.Is(err, ErrCorrupt) {
			j.log.Error("the event that the outside mark knows is damaged", "err", err)
			return "", nil // for Verify to name
		}
		if err != nil {
			return "", err
		}
		if got := e.RecordHash(); got != m.record {
			return fmt.Sprintf("position %d holds another event than was stored there: record hash %s, the mark has %s", m.position, got.Short(), m.record.Short()), nil
		}
	}
	return "", nil
}

// walkBack looks whether there are holes in what the engine has just read from
// its write-ahead log.
func (j *Journal) walkBack(last uint64) error {
	it, err := j.store.log.NewIter(&pebble.IterOptions{LowerBound: []byte{logRecord}, UpperBound: []byte{logRecord + 1}})
	if err != nil {
		return readError(err)
	}
	defer it.Close()
	want, bytes := last, uint64(0)
	for ok := it.Last(); ok && bytes < j.store.unflushed; ok = it.Prev() {
		v, err := it.ValueAndErr()
		if err != nil {
			return readError(err)
		}
		if got := tail8(it.Key()); got != want {
			return fmt.Errorf("%w: positions %d to %d are missing from the log", ErrCorrupt, got+1, want)
		}
		want--
		bytes += uint64(len(v))
	}
	if err := it.Error(); err != nil {
		return readError(err)
	}
	if want > 0 && bytes < j.store.unflushed {
		return fmt.Errorf("%w: positions 1 to %d are missing from the log", ErrCorrupt, want)
	}
	return nil
}

// Window is the part of the journal that lies beyond its outside mark.
type Window struct{ First, Last uint64 }

// Window returns the events that Open found beyond the outside mark, as a
// process leaves them that was killed. They are kept. It is zero after a clean
// close.
func (j *Journal) Window() Window { return j.window }

// markLoop keeps the outside mark up to date.
func (j *Journal) markLoop() {
	defer j.committed.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	warned := false
	for {
		moved := j.mark.next()
		if j.mark.load() == j.store.outside.position() {
			select {
			case <-moved:
				continue
			case <-j.closing:
				return
			case <-j.failed:
				return
			}
		}
		select {
		case <-timer.C:
		case <-j.closing:
			return
		case <-j.failed:
			return
		}
		if err := j.writeMark(false); err != nil && !warned {
			warned = true
			j.log.Warn("the outside mark cannot be written; what is lost from now on is not noticed", "err", err)
		}
		timer.Reset(markLag)
	}
}

func (f *markFile) position() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written.position
}

// end stops the mark from being written, and waits for a write that is under
// way: after it the directory may be another's.
func (f *markFile) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
}

// writeMark notes where the journal stands.
func (j *Journal) writeMark(clean bool) error {
	m := outerMark{journal: j.store.id, epoch: j.store.epoch, position: j.mark.load(), clean: clean}
	if m.position > 0 {
		e, _, err := j.record(m.position)
		if err != nil {
			return err
		}
		m.record = e.RecordHash()
	}
	f := &j.store.outside
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || m == f.written {
		return nil
	}
	f.written = m
	err := replaceText(j.store.fs, f.paths[0], m.text())
	if err != nil && len(f.paths) > 1 {
		// What lies beside the directory is not ours to write to.
		j.log.Info("the outside mark is kept in the journal's directory: an old copy of all of it is not noticed", "err", err)
		f.paths = f.paths[1:]
		err = replaceText(j.store.fs, f.paths[0], m.text())
	}
	return err
}

// replaceText writes a small file whole, so that it is found as it was or as
// it is now.
func replaceText(fsys vfs.FS, path, text string) error {
	f, err := fsys.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(text))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(fsys, parentDir(fsys, path))
}

func readText(fsys vfs.FS, path string) (string, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(b), err
}

// closeMark is the last of a clean close: everything is in the tables, and the
// mark says so.
func (j *Journal) closeMark() {
	if len(j.store.outside.paths) == 0 {
		return
	}
	if err := j.store.flushLog(); err != nil {
		j.log.Warn("the log cannot be flushed", "err", err)
		return
	}
	if j.mark.load() == 0 && j.store.outside.position() == 0 && j.store.epoch == 1 {
		return // nothing was ever written, so nothing can be missing
	}
	if err := j.writeMark(true); err != nil {
		j.log.Warn("the outside mark cannot be written; the next open finds events beyond it", "err", err)
	}
}

// flushLog brings what was written since the store was opened into tables.
func (s *store) flushLog() error {
	if s.log.Metrics().WAL.BytesIn == 0 {
		return nil
	}
	return s.log.Flush()
}
