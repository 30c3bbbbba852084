package server_test

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// vector is the text of an embedding at an angle between two directions, in
// degrees.
func vector(degrees float64) string {
	b := make([]byte, 16)
	binary.LittleEndian.PutUint32(b, math.Float32bits(float32(math.Cos(degrees*math.Pi/180))))
	binary.LittleEndian.PutUint32(b[4:], math.Float32bits(float32(math.Sin(degrees*math.Pi/180))))
	return `,"tokaembedding":"` + base64.StdEncoding.EncodeToString(b) + `"`
}

type listedIntents struct {
	Total   int
	Intents []server.Intent
}

// TestIntentsOverHTTP lists, shows, explains, merges and splits intents, and
// lists them as they were.
func TestIntentsOverHTTP(t *testing.T) {
	r := startOn(t, server.Options{}, journal.Options{NewIntents: func(_ string, d int) intent.Strategy {
		return cluster.NewTwoPhase(cluster.Layered{Dimension: d})
	}})
	for i, degrees := range []float64{0, 1, 90, 91, 89} {
		if a := r.post(cloud("s", string(rune('a'+i)), "said", vector(degrees))); a.status != 201 {
			t.Fatal(a)
		}
	}
	r.post(cloud("s", "mute", "said", ""))
	list := func(query string) (l listedIntents) {
		t.Helper()
		for {
			r.do("GET", "/v1/intents"+query, "").decode(t, &l)
			n := uint64(0)
			for _, i := range l.Intents {
				n += i.Events
			}
			if n >= 5 || query != "" { // they are assigned behind the appends
				return l
			}
			l = listedIntents{}
		}
	}
	before := list("")
	if before.Total != 2 || before.Intents[0].Events != 3 || before.Intents[1].Events != 2 || before.Intents[1].First != "1-1" {
		t.Fatalf("%+v", before)
	}
	big, small := before.Intents[0].ID, before.Intents[1].ID
	if got := r.list("?intent=" + small).ids(); got != "ab" {
		t.Errorf("events of the intent: %q", got)
	}
	if l := list("?limit=1"); l.Total != 2 || len(l.Intents) != 1 {
		t.Errorf("%+v", l)
	}
	if l := list("?at=2"); l.Total != 1 || l.Intents[0].Events != 2 {
		t.Errorf("as of position 2: %+v", l)
	}

	var why server.IntentReason
	r.do("GET", "/v1/events/b/intent?nearest=2", "").decode(t, &why)
	if why.Intent != small || why.Similarity < 0.9 || len(why.Nearest) != 2 || why.Nearest[0].Intent != small || why.Strategy == "" {
		t.Errorf("%+v", why)
	}
	r.do("GET", "/v1/events/mute/intent", "").refusal(t, 404, "not-found")

	one := func(id string) (changes string) {
		t.Helper()
		var out struct {
			server.Intent
			Changes []server.IntentChange `json:"changes"`
		}
		r.do("GET", "/v1/intents/"+id, "").decode(t, &out)
		for _, c := range out.Changes {
			changes += c.What
			if c.ByHand {
				changes += " by hand"
			}
			changes += " "
		}
		return out.ID + " " + strings.TrimSpace(changes)
	}
	if got := one(big); !strings.HasPrefix(got, big+" created") {
		t.Error(got)
	}

	json := []string{"Content-Type", "application/json"}
	r.do("POST", "/v1/intents/"+small+"/merge", `{"into":"`+small+`"}`, json...).refusal(t, 409, "same-intent")
	r.do("POST", "/v1/intents/"+small+"/split", "").refusal(t, 409, "one-part")
	r.do("GET", "/v1/intents/01890000-0000-7000-8000-000000000000", "").refusal(t, 404, "not-found")
	r.do("GET", "/v1/intents/nonsense", "").refusal(t, 422, "invalid")
	r.do("GET", "/v1/intents?at=99", "").refusal(t, 410, "cursor")
	var done struct {
		Event  server.Stored
		Intent string
	}
	r.do("POST", "/v1/intents/"+small+"/merge", `{"into":"`+big+`"}`, json...).decode(t, &done)
	if done.Intent != big || done.Event.Stream != journal.StreamIntents {
		t.Errorf("%+v", done)
	}
	if l := list(""); l.Total != 1 || l.Intents[0].Events != 5 || l.Intents[0].Parts < 2 {
		t.Errorf("after the merge: %+v", l)
	}
	if l := list("?at=6"); l.Total != 2 {
		t.Errorf("as it was before the merge: %+v", l)
	}
	if got := one(small); !strings.Contains(got, big) || !strings.Contains(got, "merged by hand") {
		t.Errorf("by its old name: %s", got)
	}
	r.do("POST", "/v1/intents/"+big+"/split", "").decode(t, &done)
	if l := list(""); l.Total != 2 || done.Intent == big {
		t.Errorf("after the split: %+v, %+v", l, done)
	}

	// Intents are made of all events, so a token of patterns sees none of them.
	_, text := r.token(auth.Token{Name: "some", Scopes: []auth.Scope{auth.Read}, Streams: []string{"s"}})
	some := r.withToken(text)
	some.do("GET", "/v1/intents", "").refusal(t, 403, "scope")
	some.do("GET", "/v1/intents/"+big, "").refusal(t, 403, "scope")
	some.do("GET", "/v1/events/b/intent", "").refusal(t, 403, "scope")
	some.do("POST", "/v1/intents/"+big+"/split", "").refusal(t, 403, "scope")
	_, text = r.token(auth.Token{Name: "reader", Scopes: []auth.Scope{auth.Read, auth.Append}})
	r.withToken(text).do("POST", "/v1/intents/"+big+"/split", "").refusal(t, 403, "scope")
}

