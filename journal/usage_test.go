package journal_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

func TestUsage(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", on(d.Volume()))
	payload := func(i int) string { return fmt.Sprintf("payload %04d of some bytes, the same now and then", i%50) }
	carried := 0
	for i := range 400 {
		carried += len(payload(i))
		add(t, j, draft("s", "test.happened", payload(i)))
	}
	in, out, err := j.PayloadBytes(t.Context())
	if err != nil || in != uint64(carried) || out != uint64(carried/8) {
		t.Errorf("%d bytes carried and %d stored, want %d and %d (%v)", in, out, carried, carried/8, err)
	}
	u, err := j.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u.Log.BytesIn < uint64(carried/8) || u.Log.Written < u.Log.BytesIn || u.Log.Amplification < 1 || u.Log.LogBytes == 0 || u.Log.Bytes < u.Log.LogBytes {
		t.Errorf("the log: %+v", u.Log)
	}
	closeOK(t, j)
	j = open(t, "/data", on(d.Volume()))
	if u, err = j.Usage(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"records", "ids", "digests", "payload digests", "streams", "summaries", "tree"} {
		if !slices.ContainsFunc(u.Parts, func(p journal.PartUsage) bool { return p.Name == name && p.Bytes > 0 }) {
			t.Errorf("nothing is said of %s: %+v", name, u.Parts)
		}
	}
}
