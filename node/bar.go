package node

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// eventBar shows on a terminal how many of the events something has read, and
// what it does after the last one, if that takes time too.
func eventBar(w io.Writer, doing, after string) (progress func(done, total uint64), end func()) {
	if !terminal(w) {
		return nil, func() {}
	}
	return newEventBar(w, doing, after)
}

func newEventBar(w io.Writer, doing, after string) (progress func(done, total uint64), end func()) {
	var bar *progressbar.ProgressBar
	show := func(what string, most int64, more ...progressbar.Option) {
		bar = progressbar.NewOptions64(most, append(more,
			progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(32),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())...)
	}
	end = func() {
		if bar != nil {
			_ = bar.Finish()
			_ = bar.Clear()
		}
	}
	progress = func(done, total uint64) {
		if bar == nil {
			show(doing, int64(total), progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("events"))
		}
		_ = bar.Set64(int64(done))
		if after != "" && done == total {
			end()
			show(after, -1) // until end, however long it takes
			_ = bar.RenderBlank()
		}
	}
	return progress, end
}
