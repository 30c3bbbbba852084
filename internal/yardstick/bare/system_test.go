package bare_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/tokaworks/toka/internal/yardstick/bare"
)

func TestEverythingIsDealtWith(t *testing.T) {
	before := runtime.NumGoroutine()
	s := bare.New()
	s.Tell(10_000)
	if err := s.Ask(1000); err != nil {
		t.Error(err)
	}
	if err := s.AskMany(1000, 8, 5); err != nil {
		t.Error(err)
	}
	s.Spawn(100)
	s.Close()
	bare.ChannelTell(10_000)
	bare.ChannelAsk(1000)
	bare.ChannelSpawn(100)
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+2; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines are left, %d were there before", runtime.NumGoroutine(), before)
		}
	}
}
