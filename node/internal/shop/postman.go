package shop

import (
	"context"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/supervisor"
)

// The events of the postman, and the input of its timer.
type (
	// LetterSent : the customer was thanked; the post gave the letter a number.
	LetterSent struct {
		Order  string `json:"order"`
		Number string `json:"number"`
	}
	// LetterDue : it is time to put the copy away.
	LetterDue struct {
		Order string `json:"order"`
	}
	// LetterFiled : that was done.
	LetterFiled struct {
		Order string `json:"order"`
	}
)

// The codecs of these.
var (
	LetterSentType  = events.NewType[LetterSent]("letter.sent", 1)
	LetterDueType   = events.NewType[LetterDue]("letter.due", 1)
	LetterFiledType = events.NewType[LetterFiled]("letter.filed", 1)
)

// Post is the world outside: it sends a letter and gives it a number. Whoever
// sends the letter of a key again gets the number that it has.
type Post func(ctx context.Context, call actors.EffectCall) (number string, err error)

// OpenPost is a post that is always open.
func OpenPost(_ context.Context, call actors.EffectCall) (string, error) {
	return call.Key.Short(), nil
}

// KeepLetters is how long the copy of a letter is kept.
const KeepLetters = 20 * time.Millisecond

// NewPostman returns the behaviour of the agent that thanks customers: for each
// parcel that was delivered it has a letter sent, which happens once, and sets
// a timer to put the copy away.
func NewPostman(post Post) *actors.Agent[struct{}] {
	return &actors.Agent[struct{}]{
		Name: "demo.postman", Version: 1, On: []string{"parcel.delivered", "letter.due"},
		React: func(t *actors.Turn, _ struct{}, e events.Event) error {
			if due, err := LetterDueType.Decode(e); err == nil {
				return actors.Emit(t, LetterFiledType, LetterFiled(due))
			}
			parcel, err := ParcelDeliveredType.Decode(e)
			if err != nil {
				return err
			}
			number, err := actors.Do(t, "send letter", actors.EffectPolicy{
				InDoubt: actors.RetryInDoubt, Backoff: supervisor.Backoff{Initial: time.Millisecond},
			}, post)
			if err != nil {
				return err
			}
			if err := actors.SetTimer(t, LetterDueType, parcel.Order, t.Now().Add(KeepLetters), LetterDue{parcel.Order}); err != nil {
				return err
			}
			return actors.Emit(t, LetterSentType, LetterSent{parcel.Order, number})
		},
	}
}
