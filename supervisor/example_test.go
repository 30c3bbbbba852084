package supervisor_test

import (
	"fmt"
	"time"

	"github.com/tokaworks/toka/supervisor"
)

// One message breaks its agent again and again and is parked; then the agent
// goes on breaking, and the failure goes upwards.
func ExamplePolicy_Decide() {
	policy := supervisor.Policy{
		MaxRestarts: 4,
		Window:      time.Minute,
		MaxAttempts: 3,
		Backoff:     supervisor.Backoff{Initial: 100 * time.Millisecond, Jitter: -1},
	}
	var history supervisor.History
	now := time.Date(2025, 6, 23, 12, 0, 0, 0, time.UTC)
	for _, message := range []string{"order 7", "order 7", "order 7", "order 8", "order 9"} {
		var d supervisor.Directive
		failure := supervisor.Failure{Message: message, Reason: "no such customer"}
		d, history = policy.Decide(history, failure, now, 0)
		fmt.Printf("%s: %s after %v: %s\n", message, d.Action, d.After, d.Reason)
		now = now.Add(time.Second)
		if message == "order 8" {
			history = policy.Handled(history, message)
		}
	}
	// Output:
	// order 7: restart after 100ms: attempt 1 of 3 failed: no such customer
	// order 7: restart after 200ms: attempt 2 of 3 failed: no such customer
	// order 7: park after 400ms: gave the message up after 3 attempts: no such customer
	// order 8: restart after 800ms: attempt 1 of 3 failed: no such customer
	// order 9: escalate after 0s: 4 restarts within 1m0s were allowed and made: no such customer
}
