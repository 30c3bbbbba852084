package supervisor_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/supervisor"
)

var start = time.Date(2025, 6, 23, 12, 0, 0, 0, time.UTC)

// noWait is a backoff whose delays are easy to foretell: none of them matters.
var noWait = supervisor.Backoff{Initial: 1, Factor: 1, Jitter: -1}

// step is one failure, or one message handled well, some time after start.
type step struct {
	at      time.Duration
	message string
	handled bool
	want    supervisor.Action
	attempt int
}

func runSteps(t *testing.T, p supervisor.Policy, steps []step) {
	t.Helper()
	var h supervisor.History
	for i, s := range steps {
		if s.handled {
			h = p.Handled(h, s.message)
			continue
		}
		var d supervisor.Directive
		d, h = p.Decide(h, supervisor.Failure{Message: s.message, Reason: "it broke"}, start.Add(s.at), 0)
		if d.Action != s.want || d.Attempt != s.attempt {
			t.Errorf("step %d (%s at %v): got %v, attempt %d; want %v, attempt %d",
				i, s.message, s.at, d.Action, d.Attempt, s.want, s.attempt)
		}
		if !strings.Contains(d.Reason, "it broke") {
			t.Errorf("step %d: the reason %q does not say what broke", i, d.Reason)
		}
		if waits := d.After > 0; waits != (d.Action != supervisor.Escalate) {
			t.Errorf("step %d: %v after %v", i, d.Action, d.After)
		}
	}
}

