package server

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// TestAppendedIsWhatItsTypeSays holds what is written by hand to the encoding
// of the type that describes it.
func TestAppendedIsWhatItsTypeSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z/.<>&"\\]{0,12}`))
		id := rapid.Custom(func(t *rapid.T) (id events.ID) {
			copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
			return id
		})
		event := rapid.Custom(func(t *rapid.T) (e events.Event) {
			e.ID, e.Kind, e.Stream = id.Draw(t, "id"), text.Draw(t, "kind"), text.Draw(t, "stream")
			e.Epoch, e.Position, e.StreamPosition = rapid.Uint32().Draw(t, "epoch"), rapid.Uint64().Draw(t, "position"), rapid.Uint64().Draw(t, "at")
			copy(e.Digest[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "digest"))
			if rapid.Bool().Draw(t, "outside") {
				e.Extensions = map[string]string{events.ExtOutsideID: text.Draw(t, "outside id")}
			}
			if rapid.Bool().Draw(t, "assigned") {
				e.Intent.ID = id.Draw(t, "intent")
			}
			e.Intent.Pending = rapid.Bool().Draw(t, "pending")
			return e
		})
		receipt := journal.Receipt{Duplicate: rapid.Bool().Draw(t, "duplicate"), Events: rapid.SliceOfN(event, 0, 4).Draw(t, "events")}
		want := Appended{Duplicate: receipt.Duplicate, Events: []Stored{}}
		for i := range receipt.Events {
			want.Events = append(want.Events, asStored(&receipt.Events[i]))
		}
		encoded, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendAppended(nil, receipt)); got != string(encoded)+"\n" {
			t.Fatalf("%s\n%s", got, encoded)
		}
	})
}
