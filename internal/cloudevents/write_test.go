package cloudevents_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/cloudevents"
)

const samplePath = "testdata/git-sample.jsonl"

func sampleLines(t testing.TB) [][]byte {
	t.Helper()
	b, err := os.ReadFile(samplePath)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(b, []byte{'\n'}), []byte{'\n'})
}

func TestSampleRoundTrip(t *testing.T) {
	known := make(map[string]events.Ref) // by outside id and by event id
	lines := sampleLines(t)
	if len(lines) != 300 {
		t.Fatalf("%d lines", len(lines))
	}
	merges := 0
	for i, line := range lines {
		in, err := cloudevents.Parse(line)
		if err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		first := in
		first.Draft.Payload = slices.Clone(in.Draft.Payload)
		seal := func(in cloudevents.Incoming) events.Event {
			var parents []events.Ref
			for _, token := range in.Parents {
				p, ok := known[token]
				if !ok {
					t.Fatalf("line %d: parent %s is not in the sample before it", i+1, token)
				}
				parents = append(parents, p)
			}
			e, err := in.Draft.Seal(events.ID{}, parents)
			if err != nil {
				t.Fatalf("line %d: %v", i+1, err)
			}
			e.Position = uint64(i + 1)
			return e
		}
		e := seal(in)
		if len(e.Parents) > 1 {
			merges++
		}
		known[in.OutsideID], known[e.ID.String()] = e.Ref(), e.Ref()

		written, err := cloudevents.Marshal(e)
		if err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		again, err := cloudevents.Parse(written)
		if err != nil {
			t.Fatalf("line %d: %s: %v", i+1, written, err)
		}
		if got := seal(again); got.Digest != e.Digest {
			t.Errorf("line %d: digest %s became %s", i+1, e.Digest.Short(), got.Digest.Short())
		}
		again.Parents = first.Parents // event ids now
		if !reflect.DeepEqual(again, first) {
			t.Errorf("line %d:\ngot  %+v\nwant %+v", i+1, again, first)
		}
	}
	if merges == 0 {
		t.Error("no event of the sample has two parents")
	}
}

