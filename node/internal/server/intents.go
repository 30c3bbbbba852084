package server

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// Intent is what is known of an intent.
type Intent struct {
	ID      string `json:"id"`
	Events  uint64 `json:"events" doc:"How many have it"`
	Parts   int    `json:"parts" doc:"Groups that it is made of"`
	First   string `json:"first" doc:"Cursor of its first event"`
	Last    string `json:"last" doc:"Cursor of its last event"`
	Retired bool   `json:"retired,omitempty" doc:"Nothing like it has come for long"`
}

// IntentChange is something that happened to an intent or a part of one.
type IntentChange struct {
	Cursor string  `json:"cursor" doc:"Of the event that it came with"`
	What   string  `json:"what" enum:"created,moved,merged,split,retired,calibrated"`
	ByHand bool    `json:"by_hand,omitempty"`
	Intent string  `json:"intent,omitempty"`
	Into   string  `json:"into,omitempty"`
	Value  float64 `json:"value,omitempty" doc:"calibrated: the threshold"`
}

// IntentReason says why an event has its intent.
type IntentReason struct {
	Event      string         `json:"event"`
	Intent     string         `json:"intent" doc:"That it has now"`
	Strategy   string         `json:"strategy,omitempty"`
	Assigned   string         `json:"assigned" doc:"The intent that it got when it came"`
	Part       string         `json:"part" doc:"The part of it"`
	Similarity float64        `json:"similarity" doc:"Cosine to the middle of the part before it joined; 1 for what founded it"`
	Chosen     float64        `json:"chosen,omitempty" doc:"The threshold that the strategy had chosen by then"`
	Since      []IntentChange `json:"since" doc:"What led from assigned to intent"`
	Threshold  float64        `json:"threshold,omitempty" doc:"The cosine that it takes now to join a part"`
	Nearest    []NearPart     `json:"nearest" doc:"The parts that are the nearest now"`
}

// NearPart is a part near to an event.
type NearPart struct {
	Intent     string  `json:"intent"`
	Part       string  `json:"part,omitempty"`
	Similarity float64 `json:"similarity"`
	Events     uint64  `json:"events"`
}

type intentsInput struct {
	At    string `query:"at" doc:"As they were after the event at this cursor; without it, now" maxLength:"64"`
	Limit int    `query:"limit" doc:"At most so many, the largest first" minimum:"1" maximum:"10000" default:"1000"`
}

type intentsOutput struct {
	Body struct {
		Total   int      `json:"total" doc:"How many there are"`
		Intents []Intent `json:"intents" doc:"The largest first"`
	}
}

type intentInput struct {
	Intent string `path:"intent" doc:"An id, also of a part or of what was merged" maxLength:"36" format:"uuid"`
}

type intentOutput struct {
	Body struct {
		Intent
		Changes []IntentChange `json:"changes" doc:"What happened to it, but for moves of single parts"`
	}
}

type whyInput struct {
	ID      string `path:"id" maxLength:"256"`
	Nearest int    `query:"nearest" doc:"Name so many of the nearest parts" minimum:"1" maximum:"1000" default:"5"`
}

type whyOutput struct{ Body IntentReason }

type mergeInput struct {
	Intent string `path:"intent" maxLength:"36" format:"uuid"`
	Body   struct {
		Into string `json:"into" doc:"The intent that it becomes a part of" maxLength:"36" format:"uuid"`
	}
}

type orderedOutput struct {
	Body struct {
		Event  Stored `json:"event" doc:"That says so, in the stream $intents"`
		Intent string `json:"intent" doc:"That came of it: the one merged into, or the new one that was split off"`
	}
}

func (s *Server) intentRoutes() {
	op := func(method, path, id, summary, doc string) huma.Operation {
		return huma.Operation{Method: method, Path: path, OperationID: id, Tags: []string{"intents"}, Summary: summary, Description: doc}
	}
	operation(s, auth.Read, op(http.MethodGet, "/v1/intents", "list-intents", "What events mean, by intent, now or at a cursor",
		"Read the events of one with /v1/events?intent=. A token needs every stream and kind: intents are made of all events."), s.intents)
	operation(s, auth.Read, op(http.MethodGet, "/v1/intents/{intent}", "get-intent", "One intent and what happened to it", ""), s.intent)
	operation(s, auth.Read, op(http.MethodGet, "/v1/events/{id}/intent", "explain-intent", "Why an event has its intent",
		"Answers 404 also for an event that has none."), s.explainIntent)
	operation(s, auth.Admin, op(http.MethodPost, "/v1/intents/{intent}/merge", "merge-intent", "Make one intent a part of another",
		"It is an event in the stream $intents. What was before stays readable with at."), s.mergeIntent)
	operation(s, auth.Admin, op(http.MethodPost, "/v1/intents/{intent}/split", "split-intent", "Divide an intent in two",
		"Of its parts, those go to a new intent that are the least like the rest; one of a single part is not divided. It is an event in the stream $intents."), s.splitIntent)
}

// everything asks for a token that no pattern limits.
func everything(ctx context.Context) error {
	if who := principal(ctx); !who.Everything() {
		return problem(http.StatusForbidden, "scope", "intents are made of all events, and token "+who.Name+" does not cover all")
	}
	return nil
}

