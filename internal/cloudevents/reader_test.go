package cloudevents_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tokaworks/toka/internal/cloudevents"
)

func pack(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readAll returns each line as "number:line", or "number!" for one too long,
// and the error at the end, nil for io.EOF.
func readAll(r *cloudevents.Reader) (got []string, err error) {
	for {
		line, number, err := r.Next()
		switch {
		case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return got, nil
		case errors.Is(err, cloudevents.ErrLineTooLong):
			got = append(got, fmt.Sprintf("%d!", number))
		case err != nil:
			return got, err
		default:
			got = append(got, fmt.Sprintf("%d:%s", number, line))
		}
	}
}

func TestReader(t *testing.T) {
	tests := []struct {
		name, input string
		want        []string
	}{
		{"nothing", "", nil},
		{"one byte", "{", []string{"1:{"}},
		{"one line", "a\n", []string{"1:a"}},
		{"no line break at the end", "a\nb", []string{"1:a", "2:b"}},
		{"carriage returns", "a\r\nb\r\n\r\nc\r", []string{"1:a", "2:b", "4:c"}},
		{"carriage return inside", "a\rb\n", []string{"1:a\rb"}},
		{"blank lines", "\n \t\n\na\n\n\n", []string{"4:a"}},
		{"only blank lines", "\n\n ", nil},
		{"byte order mark", "\ufeffa\n\ufeffb", []string{"1:a", "2:\ufeffb"}},
		{"part of a byte order mark", "\xef\xbb", []string{"1:\xef\xbb"}},
		{"only a byte order mark", "\ufeff", nil},
		{"first byte of gzip", "\x1fa\n", []string{"1:\x1fa"}},
	}
	for _, tt := range tests {
		for _, packed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/packed=%v", tt.name, packed), func(t *testing.T) {
				input := []byte(tt.input)
				if packed {
					input = pack(t, input)
				}
				r, err := cloudevents.NewReader(iotest.OneByteReader(bytes.NewReader(input)))
				if err != nil {
					t.Fatal(err)
				}
				got, err := readAll(r)
				if err != nil || !slices.Equal(got, tt.want) {
					t.Errorf("got %q, %v; want %q", got, err, tt.want)
				}
				if r.Consumed() != int64(len(input)) {
					t.Errorf("consumed %d of %d bytes", r.Consumed(), len(input))
				}
				if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
					t.Errorf("after the end: %v", err)
				}
			})
		}
	}
}

func TestTwoGzipFilesInOne(t *testing.T) {
	r, err := cloudevents.NewReader(bytes.NewReader(append(pack(t, []byte("a\n")), pack(t, []byte("b\n"))...)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(r); err != nil || !slices.Equal(got, []string{"1:a", "2:b"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestLongLines(t *testing.T) {
	fits := strings.Repeat("x", cloudevents.MaxLine)
	for name, tt := range map[string]struct {
		input string
		want  []string
	}{
		"at the limit":             {fits + "\nb\n", []string{"1:" + fits, "2:b"}},
		"at the limit, CRLF":       {fits + "\r\nb\n", []string{"1:" + fits, "2:b"}},
		"at the limit, at the end": {"a\n" + fits, []string{"1:a", "2:" + fits}},
		"one over":                 {fits + "x\nb\n", []string{"1!", "2:b"}},
		"one over, CRLF":           {fits + "x\r\nb\n", []string{"1!", "2:b"}},
		"one over, at the end":     {"a\n" + fits + "x", []string{"1:a", "2!"}},
		"two after another":        {fits + fits + "\n" + fits + "xy\nb", []string{"1!", "2!", "3:b"}},
		"blank":                    {strings.Repeat(" ", cloudevents.MaxLine+1) + "\nb\n", []string{"1!", "2:b"}},
	} {
		r, err := cloudevents.NewReader(strings.NewReader(tt.input))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(r); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %d lines, %v", name, len(got), err)
		}
	}

	// A line of 256 MiB: what is allocated must not grow with it.
	long := io.LimitReader(endless{}, 256<<20)
	r, err := cloudevents.NewReader(io.MultiReader(long, strings.NewReader("\nb\n")))
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := readAll(r)
	runtime.ReadMemStats(&after)
	if err != nil || !slices.Equal(got, []string{"1!", "2:b"}) {
		t.Errorf("got %q, %v", got, err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("%d MiB were allocated", n>>20)
	}
}

var manyX = bytes.Repeat([]byte{'x'}, 64<<10)

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, manyX), nil }

func TestCutOffGzip(t *testing.T) {
	// Lines that do not pack well, so that whole ones stand before each cut.
	rng := rand.New(rand.NewPCG(1, 2))
	var text bytes.Buffer
	var all []string
	for i := range 60 {
		line := fmt.Sprintf("%x-%x", rng.Uint64(), rng.Uint64())
		all = append(all, fmt.Sprintf("%d:%s", i+1, line))
		text.WriteString(line + "\n")
	}
	whole := pack(t, text.Bytes())
	for n := 2; n < len(whole); n++ {
		r, err := cloudevents.NewReader(bytes.NewReader(whole[:n]))
		var got []string
		if err == nil {
			got, err = readAll(r)
			_, _, again := r.Next()
			if !errors.Is(again, io.ErrUnexpectedEOF) {
				t.Errorf("cut at %d: asked again: %v", n, again)
			}
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "compressed input is cut off") {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if len(got) > len(all) || !slices.Equal(got, all[:len(got)]) {
			t.Fatalf("cut at %d: a line that is none: %q", n, got[len(got)-1])
		}
	}

	broken := slices.Clone(whole)
	broken[len(broken)-6] ^= 1 // in the checksum
	r, err := cloudevents.NewReader(bytes.NewReader(broken))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(r); !errors.Is(err, gzip.ErrChecksum) || !strings.Contains(err.Error(), "compressed input is damaged") {
		t.Errorf("checksum: %v", err)
	}
	if _, err := cloudevents.NewReader(strings.NewReader("\x1f\x8bnot gzip")); !errors.Is(err, gzip.ErrHeader) {
		t.Errorf("header: %v", err)
	}
}

func TestInputErrors(t *testing.T) {
	broken := errors.New("the disk is on fire")
	if _, err := cloudevents.NewReader(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("at once: %v", err)
	}
	r, err := cloudevents.NewReader(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(r)
	if !errors.Is(err, broken) || err.Error() != "read line 2: the disk is on fire" {
		t.Errorf("later: %v", err)
	}
	if !slices.Equal(got, []string{"1:a"}) {
		t.Errorf("lines: %q", got)
	}

	// Plain input that breaks off is not called compressed.
	r, err = cloudevents.NewReader(io.MultiReader(strings.NewReader("a\n"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(r); !errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "compressed") {
		t.Errorf("plain: %v", err)
	}
}
