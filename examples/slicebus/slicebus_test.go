package slicebus_test

import (
	"testing"

	"github.com/tokaworks/toka/events/bus"
	"github.com/tokaworks/toka/events/bus/bustest"
	"github.com/tokaworks/toka/examples/slicebus"
)

func TestConforms(t *testing.T) {
	bustest.Run(t, func(*testing.T) bus.Bus { return slicebus.New() })
}
