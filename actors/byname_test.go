package actors_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

func TestByName(t *testing.T) {
	j := memory(t)
	stock, seen := newStock(nil), counter()
	r := actors.NewRegistry(stock, seen)
	sys, err := actors.Start(j, r, actors.Options{})
	must(t, err)
	defer stopOK(t, sys)

	described := map[string]int{}
	for _, d := range r.Describe() {
		described[d.Behaviour] = len(d.Reacts)
	}
	if n, ok := described["stock/1"]; !ok || n != 0 || described[seen.Name+"/1"] == 0 || len(described) != 3 {
		t.Errorf("described %v", described)
	}

	command := func(key, payload string, opts ...actors.CommandOption) (actors.Outcome, error) {
		return sys.Command(within(t), key, "apples", events.Draft{Kind: "stock.add", ContentType: events.ContentTypeJSON, Payload: []byte(payload)}, opts...)
	}
	id := journal.NewID()
	out, err := command("stock/1", `{"N":5}`, actors.WithCommandID(id))
	if err != nil || len(out.Events) != 1 || out.Duplicate {
		t.Fatalf("%+v, %v", out, err)
	}
	if again, err := command("stock/1", `{"N":5}`, actors.WithCommandID(id)); err != nil || !again.Duplicate {
		t.Errorf("the same command again: %+v, %v", again, err)
	}
	middle := j.Position()
	if _, err := command("stock/1", `{"N":2}`); err != nil {
		t.Fatal(err)
	}

	for _, bad := range []struct{ key, payload string }{{"stock/1", `nonsense`}, {seen.Name + "/1", `{}`}} {
		if _, err := command(bad.key, bad.payload); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("%v: %v, want it refused", bad, err)
		}
	}
	if _, err := command("stock/9", `{}`); !errors.Is(err, actors.ErrUnknownBehaviour) {
		t.Errorf("%v", err)
	}
	if err := sys.Spawn("stock/9", "pears"); !errors.Is(err, actors.ErrUnknownBehaviour) {
		t.Errorf("%v", err)
	}

	for _, at := range []struct {
		position uint64
		free     int
	}{{middle, 5}, {j.Position(), 7}} {
		f, err := actors.StateAt(within(t), j, r, "apples", at.position)
		var s Stock
		if err != nil || json.Unmarshal(f.State, &s) != nil || s.Free != at.free || f.Behaviour != "stock/1" || f.Position != at.position {
			t.Errorf("at %d: %+v %s, %v", at.position, f, f.State, err)
		}
	}
	if _, err := actors.StateAt(within(t), j, r, "nobody", 9); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("%v", err)
	}
	must(t, sys.Spawn(seen.Name+"/1", "watcher"))
	settle(t, sys)
	names := map[string]string{}
	for _, i := range sys.Agents() {
		names[i.Name] = i.Behaviour
	}
	if names["watcher"] != seen.Name+"/1" || names["apples"] != "stock/1" {
		t.Errorf("live: %v", names)
	}
}
