package journal_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// A child process is this test binary again, told by its environment what to
// do instead of running tests.
const childEnv = "JOURNAL_TEST_CHILD" // "hold DIR" or "append LEVEL DIR"

func TestMain(m *testing.M) {
	if what := os.Getenv(childEnv); what != "" {
		if err := child(strings.SplitN(what, " ", 3)); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(args []string) error {
	switch args[0] {
	case "hold":
		j, err := journal.Open(args[1], journal.Options{})
		if err != nil {
			return err
		}
		fmt.Println("held")
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent lets go
		return j.Close()
	case "append":
		level, err := journal.ParseLevel(args[1])
		if err != nil {
			return err
		}
		j, err := journal.Open(args[2], journal.Options{Level: level}.Small(64, 64<<10))
		if err != nil {
			return err
		}
		failed := make(chan error)
		for w := range 8 {
			go func() {
				for i := 0; ; i++ {
					receipt, err := j.Append(context.Background(), write(
						draft(fmt.Sprintf("child/%d", w), "child.wrote", fmt.Sprint(os.Getpid(), w, i)),
						draft("shared", "child.wrote", strings.Repeat("x", i%300))))
					if err != nil {
						failed <- err
						return
					}
					// One system call for each line: it is out before the
					// process can be killed or it is not.
					for _, e := range receipt.Events {
						_, _ = fmt.Fprintf(os.Stdout, "%d %s\n", e.Position, e.Digest)
					}
				}
			}()
		}
		return <-failed
	}
	return fmt.Errorf("unknown command %q", args)
}

type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func start(t *testing.T, what string) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &process{cmd: cmd, in: in, out: bufio.NewScanner(out)}
}

// untilKilled runs a child that appends and says what was acknowledged, and
// kills it when it has said enough.
func untilKilled(t *testing.T, level journal.Level, dir string, acked map[uint64]events.Digest, want int) {
	t.Helper()
	p := start(t, fmt.Sprintf("append %v %s", level, dir))
	killed := false
	for p.out.Scan() {
		var position uint64
		var text string
		if _, err := fmt.Sscanf(p.out.Text(), "%d %s", &position, &text); err != nil || len(text) != 64 {
			continue // cut off by the kill: not acknowledged
		}
		digest, err := events.ParseDigest(text)
		if err != nil {
			t.Fatal(err)
		}
		acked[position] = digest
		if len(acked) >= want && !killed {
			killed = true
			if err := p.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = p.cmd.Wait()
	if !killed {
		t.Fatal("the child ended by itself")
	}
}

// A child that acknowledges from memory loses what it said: so the test can see
// it.
func TestKillFindsAnAcknowledgementFromMemory(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGKILL")
	}
	dir := t.TempDir() + "/journal"
	acked := map[uint64]events.Digest{}
	untilKilled(t, journal.LevelMemory, dir, acked, 200)
	j := open(t, dir, journal.Options{})
	lost := 0
	for position, want := range acked {
		if e, err := j.At(t.Context(), position); err != nil || e.Digest != want {
			lost++
		}
	}
	if lost == 0 {
		t.Errorf("%d events were acknowledged from memory, and none was lost", len(acked))
	}
}

func TestKill(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGKILL")
	}
	for _, level := range []journal.Level{journal.LevelOS, journal.LevelFsync} {
		t.Run(level.String(), func(t *testing.T) {
			rounds := 5
			switch {
			case testing.Short() || underRace:
				rounds = 2
			case allFaults():
				rounds = 25
			}
			dir := t.TempDir() + "/journal"
			acked := map[uint64]events.Digest{}
			for round := range rounds {
				untilKilled(t, level, dir, acked, len(acked)+200+97*(round%10))
				j := open(t, dir, journal.Options{Level: level})
				for position, want := range acked {
					if e, err := j.At(t.Context(), position); err != nil || e.Digest != want {
						t.Errorf("round %d: position %d was acknowledged: %v", round, position, err)
					}
				}
				es := everything(t, j)
				for i := 0; i+1 < len(es); i += 2 {
					if es[i].Stream == "shared" || es[i+1].Stream != "shared" {
						t.Fatalf("round %d: the write at %d is torn", round, es[i].Position)
					}
				}
				if len(es)%2 != 0 {
					t.Errorf("round %d: the last write is torn", round)
				}
				verified(t, j)
				closeOK(t, j)
			}
			t.Logf("%d kills, %d events acknowledged, lost 0", rounds, len(acked))
		})
	}
}
