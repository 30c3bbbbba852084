package bustest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
	"github.com/tokaworks/toka/events/bus/bustest"
)

// broken is a bus with a fault.
type broken struct {
	*bus.Memory
	fault string

	mu   sync.Mutex
	n    int
	held func() error
}

func (b *broken) Emit(ctx context.Context, source, kind string, v events.DomainEvent) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	emit := func() error { return b.Memory.Emit(ctx, source, kind, v) }
	switch {
	case b.fault == "drops" && b.n%5 == 0:
		return nil
	case b.fault == "repeats" && b.n%5 == 0:
		if err := emit(); err != nil {
			return err
		}
	case b.fault == "reorders" && b.n == 5:
		b.held = emit
		return nil
	case b.fault == "reorders" && b.n == 6:
		if err := emit(); err != nil {
			return err
		}
		return b.held()
	case b.fault == "accepts anything" && v == nil:
		return nil
	}
	return emit()
}

func (b *broken) Receive(f bus.Filter) (bus.Receiver, error) {
	if b.fault == "ignores filters" {
		f = bus.Filter{}
	}
	return b.Memory.Receive(f)
}

func (b *broken) Unsubscribe(id string) bool {
	return b.fault == "ignores unsubscribe" || b.Memory.Unsubscribe(id)
}

func (b *broken) Close(ctx context.Context) error {
	if b.fault == "never closes" {
		return nil
	}
	return b.Memory.Close(ctx)
}

var faults = []string{"drops", "repeats", "reorders", "accepts anything", "ignores filters", "ignores unsubscribe", "never closes"}

const faultVariable = "TOKA_BUSTEST_FAULT"

// TestFaulty is what TestRunFindsBrokenBuses runs in a process of its own.
func TestFaulty(t *testing.T) {
	fault, ok := os.LookupEnv(faultVariable)
	if !ok {
		t.Skip("runs in a process of its own")
	}
	if fault != "" {
		bustest.SetBound(time.Second) // what is missing will not come
	}
	bustest.Run(t, func(*testing.T) bus.Bus { return &broken{Memory: bus.NewMemory(bus.Options{}), fault: fault} })
}

func TestRunFindsBrokenBuses(t *testing.T) {
	for _, fault := range append([]string{""}, faults...) {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestFaulty$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), faultVariable+"="+fault)
			out, err := cmd.CombinedOutput()
			if fault == "" && err != nil {
				t.Errorf("a sound bus was found broken: %v\n%s", err, out)
			}
			if fault != "" && (err == nil || !strings.Contains(string(out), "--- FAIL: TestFaulty/")) {
				t.Errorf("a bus that %s passed: %v\n%s", fault, err, out)
			}
		})
	}
}