func TestIntensity(t *testing.T) {
	const (
		restart  = supervisor.Restart
		park     = supervisor.Park
		escalate = supervisor.Escalate
	)
	// Messages differ from failure to failure, so that none is parked but
	// where a case is about that.
	p := supervisor.Policy{MaxRestarts: 2, Window: 10 * time.Second, MaxAttempts: 2, Backoff: noWait}
	tests := []struct {
		name  string
		steps []step
	}{
		{"the first too many escalates", []step{
			{at: 0, message: "a", want: restart, attempt: 1},
			{at: 0, message: "b", want: restart, attempt: 1},
			{at: 0, message: "c", want: escalate, attempt: 1},
		}},
		{"a restart exactly as old as the window counts", []step{
			{at: 0, message: "a", want: restart, attempt: 1},
			{at: 0, message: "b", want: restart, attempt: 1},
			{at: 10 * time.Second, message: "c", want: escalate, attempt: 1},
		}},
		{"an older one does not", []step{
			{at: 0, message: "a", want: restart, attempt: 1},
			{at: time.Second, message: "b", want: restart, attempt: 1},
			{at: 10*time.Second + 1, message: "c", want: restart, attempt: 1},
			{at: 11 * time.Second, message: "d", want: escalate, attempt: 1},
		}},
		{"an escalation is no restart", []step{
			{at: 0, message: "a", want: restart, attempt: 1},
			{at: 0, message: "b", want: restart, attempt: 1},
			{at: 9 * time.Second, message: "c", want: escalate, attempt: 1},
			{at: 9 * time.Second, message: "d", want: escalate, attempt: 1},
			{at: 11 * time.Second, message: "e", want: restart, attempt: 1},
			{at: 11 * time.Second, message: "f", want: restart, attempt: 1},
		}},
		{"a parked message's restart counts", []step{
			{at: 0, message: "a", want: restart, attempt: 1},
			{at: 0, message: "a", want: park, attempt: 2},
			{at: 0, message: "b", want: escalate, attempt: 1},
		}},
		{"escalating comes before parking, and the message is parked later", []step{
			{at: 0, message: "a", want: restart, attempt: 1},
			{at: 0, message: "b", want: restart, attempt: 1},
			{at: 0, message: "c", want: escalate, attempt: 1},
			{at: 0, message: "c", want: escalate, attempt: 2},
			{at: 11 * time.Second, message: "c", want: park, attempt: 3},
		}},
		{"handling messages well does not undo restarts", []step{
			{at: 0, message: "a", want: restart, attempt: 1},
			{message: "a", handled: true},
			{at: 0, message: "b", want: restart, attempt: 1},
			{message: "b", handled: true},
			{at: 0, message: "c", want: escalate, attempt: 1},
		}},
		{"a clock that jumps back stands still", []step{
			{at: time.Hour, message: "a", want: restart, attempt: 1},
			{at: time.Hour, message: "b", want: restart, attempt: 1},
			{at: 0, message: "c", want: escalate, attempt: 1},
			{at: 10 * time.Second, message: "d", want: escalate, attempt: 1},
			// Only Window by the new clock is needed, not the lost hour.
			{at: 10*time.Second + 1, message: "e", want: restart, attempt: 1},
		}},
		{"a clock that jumps to and fro ages by the jumps forward only", []step{
			{at: 0, message: "a", want: restart, attempt: 1},
			{at: 4 * time.Second, message: "b", want: restart, attempt: 1},
			{at: 0, message: "c", want: escalate, attempt: 1},
			{at: 4 * time.Second, message: "d", want: escalate, attempt: 1},
			{at: 0, message: "e", want: escalate, attempt: 1},
			// 4 s + 4 s + 3 s have passed: a is out of the window, b is not.
			{at: 3 * time.Second, message: "f", want: restart, attempt: 1},
			{at: 3 * time.Second, message: "g", want: escalate, attempt: 1},
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { runSteps(t, p, tc.steps) })
	}
}

// Times as far apart as time.Time can hold must neither panic nor let a
// restart through that the window forbids.
func TestIntensityAtTheEndsOfTime(t *testing.T) {
	p := supervisor.Policy{MaxRestarts: 1, Window: math.MaxInt64, Backoff: noWait}
	first, last := time.Unix(math.MinInt64/2, 0), time.Unix(math.MaxInt64/2, 0)
	d, h := p.Decide(supervisor.History{}, supervisor.Failure{Message: "a"}, last, 0)
	if d.Action != supervisor.Restart {
		t.Fatalf("first failure: %v", d.Action)
	}
	if d, _ := p.Decide(h, supervisor.Failure{Message: "b"}, first, 0); d.Action != supervisor.Escalate {
		t.Errorf("after the greatest jump back: %v, want escalate", d.Action)
	}
	_, h = p.Decide(supervisor.History{}, supervisor.Failure{Message: "a"}, first, 0)
	if d, _ := p.Decide(h, supervisor.Failure{Message: "b"}, last, 0); d.Action != supervisor.Escalate {
		t.Errorf("within the longest window: %v, want escalate", d.Action)
	}
	p.Window = time.Minute
	if d, _ := p.Decide(h, supervisor.Failure{Message: "b"}, last, 0); d.Action != supervisor.Restart {
		t.Errorf("long after the window: %v, want restart", d.Action)
	}
}

func TestPoisonMessageIsParked(t *testing.T) {
	const (
		restart = supervisor.Restart
		park    = supervisor.Park
	)
	tests := []struct {
		name     string
		attempts int
		steps    []step
	}{
		{"after three tries by default", 0, []step{
			{message: "a", want: restart, attempt: 1},
			{message: "a", want: restart, attempt: 2},
			{message: "a", want: park, attempt: 3},
		}},
		{"after the first, where the policy says so", 1, []step{
			{message: "a", want: park, attempt: 1},
			{message: "b", want: park, attempt: 1},
		}},
		{"taken up again, it is counted anew", 2, []step{
			{message: "a", want: restart, attempt: 1},
			{message: "a", want: park, attempt: 2},
			{message: "a", want: restart, attempt: 1},
			{message: "a", want: park, attempt: 2},
		}},
		{"handled in the end, it is forgotten", 2, []step{
			{message: "a", want: restart, attempt: 1},
			{message: "a", handled: true},
			{message: "a", want: restart, attempt: 1},
		}},
		{"success with others in between does not save it", 2, []step{
			{message: "a", want: restart, attempt: 1},
			{message: "b", handled: true},
			{message: "a", want: park, attempt: 2},
		}},
		{"a failure of another starts the count anew", 2, []step{
			{message: "a", want: restart, attempt: 1},
			{message: "b", want: restart, attempt: 1},
			{message: "a", want: restart, attempt: 1},
			{message: "a", want: park, attempt: 2},
		}},
		{"a failure outside any message is not an attempt and parks nothing", 2, []step{
			{message: "", want: restart, attempt: 0},
			{message: "", want: restart, attempt: 0},
			{message: "", want: restart, attempt: 0},
			{message: "a", want: restart, attempt: 1},
			{message: "", want: restart, attempt: 0},
			{message: "a", want: park, attempt: 2},
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			runSteps(t, supervisor.Policy{MaxAttempts: tc.attempts, Backoff: noWait}, tc.steps)
		})
	}
}

func TestBackoffBelongsToRestartsInARow(t *testing.T) {
	p := supervisor.Policy{MaxAttempts: 2, Backoff: supervisor.Backoff{Initial: time.Second, Jitter: -1}}
	var h supervisor.History
	fail := func(message string, want time.Duration) {
		t.Helper()
		var d supervisor.Directive
		d, h = p.Decide(h, supervisor.Failure{Message: message}, start, math.MaxUint64)
		if d.After != want {
			t.Errorf("%v after %v, want %v", d.Action, d.After, want)
		}
	}
	fail("a", 1*time.Second)
	fail("a", 2*time.Second) // parked: the agent is not well yet
	fail("b", 4*time.Second)
	h = p.Handled(h, "another")
	fail("b", 1*time.Second) // parked, too: its first try stands
	fail("c", 2*time.Second)
}

func TestDefaults(t *testing.T) {
	var zero supervisor.Policy
	written := supervisor.Policy{
		MaxRestarts: 100, Window: time.Minute, MaxAttempts: 3,
		Backoff: supervisor.Backoff{Initial: 10 * time.Millisecond, Factor: 2, Max: 10 * time.Second, Jitter: 0.2},
	}
	var a, b supervisor.History
	for i := range 120 {
		f := supervisor.Failure{Message: strings.Repeat("m", 1+i/4), Reason: "it broke"}
		now, random := start.Add(time.Duration(i)*time.Second/2), uint64(i)<<57
		var da, db supervisor.Directive
		da, a = zero.Decide(a, f, now, random)
		db, b = written.Decide(b, f, now, random)
		if da != db {
			t.Fatalf("failure %d: the zero policy says %+v, the defaults written out %+v", i, da, db)
		}
		if want := i >= 100; (da.Action == supervisor.Escalate) != want {
			t.Fatalf("failure %d: %v", i, da.Action)
		}
	}
}

func TestMisusePanics(t *testing.T) {
	nan := math.NaN()
	tests := map[string]supervisor.Policy{
		"MaxRestarts":     {MaxRestarts: -1},
		"Window":          {Window: -1},
		"MaxAttempts":     {MaxAttempts: -1},
		"Backoff.Initial": {Backoff: supervisor.Backoff{Initial: -1}},
		"Backoff.Max":     {Backoff: supervisor.Backoff{Max: -1}},
		"Backoff.Factor":  {Backoff: supervisor.Backoff{Factor: 0.5}},
		"Factor":          {Backoff: supervisor.Backoff{Factor: nan}},
		"Factor is +Inf":  {Backoff: supervisor.Backoff{Factor: math.Inf(1)}},
		"Backoff.Jitter":  {Backoff: supervisor.Backoff{Jitter: 1.01}},
		"Jitter is NaN":   {Backoff: supervisor.Backoff{Jitter: nan}},
	}
	for field, p := range tests {
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("Validate(%+v) = %v, want an error that names %s", p, err, field)
		}
		mustPanic(t, field, func() { p.Decide(supervisor.History{}, supervisor.Failure{}, start, 0) })
		if p.Backoff != (supervisor.Backoff{}) {
			mustPanic(t, field, func() { p.Backoff.Delay(1, 0) })
		}
	}
	mustPanic(t, "n is 0", func() { supervisor.Backoff{}.Delay(0, 0) })
	if err := (supervisor.Policy{Backoff: supervisor.Backoff{Jitter: -1}}).Validate(); err != nil {
		t.Errorf("a negative Jitter means none, but: %v", err)
	}
}

func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		got, _ := recover().(string)
		if !strings.HasPrefix(got, "supervisor: ") || !strings.Contains(got, want) {
			t.Errorf("panic %q, want supervisor: …%s…", got, want)
		}
	}()
	f()
}

func TestActionString(t *testing.T) {
	for a, want := range map[supervisor.Action]string{
		supervisor.Restart: "restart", supervisor.Park: "park", supervisor.Escalate: "escalate", 0: "unknown", 9: "unknown",
	} {
		if got := a.String(); got != want {
			t.Errorf("Action(%d) is %q, want %q", uint8(a), got, want)
		}
	}
}

func TestHandledAllocatesNothing(t *testing.T) {
	var p supervisor.Policy
	_, h := p.Decide(supervisor.History{}, supervisor.Failure{Message: "a"}, start, 0)
	if n := testing.AllocsPerRun(100, func() { h = p.Handled(h, "b") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
