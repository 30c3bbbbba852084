package bare_test

import (
	"context"
	"testing"
	"time"

	"github.com/tokaworks/toka/internal/yardstick/bare"
)

func one() int { return 1 }

func TestFanOut(t *testing.T) {
	for _, receivers := range []int{1, 7} {
		if r := bare.ChannelFanOut(t.Context(), receivers, 20*time.Millisecond, one); r <= 0 {
			t.Errorf("%d receivers over channels: %v/s", receivers, r)
		}
		if r := bare.ActorFanOut(t.Context(), receivers, 20*time.Millisecond, one); r <= 0 {
			t.Errorf("%d actors: %v/s", receivers, r)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if r := bare.ChannelFanOut(ended, 1, time.Hour, one) + bare.ActorFanOut(ended, 1, time.Hour, one); r != 0 {
		t.Errorf("%v/s after the end", r)
	}
}