// TestConsumersByMeaningAndIntentOverHTTP hands out what a filter by intent and by
// meaning selects, and shows the filter.
func TestConsumersByMeaningAndIntentOverHTTP(t *testing.T) {
	r := startOn(t, server.Options{}, journal.Options{NewIntents: func(_ string, d int) intent.Strategy {
		return cluster.NewLeader(cluster.Options{Dimension: d})
	}})
	for i, degrees := range []float64{0, 90, 10} {
		if a := r.post(cloud("s", string(rune('a'+i)), "said", vector(degrees))); a.status != 201 {
			t.Fatal(a)
		}
	}
	e, err := r.j.At(t.Context(), 1)
	if err != nil || e.Intent.ID.IsZero() {
		t.Fatal(e.Intent, err)
	}
	v, err := intent.Quantize([]float32{0, 1, 0, 0}, 4)
	if err != nil {
		t.Fatal(err)
	}
	like := base64.RawURLEncoding.EncodeToString(v.Bytes())
	if info := r.create(`{"name":"of","intent":"` + e.Intent.ID.String() + `"}`); info.Intent != e.Intent.ID.String() {
		t.Errorf("%+v", info)
	}
	if info := r.create(`{"name":"like","like":"` + like + `","min":0.9}`); info.Like != like || info.Min != 0.9 {
		t.Errorf("%+v", info)
	}
	if got := r.fetch("of", "?limit=9"); got.String() != "1/1 3/1" {
		t.Errorf("by intent: %s", got)
	}
	if got := r.fetch("like", "?limit=9"); got.String() != "2/1" {
		t.Errorf("by meaning: %s", got)
	}
	r.post(cloud("s", "d", "said", vector(5)))
	if got := r.fetch("of", "?wait=10s"); got.String() != "4/1" {
		t.Errorf("by intent, what comes: %s", got)
	}
	for _, bad := range []string{`"intent":"x"`, `"intent":"01890000-0000-7000-8000-00000000000X"`, `"min":0.5`, `"like":"` + like + `","min":2`} {
		a := r.do("POST", "/v1/consumers", `{"name":"x",`+bad+`}`, "Content-Type", "application/json")
		a.refusal(t, 422, "invalid")
	}
	a := r.do("POST", "/v1/consumers", `{"name":"x","like":"AAAA"}`, "Content-Type", "application/json")
	a.refusal(t, 400, "like-malformed")

	// After a change, a vector is compared with what is of its model.
	if _, err := r.j.ChangeModel(t.Context(), journal.Model{Name: "two", Dimension: 4}); err != nil {
		t.Fatal(err)
	}
	r.post(cloud("s", "e", "said", vector(90)))
	for name, want := range map[string]string{"": "e", "&model=two": "e", "&model=unnamed": "b"} {
		if got := r.list("?min=0.9&like=" + like + name).ids(); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	if info := r.create(`{"name":"unnamed","like":"` + like + `","min":0.9,"model":"unnamed"}`); info.Model != "unnamed" {
		t.Errorf("%+v", info)
	}
	if got := r.fetch("unnamed", "?limit=9"); got.String() != "2/1" {
		t.Errorf("by the model before: %s", got)
	}
	r.do("GET", "/v1/events?model=never&like="+like, "").refusal(t, 409, "model")
	a = r.do("POST", "/v1/consumers", `{"name":"y","model":"two"}`, "Content-Type", "application/json")
	a.refusal(t, 422, "invalid")
}

// TestBadVectorsOverHTTP refuses each with a word, stores nothing of the request
// and goes on.
func TestBadVectorsOverHTTP(t *testing.T) {
	r := startOn(t, server.Options{}, journal.Options{NewIntents: func(_ string, d int) intent.Strategy {
		return cluster.NewLeader(cluster.Options{Dimension: d})
	}})
	of := func(numbers ...float32) string {
		var b []byte
		for _, x := range numbers {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		return `,"tokaembedding":"` + base64.StdEncoding.EncodeToString(b) + `"`
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	bad := map[string]string{
		"zero": of(0, 0, 0, 0), "NaN": of(1, nan, 1, 1), "infinite": of(inf, 1, 1, 1), "minus infinite": of(1, 1, 1, -inf),
		"huge": of(slices.Repeat([]float32{1}, 1<<16+1)...), "no floats": `,"tokaembedding":"AAAA"`, "empty": `,"tokaembedding":""`,
	}
	for round := range 2 { // before a first vector, and after
		for name, v := range bad {
			for _, body := range []string{cloud("s", "bad", "said", v), "[" + cloud("s", "good", "said", "") + "," + cloud("s", "bad", "said", v) + "]"} {
				a := r.post(body)
				if a.status != 422 && a.status != 400 || !strings.Contains(a.body, "embedding") {
					t.Errorf("%s: %d %s", name, a.status, a.body)
				}
			}
		}
		if round == 0 {
			if a := r.post(cloud("s", "first", "said", of(1, 2, 3, 4))); a.status != 201 {
				t.Fatal(a)
			}
			bad["short"], bad["long"] = of(1, 2, 3), of(1, 2, 3, 4, 5)
		}
	}
	if r.j.Position() != 1 || r.j.IntentError() != nil {
		t.Errorf("%d events, %v", r.j.Position(), r.j.IntentError())
	}
	if a := r.post(cloud("s", "after", "said", of(4, 3, 2, 1))); a.status != 201 {
		t.Error(a)
	}
}
