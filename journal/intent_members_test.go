package journal_test

import (
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
)

// Members are the events that IntentsAt counts, now and as of any position.
func TestIntentMembers(t *testing.T) {
	j := open(t, "/data", making(disktest.New(), twoPhase))
	wander(t, j, 0, 150)
	for _, position := range []uint64{0, 1, 40, 99, j.Position()} {
		at, err := j.IntentsAt(t.Context(), position)
		if err != nil {
			t.Fatal(err)
		}
		count := map[events.ID]uint64{}
		last := uint64(0)
		for m, err := range j.IntentMembers(t.Context(), position) {
			if err != nil || m.Position <= last || m.Position > position || m.Similarity <= 0 {
				t.Fatalf("as of %d: %+v after %d, %v", position, m, last, err)
			}
			last = m.Position
			count[m.Intent]++
		}
		if len(count) != len(at) {
			t.Errorf("as of %d: members of %d intents, %d are listed", position, len(count), len(at))
		}
		for _, i := range at {
			if count[i.ID] != i.Events {
				t.Errorf("as of %d: %d members of %v, %d are counted", position, count[i.ID], i.ID, i.Events)
			}
		}
	}
	for m, err := range j.IntentMembers(t.Context(), j.Position()) {
		e, readErr := j.At(t.Context(), m.Position)
		if err != nil || readErr != nil || e.Intent != (events.Intent{ID: m.Intent, Similarity: m.Similarity}) {
			t.Fatalf("%+v, %v; the event has %+v, %v", m, err, e.Intent, readErr)
		}
		break // which is no error
	}
	closeOK(t, j)
	for _, err := range j.IntentMembers(t.Context(), 1) {
		if err == nil {
			t.Error("a closed journal has members")
		}
	}
}
