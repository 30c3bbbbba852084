package journal_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// TestCallbackThatEndsItsGoroutine: a callback of a caller's may do what it
// must not; then the journal says so instead of keeping everybody waiting.
func TestCallbackThatEndsItsGoroutine(t *testing.T) {
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		t.Fatal(err)
	}
	w := journal.Write{Events: []events.Draft{{Stream: "s", Kind: "k"}}}
	if err := j.Submit(t.Context(), w, func(journal.Receipt, error) { runtime.Goexit() }); err != nil {
		t.Fatal(err)
	}
	<-j.Failed()
	if _, err := j.Append(t.Context(), w); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("append afterwards: %v, want ErrFatal", err)
	}
	if err := j.Close(); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("close: %v, want ErrFatal", err)
	}
}
