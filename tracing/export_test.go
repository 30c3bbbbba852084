package tracing

import (
	"context"

	"github.com/tokaworks/toka/journal"
)

// FollowFrom is Follow from a position on, with so many spans kept.
func FollowFrom(ctx context.Context, j *journal.Journal, after uint64, most int) error {
	return follow(ctx, j, after, most)
}
