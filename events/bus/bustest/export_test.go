package bustest

import "time"

// SetBound changes how long anything may take.
func SetBound(d time.Duration) { bound = d }
