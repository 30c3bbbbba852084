package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

// TestNotify tells who started a node when it is ready and when it stops.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	heard := listenNotify(t, path)
	t.Setenv("NOTIFY_SOCKET", path)
	n := runNode(t, actors.NewRegistry(), t.TempDir())
	if got := heard(); got != "READY=1" {
		t.Errorf("the first word is %q", got)
	}
	n.stop()
	if got := heard(); got != "STOPPING=1" {
		t.Errorf("the second word is %q", got)
	}
}

// listenNotify hears what services say at a socket.
func listenNotify(t *testing.T, path string) (heard func() string) {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return func() string {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 256)
		k, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:k])
	}
}

// TestUnit holds the unit to what systemd says of it: nothing wrong, and little
// exposed.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("../docs/deploy/toka.service")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		command, ok := strings.CutPrefix(strings.TrimSpace(l), "ExecStart=/usr/local/bin/toka-node ")
		if !ok {
			continue
		}
		// The settings would be refused where they are not what run has.
		if code, _, errs := commandLine(t, "", append(strings.Fields(command), "--config", os.DevNull, "--log-level", "none")...); code != node.ExitUsage || !strings.Contains(errs, "--log-level") {
			t.Errorf("%s: %d %s", command, code, errs)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	// It looks for the program, and any will do.
	unit := filepath.Join(t.TempDir(), "toka.service")
	if err := os.WriteFile(unit, bytes.ReplaceAll(text, []byte("/usr/local/bin/toka-node"), []byte("/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=yes", "--json=short", "--threshold=20", unit).CombinedOutput()
	if err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}

// instructions are those of the last stage of the container file, in order.
func instructions(t *testing.T) (all [][2]string) {
	t.Helper()
	text, err := os.ReadFile("../docs/deploy/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		name, rest, ok := strings.Cut(strings.TrimSpace(l), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		if name == "FROM" {
			all = nil
		}
		all = append(all, [2]string{name, rest})
	}
	return all
}

// TestContainer runs a static program as the container file does, over an empty
// root and as its user: it is ready, takes an event, and stops when it is told
// to. TOKA_BINARY names the program, which make test-deploy builds.
func TestContainer(t *testing.T) {
	var entry, command []string
	var env, user string
	for i, in := range instructions(t) {
		var err error
		switch in[0] {
		case "FROM":
			if i != 0 || in[1] != "scratch" {
				t.Errorf("FROM %s", in[1])
			}
		case "ENTRYPOINT":
			err = json.Unmarshal([]byte(in[1]), &entry)
		case "CMD":
			err = json.Unmarshal([]byte(in[1]), &command)
		case "ENV":
			env = in[1]
		case "USER":
			user, _, _ = strings.Cut(in[1], ":")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	uid, err := strconv.ParseUint(user, 10, 32)
	if err != nil || uid == 0 || len(entry) != 1 || entry[0] != "/toka-node" || !slices.Equal(command, []string{"run"}) {
		t.Fatalf("user %q, entry %q, command %q", user, entry, command)
	}
	binary := os.Getenv("TOKA_BINARY")
	switch {
	case binary == "":
		t.Skip("TOKA_BINARY names no program; make test-deploy builds one")
	case os.Geteuid() != 0:
		t.Skip("only root can change the root")
	}
	root := t.TempDir()
	b, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(root, "data")
	if err := os.WriteFile(filepath.Join(root, "toka-node"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, int(uid), int(uid)); err != nil {
		t.Fatal(err)
	}
	inside := func(args ...string) *exec.Cmd {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		c := exec.CommandContext(ctx, entry[0], args...)
		c.Dir, c.Env = "/", []string{env}
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		return c
	}
	out, errs := newSyncBuffer(), newSyncBuffer()
	c := inside(append(command, "--listen", "127.0.0.1:0")...)
	c.Stdout, c.Stderr = out, errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	url := out.until(t, " at ")
	errs.until(t, "the node is ready")
	res, err := http.Post(url+"/v1/events", "application/cloudevents+json", strings.NewReader(guest))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if text, err := inside("log", "-o", "names").CombinedOutput(); err != nil || strings.Count(string(text), "\n") == 0 {
		t.Errorf("log, through the socket: %v %s", err, text)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("%v: %s", err, errs)
	}
	if text, err := inside("verify").CombinedOutput(); err != nil {
		t.Errorf("verify: %v %s", err, text)
	}
}
