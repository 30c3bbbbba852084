package cloudevents_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/cloudevents"
)

func TestParseBatch(t *testing.T) {
	one := `{"specversion":"1.0","id":"1","source":"s","type":"a.b","data":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`
	two := strings.Replace(one, `"id":"1"`, `"id":"2"`, 1)
	for text, want := range map[string]int{
		`[]`:                               0,
		" [ ] ":                            0,
		"[" + one + "]":                    1,
		" [\n" + one + " ,\n" + two + "] ": 2,
	} {
		ins, err := cloudevents.ParseBatch([]byte(text), 2)
		if err != nil || len(ins) != want {
			t.Fatalf("%.40q: %d events, %v; want %d", text, len(ins), err, want)
		}
		for i, in := range ins {
			alone, err := cloudevents.Parse([]byte([]string{one, two}[i]))
			if err != nil || alone.Draft.ID != in.Draft.ID || string(alone.Draft.Payload) != string(in.Draft.Payload) {
				t.Errorf("%.40q: event %d is not what it is alone", text, i+1)
			}
		}
	}
	for text, reason := range map[string]string{
		``:                              "not a JSON array",
		`{}`:                            "not a JSON array",
		`[`:                             "it ends",
		`[,]`:                           "a value should stand here",
		"[" + one:                       "it ends inside the array",
		"[" + one + ",]":                "a value should stand here",
		"[" + one + one + "]":           "a comma or ]",
		"[" + one + "] x":               "more follows the array",
		"[" + one + `,{"id":"2"}]`:      "event 2: ",
		"[" + one + `,7]`:               "event 2: ",
		"[[" + one + "]]":               "event 1: ",
		"[" + one + "," + two + ",{} ]": "more than 2 events",
		"[\"\xff\"]":                    "not UTF-8 at byte 3",
	} {
		ins, err := cloudevents.ParseBatch([]byte(text), 2)
		if !errors.Is(err, events.ErrInvalid) || !strings.Contains(err.Error(), reason) || ins != nil {
			t.Errorf("%.40q: %v, want %q", text, err, reason)
		}
	}
}

func FuzzParseBatch(f *testing.F) {
	f.Add([]byte(`[{"specversion":"1.0","id":"1","source":"s","type":"a.b"},{}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ins, err := cloudevents.ParseBatch(b, 8)
		if err == nil && len(ins) > 8 {
			t.Errorf("%d events", len(ins))
		}
		for _, in := range ins {
			if err := in.Draft.Validate(); err != nil {
				t.Error(err)
			}
		}
	})
}