func (s *Server) intents(ctx context.Context, n *Node, in *intentsInput) (*intentsOutput, error) {
	if err := everything(ctx); err != nil {
		return nil, err
	}
	at := n.Journal.Position()
	if in.At != "" {
		var err error
		if at, err = position(n.Journal, in.At); err != nil {
			return nil, err
		}
	}
	all, err := n.Journal.IntentsAt(ctx, at)
	if err != nil {
		return nil, err
	}
	var out intentsOutput
	out.Body.Total, out.Body.Intents = len(all), []Intent{}
	for i := range all[:min(len(all), in.Limit)] {
		out.Body.Intents = append(out.Body.Intents, asIntent(n.Journal, &all[i]))
	}
	return &out, nil
}

func (s *Server) intent(ctx context.Context, n *Node, in *intentInput) (*intentOutput, error) {
	info, err := n.intentOf(ctx, in.Intent)
	if err != nil {
		return nil, err
	}
	var out intentOutput
	out.Body.Intent, out.Body.Changes = asIntent(n.Journal, &info), []IntentChange{}
	for c, err := range n.Journal.IntentChanges(ctx, 0) {
		if err != nil {
			return nil, err
		}
		if (c.Intent == info.ID || c.Into == info.ID) && c.Kind != intent.Moved {
			out.Body.Changes = append(out.Body.Changes, asChange(n.Journal, &c))
		}
	}
	return &out, nil
}

func (s *Server) explainIntent(ctx context.Context, n *Node, in *whyInput) (*whyOutput, error) {
	if err := everything(ctx); err != nil {
		return nil, err
	}
	e, err := s.visible(ctx, n, in.ID)
	if err != nil {
		return nil, err
	}
	x, err := n.Journal.ExplainIntent(ctx, e.Position, in.Nearest)
	if err != nil {
		return nil, err
	}
	out := IntentReason{
		Event: e.ID.String(), Intent: x.Intent.String(), Strategy: x.Strategy, Assigned: x.Assigned.String(), Part: x.Part.String(),
		Similarity: x.Similarity, Chosen: x.Chosen, Since: []IntentChange{}, Threshold: x.Now.Threshold, Nearest: []NearPart{},
	}
	for i := range x.Since {
		out.Since = append(out.Since, asChange(n.Journal, &x.Since[i]))
	}
	for _, p := range x.Now.Nearest {
		out.Nearest = append(out.Nearest, NearPart{p.Intent.String(), idText(p.Part), p.Similarity, p.Members})
	}
	return &whyOutput{out}, nil
}

func (s *Server) mergeIntent(ctx context.Context, n *Node, in *mergeInput) (*orderedOutput, error) {
	if err := s.room(); err != nil {
		return nil, err
	}
	from, err := n.intentOf(ctx, in.Intent)
	if err != nil {
		return nil, err
	}
	into, err := n.intentOf(ctx, in.Body.Into)
	if err != nil {
		return nil, err
	}
	if from.ID == into.ID {
		return nil, problem(http.StatusConflict, "same-intent", fmt.Sprintf("both stand for the intent %s already", into.ID))
	}
	e, err := n.Journal.MergeIntents(ctx, from.ID, into.ID)
	return ordered(&e, into.ID), err
}

func (s *Server) splitIntent(ctx context.Context, n *Node, in *intentInput) (*orderedOutput, error) {
	if err := s.room(); err != nil {
		return nil, err
	}
	info, err := n.intentOf(ctx, in.Intent)
	if err != nil {
		return nil, err
	}
	if info.Parts < 2 {
		return nil, problem(http.StatusConflict, "one-part", fmt.Sprintf("intent %s is of one part, which is not divided", info.ID))
	}
	split, e, err := n.Journal.SplitIntent(ctx, info.ID)
	return ordered(&e, split), err
}

// intentOf finds an intent by any of its names, for who may see them all.
func (n *Node) intentOf(ctx context.Context, name string) (found journal.IntentSummary, err error) {
	if err := everything(ctx); err != nil {
		return found, err
	}
	id, err := events.ParseID(name)
	if err != nil {
		return found, err
	}
	id = n.Journal.ResolveIntent(id)
	all, err := n.Journal.IntentsAt(ctx, n.Journal.Position())
	if err != nil {
		return found, err
	}
	for i := range all {
		if all[i].ID == id {
			return all[i], nil
		}
	}
	return found, fmt.Errorf("intent %s: %w", id, journal.ErrNotFound)
}

func ordered(e *events.Event, id events.ID) *orderedOutput {
	var out orderedOutput
	out.Body.Event, out.Body.Intent = asStored(e), id.String()
	return &out
}

func asIntent(j *journal.Journal, i *journal.IntentSummary) Intent {
	at := func(p uint64) string { return journal.Cursor{Epoch: j.Epoch(), Position: p}.String() }
	return Intent{ID: i.ID.String(), Events: i.Events, Parts: i.Parts, First: at(i.First), Last: at(i.Last), Retired: i.Retired}
}

func asChange(j *journal.Journal, c *journal.IntentChange) IntentChange {
	return IntentChange{
		Cursor: journal.Cursor{Epoch: j.Epoch(), Position: c.Position}.String(), What: c.Kind.String(), ByHand: c.ByHand,
		Intent: idText(c.Intent), Into: idText(c.Into), Value: c.Value,
	}
}

// idText is an id as text, empty where there is none.
func idText(id events.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}
