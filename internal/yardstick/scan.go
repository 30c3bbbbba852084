package yardstick

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ScanResult is what Scan measured.
type ScanResult struct {
	Keys    int
	Bytes   int64 // of keys and values
	Elapsed time.Duration
}

// KeysPerSecond returns the rate.
func (r ScanResult) KeysPerSecond() float64 { return float64(r.Keys) / r.Elapsed.Seconds() }

// Scan reads the keys of the store in dir from lower up to upper, values
// included, does nothing with them, and changes nothing on disk.
func Scan(ctx context.Context, dir string, lower, upper []byte) (r ScanResult, err error) {
	cache := pebble.NewCache(256 << 20)
	defer cache.Unref()
	db, err := pebble.Open(dir, &pebble.Options{FS: vfs.Default, Cache: cache, ReadOnly: true, Logger: quiet{}})
	if err != nil {
		return r, fmt.Errorf("yardstick: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	start := time.Now()
	it, err := db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return r, fmt.Errorf("yardstick: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return r, errors.Join(err, it.Close())
		}
		r.Keys++
		r.Bytes += int64(len(it.Key()) + len(v))
		if r.Keys%4096 == 0 && ctx.Err() != nil {
			return r, errors.Join(context.Cause(ctx), it.Close())
		}
	}
	err = errors.Join(it.Error(), it.Close())
	r.Elapsed = time.Since(start)
	return r, err
}

// quiet drops the engine's words. Nothing is written, so nothing can fail that
// must not be survived.
type quiet struct{}

func (quiet) Infof(string, ...any) {}

func (quiet) Errorf(string, ...any) {}

func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf("yardstick: "+format, args...)) }
