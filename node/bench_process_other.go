//go:build !unix

package node

import "time"

// cpuTime returns nothing where the system is not asked.
func cpuTime() time.Duration { return 0 }
