package node_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

// terminals opens a terminal: what is written to the second can be read from
// the first.
func terminals(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	tty, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return screen, tty
}

// TestNoColor sees colours on a terminal, and none where NO_COLOR is set.
func TestNoColor(t *testing.T) {
	for value, coloured := range map[string]bool{"": true, "1": false} {
		t.Run("NO_COLOR="+value, func(t *testing.T) {
			t.Setenv("NO_COLOR", value)
			screen, tty := terminals(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan int, 1)
			go func() {
				ended <- node.Run(ctx, actors.NewRegistry(), []string{"run", "--data", t.TempDir(), "--durability", "memory", "--listen", "127.0.0.1:0"},
					node.Streams{In: strings.NewReader(""), Out: newSyncBuffer(), Err: tty})
			}()
			var text strings.Builder
			for b := make([]byte, 4096); !strings.Contains(text.String(), "the node is ready"); {
				n, err := screen.Read(b)
				if err != nil {
					t.Fatal(err)
				}
				text.Write(b[:n])
			}
			cancel()
			if code := <-ended; code != node.ExitDone {
				t.Errorf("the node ended with %d", code)
			}
			if got := strings.Contains(text.String(), "\x1b["); got != coloured {
				t.Errorf("colours: %v, want %v: %q", got, coloured, text.String())
			}
		})
	}
}