// sealed returns an event with everything in it that a line can hold.
func sealed(t *testing.T) events.Event {
	t.Helper()
	parent := events.Draft{Stream: "p", Kind: "a.b"}
	p, err := parent.Seal(events.IngestedID("p", "1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	q, err := parent.Seal(events.IngestedID("p", "2"), nil)
	if err != nil {
		t.Fatal(err)
	}
	d := events.Draft{
		Stream: "/agents/<é\"&>", Kind: "order.placed", SchemaVersion: 1,
		Time:        time.Date(2024, 5, 6, 7, 8, 9, 120, time.FixedZone("", 3600)),
		ContentType: events.ContentTypeJSON, Payload: []byte(`{"a": "\u00e9"}`),
		Correlation: "c", Trace: "00-t",
		Extensions: map[string]string{"outsideid": "o-1", "subject": "s", "zone": "z\n", "alpha": "1"},
	}
	e, err := d.Seal(events.IngestedID(d.Stream, "o-1"), []events.Ref{p.Ref(), q.Ref()})
	if err != nil {
		t.Fatal(err)
	}
	e.Position = 42
	e.Intent.ID = p.ID
	return e
}

func TestWrittenLine(t *testing.T) {
	e := sealed(t)
	want := `{"specversion":"1.0","id":"o-1","source":"/agents/<é\"&>","type":"order.placed","time":"2024-05-06T06:08:09.00000012Z",` +
		`"tokaparents":"` + e.Parents[0].ID.String() + " " + e.Parents[1].ID.String() + `","correlationid":"c","traceparent":"00-t",` +
		`"alpha":"1","subject":"s","zone":"z\n","sequence":"00000000000000000042","tokaid":"` + e.ID.String() + `",` +
		`"tokahash":"` + e.Digest.String() + `","tokaintent":"` + e.Intent.ID.String() + `",` +
		`"datacontenttype":"application/json","data":{"a": "\u00e9"}}`
	for range 20 { // maps are walked in another order each time
		got, err := cloudevents.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
	if got := cloudevents.Append([]byte("x\n"), e); string(got) != "x\n"+want {
		t.Errorf("Append: %s", got)
	}

	in, err := cloudevents.Parse([]byte(want))
	if err != nil {
		t.Fatal(err)
	}
	if in.Draft.ID != e.ID || in.Draft.Extensions["sequence"] != "" || !reflect.DeepEqual(in.Draft.Extensions, e.Extensions) {
		t.Errorf("read again: %+v", in)
	}

	// An event that was born here, with nothing optional.
	plain := events.Draft{Stream: "s", Kind: "k"}
	e, err = plain.Seal(events.EmittedID(e.Digest, "s", 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := cloudevents.Marshal(e)
	want = `{"specversion":"1.0","id":"` + e.ID.String() + `","source":"s","type":"k","tokahash":"` + e.Digest.String() + `"}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}

func TestSequenceOfTheProducer(t *testing.T) {
	in, err := cloudevents.Parse([]byte(with(`"sequence":"17"`)))
	if err != nil {
		t.Fatal(err)
	}
	e, err := in.Draft.Seal(events.ID{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e.Position = 42
	line, err := cloudevents.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	again, err := cloudevents.Parse(line)
	if err != nil || again.Draft.Extensions["sequence"] != "17" {
		t.Errorf("%s: %v, %v", line, again.Draft.Extensions, err)
	}
}

func TestWrittenPayloadComesBack(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct {
		name, contentType, payload string
		inline                     bool
	}{
		{"JSON", "application/json", `{"a":[1, 2]}`, true},
		{"JSON text", "application/json", `"\ud800"`, true},
		{"JSON with suffix", "application/x+json", `1`, true},
		{"JSON over lines", "application/json", "{\n}", false},
		{"JSON with a carriage return", "application/json", "[\r]", false},
		{"JSON with space around", "application/json", ` 1`, false},
		{"JSON with space after", "application/json", `1 `, false},
		{"two values", "application/json", `1,"id":"x"`, false},
		{"not JSON", "application/json", `{`, false},
		{"not UTF-8", "application/json", "\"\xff\"", false},
		{"deepest", "application/json", deep(64), true},
		{"too deep", "application/json", deep(65), false},
		{"text", "text/plain", `"a"`, false},
		{"no type", "", `{}`, false},
		{"bytes", "", "\x00\xff\n", false},
		{"nothing", "application/json", "", false},
		{"largest", "", strings.Repeat("\xff", events.MaxPayload), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := events.Draft{Stream: "s", Kind: "k", ContentType: tt.contentType, Payload: []byte(tt.payload)}
			e, err := d.Seal(events.IngestedID("s", "1"), nil)
			if err != nil {
				t.Fatal(err)
			}
			line, err := cloudevents.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.ContainsAny(line, "\r\n") || !json.Valid(line) || len(line) > cloudevents.MaxLine {
				t.Fatalf("not a line: %q", line[:min(len(line), 300)])
			}
			if inline := bytes.Contains(line, []byte(`"data":`)); inline != tt.inline {
				t.Errorf("inline: %v", inline)
			}
			in, err := cloudevents.Parse(line)
			if err != nil {
				t.Fatal(err)
			}
			if string(in.Draft.Payload) != tt.payload || in.Draft.ContentType != tt.contentType {
				t.Errorf("came back as %.100q, %q", in.Draft.Payload, in.Draft.ContentType)
			}
		})
	}
}

func TestMarshalRefuses(t *testing.T) {
	for name, change := range map[string]func(*events.Event){
		"no id":            func(e *events.Event) { e.ID = events.ID{} },
		"no stream":        func(e *events.Event) { e.Stream = "" },
		"no kind":          func(e *events.Event) { e.Kind = "" },
		"name taken":       func(e *events.Event) { e.Extensions["source"] = "x" },
		"name taken by us": func(e *events.Event) { e.Extensions["tokahash"] = "x" },
	} {
		e := sealed(t)
		change(&e)
		if line, err := cloudevents.Marshal(e); err == nil {
			t.Errorf("%s: %s", name, line)
		}
		line := cloudevents.Append(nil, e)
		var members map[string]any
		if err := json.Unmarshal(line, &members); err != nil {
			t.Errorf("%s: Append: %v", name, err)
		}
		if bytes.Count(line, []byte(`"source":`)) != 1 || bytes.Count(line, []byte(`"tokahash":`)) != 1 {
			t.Errorf("%s: Append repeats a name: %s", name, line)
		}
	}
}

func TestAppendEscapes(t *testing.T) {
	e := sealed(t)
	e.Extensions["zone"] = "\x00\x1f\"\\/\u2028<&>\xff"
	var members map[string]any
	if err := json.Unmarshal(cloudevents.Append(nil, e), &members); err != nil {
		t.Fatal(err)
	}
	if want := "\x00\x1f\"\\/\u2028<&>\ufffd"; members["zone"] != want {
		t.Errorf("got %q, want %q", members["zone"], want)
	}
}
