package journal

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// Usage is what a journal takes on disk, and what it has written.
type Usage struct {
	Log   StoreUsage `json:"log"`
	Index StoreUsage `json:"index"`
	// Parts is what lies in tables, by what it is. What is in the write-ahead
	// log or in memory alone is not counted yet.
	Parts []PartUsage `json:"parts"`
}

// StoreUsage is one of the two stores.
type StoreUsage struct {
	Bytes    uint64 `json:"bytes"`     // on disk, all files, those included that are about to go
	LogBytes uint64 `json:"wal_bytes"` // of these: of the write-ahead log
	Live     uint64 `json:"live"`      // in tables that are in use

	// Since the journal was opened: what it put into the store, what the store
	// wrote to disk for that, compactions included, and how much that is for
	// each byte.
	BytesIn       uint64  `json:"bytes_in"`
	Written       uint64  `json:"written"`
	Amplification float64 `json:"amplification,omitempty"`
}

// PartUsage is one kind of keys.
type PartUsage struct {
	Store string `json:"store"` // log or index
	Name  string `json:"name"`
	Bytes uint64 `json:"bytes"` // estimated, compressed
}

// parts are the kinds of keys, as doc.go draws them.
var parts = []struct {
	store, name string
	prefix      byte
}{
	{"log", "records", logRecord},
	{"log", "embeddings", logVector},
	{"log", "checkpoints", logCheckpoint},
	{"log", "state digests", logState},
	{"index", "ids", idxID},
	{"index", "digests", idxDigest},
	{"index", "payload digests", idxPayload},
	{"index", "runs", idxRun},
	{"index", "filters", idxFilter},
	{"index", "streams", idxStream},
	{"index", "outside ids", idxOutside},
	{"index", "summaries", idxBlock},
	{"index", "parents", idxParents},
	{"index", "children", idxChildren},
	{"index", "tree", idxTree},
	{"index", "intents", idxIntent},
	{"index", "snapshots", idxSnapshot},
}

// Usage returns what the journal takes on disk.
func (j *Journal) Usage(ctx context.Context) (Usage, error) {
	if err := j.enter(ctx); err != nil {
		return Usage{}, err
	}
	defer j.leave()
	u := Usage{Log: usageOf(j.store.log), Index: usageOf(j.store.index)}
	for _, p := range parts {
		db := j.store.log
		if p.store == "index" {
			db = j.store.index
		}
		n, err := db.EstimateDiskUsage([]byte{p.prefix}, []byte{p.prefix + 1})
		if err != nil {
			return u, fmt.Errorf("usage: %w", readError(err))
		}
		if n > 0 {
			u.Parts = append(u.Parts, PartUsage{p.store, p.name, n})
		}
	}
	return u, nil
}

func usageOf(db *pebble.DB) StoreUsage {
	m := db.Metrics()
	u := StoreUsage{
		Bytes: m.DiskSpaceUsage(), LogBytes: m.WAL.PhysicalSize + m.WAL.ObsoletePhysicalSize,
		BytesIn: m.WAL.BytesIn, Written: m.WAL.BytesWritten,
	}
	var flushed uint64
	for i := range m.Levels {
		l := &m.Levels[i]
		u.Live += uint64(max(l.AggregateSize(), 0))
		flushed += l.TableBytesFlushed + l.BlobBytesFlushed
		u.Written += l.TableBytesFlushed + l.BlobBytesFlushed + l.TableBytesCompacted + l.BlobBytesCompacted
	}
	if u.BytesIn == 0 {
		u.BytesIn = flushed // without a write-ahead log what is flushed is what came in
	}
	if u.BytesIn > 0 {
		u.Amplification = float64(u.Written) / float64(u.BytesIn)
	}
	return u
}

// PayloadBytes reads every event and returns how many bytes of payload they
// carry and how many of these are stored: the rest is the same as what an
// earlier event brought.
func (j *Journal) PayloadBytes(ctx context.Context) (carried, stored uint64, err error) {
	for next, end := uint64(1), j.mark.load(); next <= end; {
		if err := j.enter(ctx); err != nil {
			return carried, stored, err
		}
		last := min(end, next+64*chunkEvents)
		err := j.eachRecord(next, last, func(e events.Event, payloadAt uint64) error {
			if payloadAt == 0 {
				carried += uint64(len(e.Payload))
				stored += uint64(len(e.Payload))
				return nil
			}
			holder, _, err := j.record(payloadAt)
			carried += uint64(len(holder.Payload))
			return err
		})
		j.leave()
		if err != nil {
			return carried, stored, err
		}
		next = last + 1
	}
	return carried, stored, nil
}
