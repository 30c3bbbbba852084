package yardstick_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/tokaworks/toka/internal/yardstick"
)

func TestScanReadsWhatRunWrote(t *testing.T) {
	dir := t.TempDir()
	if _, err := yardstick.Run(t.Context(), yardstick.Options{Dir: dir, Groups: []yardstick.Group{{Events: 3, Bytes: 900}, {Events: 4, Bytes: 2000}}}); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	whole, err := yardstick.Scan(t.Context(), log, []byte{0}, []byte{0xff})
	if err != nil || whole.Keys != 7 || whole.Bytes < 2000 || whole.Elapsed <= 0 || whole.KeysPerSecond() <= 0 {
		t.Errorf("scanned %+v (%v)", whole, err)
	}
	if none, err := yardstick.Scan(t.Context(), log, []byte{0}, []byte{1}); err != nil || none.Keys != 0 {
		t.Errorf("scanned %+v (%v) where there is nothing", none, err)
	}
	if _, err := yardstick.Scan(context.Background(), filepath.Join(dir, "absent"), []byte{0}, []byte{1}); err == nil {
		t.Error("scanned what is not there")
	}
}
