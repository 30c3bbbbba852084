package cloudevents_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/cloudevents"
)

func FuzzParse(f *testing.F) {
	for _, line := range sampleLines(f)[:5] {
		f.Add(line)
	}
	f.Add([]byte(with(`"data":{"a":[1,-2.5e+3,"\ud83d\ude00",null]},"subject":"s","n":1.5,"time":"2024-01-01T00:00:00Z"`)))
	f.Add([]byte(with(`"datacontenttype":"text/plain","data":"\u00e9","tokaembedding":"AACAPw==","correlationid":true`)))
	f.Add([]byte(with(`"data_base64":"AA==","tokahash":"x","sequence":"00000000000000000001"`)))
	f.Fuzz(func(t *testing.T, line []byte) {
		in, err := cloudevents.Parse(line)
		if err != nil {
			if !errors.Is(err, events.ErrInvalid) || strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 400 {
				t.Fatalf("error %q", err)
			}
			return
		}
		if !json.Valid(line) || !utf8.Valid(line) {
			t.Fatal("accepted what is not JSON")
		}
		d := in.Draft
		if err := d.Validate(); err != nil {
			t.Fatal(err)
		}
		if err := d.CheckOutside(); err != nil {
			t.Fatal(err)
		}
		if d.ID != events.IngestedID(in.Source, in.OutsideID) || d.Stream != in.Source || len(d.Parents) != 0 || len(in.Parents) > events.MaxParents {
			t.Fatalf("%+v", in)
		}
		e, err := d.Seal(events.ID{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		e.Position = 1
		written, err := cloudevents.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		again, err := cloudevents.Parse(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		// What Event does not hold does not come back; a foreign sequence that
		// looks like ours does not either.
		again.Parents, again.Draft.Embedding = in.Parents, d.Embedding
		if s := d.Extensions["sequence"]; len(s) == 20 && again.Draft.Extensions["sequence"] == "" {
			again.Draft.Extensions["sequence"] = s
		}
		if !reflect.DeepEqual(again, in) {
			t.Fatalf("%s\ngot  %+v\nwant %+v", written, again, in)
		}
	})
}

// FuzzData holds the scanner against encoding/json.
func FuzzData(f *testing.F) {
	for _, s := range []string{`{"a":[1,2]}`, `"\u00e9"`, ` -0.5E-7 `, `[[[]],{}]`, `null`, `tru`, `01`, `1.`, `{"a":1,}`, `"\`, "\"\x01\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		line := slices.Concat([]byte(`{"specversion":"1.0","id":"1","source":"s","type":"t","data":`), data, []byte{'}'})
		in, err := cloudevents.Parse(line)
		valid := json.Valid(data) && utf8.Valid(data)
		switch {
		case err == nil && valid:
			if want := bytes.Trim(data, " \t\r\n"); !bytes.Equal(in.Draft.Payload, want) {
				t.Errorf("payload %q, want %q", in.Draft.Payload, want)
			}
		case err == nil:
			// More members may follow the data.
			if !json.Valid(line) {
				t.Errorf("%q was accepted", line)
			}
		case valid && !strings.Contains(err.Error(), "nested deeper") && len(data) < events.MaxPayload:
			t.Errorf("%q: %v", data, err)
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("a\r\n\nb"), false)
	f.Add([]byte("a\nb\n"), true)
	f.Add(pack(f, []byte("a\nb\n")), false)
	f.Add([]byte("\x1f\x8b"), false)
	f.Fuzz(func(t *testing.T, input []byte, packed bool) {
		text := input
		if packed {
			input = pack(t, input)
		}
		r, err := cloudevents.NewReader(bytes.NewReader(input))
		if err != nil {
			return
		}
		last, lines := 0, [][]byte(nil)
		for {
			line, number, err := r.Next()
			if err != nil {
				if packed && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				break
			}
			if number <= last || bytes.IndexByte(line, '\n') >= 0 || len(line) > cloudevents.MaxLine {
				t.Fatalf("line %d after %d: %q", number, last, line)
			}
			last = number
			lines = append(lines, slices.Clone(line))
		}
		if !packed && bytes.HasPrefix(text, []byte{0x1f, 0x8b}) {
			return // what it unpacks to is not known here
		}
		var want [][]byte
		for line := range bytes.SplitSeq(bytes.TrimPrefix(text, []byte("\ufeff")), []byte{'\n'}) {
			line = bytes.TrimSuffix(line, []byte{'\r'})
			if len(bytes.Trim(line, " \t\r")) > 0 {
				want = append(want, line)
			}
		}
		if !slices.EqualFunc(lines, want, bytes.Equal) {
			t.Fatalf("got %q, want %q", lines, want)
		}
		if r.Consumed() != int64(len(input)) {
			t.Fatalf("consumed %d of %d", r.Consumed(), len(input))
		}
	})
}

func BenchmarkParse(b *testing.B) {
	lines := sampleLines(b)
	size := 0
	for _, line := range lines {
		size += len(line) + 1
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for _, line := range lines {
			if _, err := cloudevents.Parse(line); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(lines)), "ns/line")
}

func BenchmarkAppend(b *testing.B) {
	in, err := cloudevents.Parse(sampleLines(b)[1])
	if err != nil {
		b.Fatal(err)
	}
	e, err := in.Draft.Seal(events.ID{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = cloudevents.Append(buf[:0], e)
	}
}

// BenchmarkReader reads the sample, packed, without looking at the lines.
func BenchmarkReader(b *testing.B) {
	text, err := os.ReadFile(samplePath)
	if err != nil {
		b.Fatal(err)
	}
	packed := pack(b, text)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r, err := cloudevents.NewReader(bytes.NewReader(packed))
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, _, err = r.Next()
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}
