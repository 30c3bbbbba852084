package server

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/node/internal/server/auth"
)

// CommandFunc runs a command line and returns its exit code.
type CommandFunc func(ctx context.Context, n *Node, args []string, in io.Reader, out, errs io.Writer) int

// The wire of a command line: the request's body is one line, the arguments as
// a JSON array, and then what is on standard input. The answer is frames of a
// byte for where it goes, a length of four bytes, big-endian, and that many
// bytes; the last one is the exit code.
const (
	CommandPath = "/v1/commands"

	FrameOut  = 'o'
	FrameErr  = 'e'
	FrameExit = 'x' // four bytes: the code

	maxArgs = 64 << 10 // bytes of the line of arguments
)

func (s *Server) commandRoutes() {
	// Each command line has its scope; this is the least that any needs.
	s.plain(auth.Read, huma.Operation{Method: http.MethodPost, Path: CommandPath, OperationID: "run-command", Hidden: true}, s.runCommand)
}

func (s *Server) runCommand(w http.ResponseWriter, r *http.Request, n *Node) error {
	if s.opts.Command == nil || s.opts.Allowed == nil {
		return problem(http.StatusNotFound, "no-route", "this node runs no command lines")
	}
	rc := http.NewResponseController(w)
	body := bufio.NewReaderSize(r.Body, maxArgs)
	line, err := body.ReadSlice('\n')
	if err != nil {
		return problem(http.StatusBadRequest, "malformed", "the body begins with a line of arguments")
	}
	var args []string
	if err := json.Unmarshal(line, &args); err != nil || len(args) == 0 {
		return problem(http.StatusBadRequest, "malformed", "the arguments are not a JSON array of text")
	}
	who := principal(r.Context())
	if who.Name != "socket" || who.ID != "" {
		scope, ok := s.opts.Allowed(args)
		switch {
		case !ok:
			return problem(http.StatusForbidden, "command", "this command does not run over the network; run it on the machine of the node")
		case !who.May(scope) || !who.Everything():
			return problem(http.StatusForbidden, "scope", "this command needs scope "+string(scope)+" over every stream and kind")
		}
	}
	// A command takes the time it takes.
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})
	if err := rc.EnableFullDuplex(); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/vnd.toka.command")
	w.WriteHeader(http.StatusOK)
	_ = rc.Flush()
	f := &frames{w: w, rc: rc, patience: s.opts.Patience}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	go func() {
		select {
		case <-s.ending:
			cancel(errEnding)
		case <-ctx.Done():
		}
	}()
	f.fail = cancel
	code := s.opts.Command(ctx, n, args, body, f.to(FrameOut), f.to(FrameErr))
	f.exit(code)
	return nil
}

// frames writes what a command prints.
type frames struct {
	mu       sync.Mutex
	w        io.Writer
	rc       *http.ResponseController
	patience time.Duration
	fail     context.CancelCauseFunc
}

type frameWriter struct {
	f    *frames
	kind byte
}

func (f *frames) to(kind byte) io.Writer { return &frameWriter{f, kind} }

func (w *frameWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), 64<<10)
		if err := w.f.write(w.kind, rest[:n]); err != nil {
			return len(p) - len(rest), err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

func (f *frames) write(kind byte, p []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(p)))
	_, err := f.w.Write(head)
	if err == nil {
		_, err = f.w.Write(p)
	}
	if err == nil {
		err = f.rc.Flush()
	}
	if err != nil {
		f.fail(fmt.Errorf("the client is gone: %w", err))
	}
	return err
}

func (f *frames) exit(code int) {
	_ = f.write(FrameExit, binary.BigEndian.AppendUint32(nil, uint32(code)))
}

// ReadFrames copies the answer to a command line to where it belongs and
// returns its exit code.
func ReadFrames(r io.Reader, out, errs io.Writer) (int, error) {
	in := bufio.NewReader(r)
	for {
		var head [5]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return 0, cutOff(err)
		}
		size := int64(binary.BigEndian.Uint32(head[1:]))
		switch head[0] {
		case FrameExit:
			var code [4]byte
			if _, err := io.ReadFull(in, code[:]); err != nil {
				return 0, cutOff(err)
			}
			return int(binary.BigEndian.Uint32(code[:])), nil
		case FrameOut, FrameErr:
			w := out
			if head[0] == FrameErr {
				w = errs
			}
			if _, err := io.CopyN(w, in, size); err != nil {
				return 0, cutOff(err)
			}
		default:
			return 0, fmt.Errorf("the node answered with something that is no command's output (%q)", strings.ToValidUTF8(string(head[:]), "?"))
		}
	}
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the node stopped before the command was done")
	}
	return err
}
