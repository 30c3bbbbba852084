package journal_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
)

// What consumers had of events that are lost is dropped when the loss is
// accepted, and named: the events that stand at those positions later are
// others, and are delivered as such.
func TestAcceptedLossAndConsumers(t *testing.T) {
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 30)
	set, err := consumer.Open(j)
	if err != nil {
		t.Fatal(err)
	}
	c, err := set.Create(t.Context(), consumer.Config{Name: "mailer", Query: journal.Query{Stream: "s"}, AckWait: time.Millisecond, MaxDeliver: 1000})
	if err != nil {
		t.Fatal(err)
	}
	ds, err := c.Fetch(t.Context(), 30)
	if err != nil || len(ds) != 30 {
		t.Fatalf("%d deliveries, %v", len(ds), err)
	}
	if err := c.Ack(t.Context(), ds[:15]...); err != nil {
		t.Fatal(err)
	}
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.LogDB().Delete(journal.PositionKey('e', 21), nil); err != nil {
		t.Fatal(err)
	}
	closeOK(t, j)

	var said bytes.Buffer
	o := on(d.Volume())
	o.Logger = slog.New(slog.NewTextHandler(&said, nil))
	a, err := journal.AcceptLoss(markedDir, o)
	if err != nil || a.Position != 20 || a.SetBack != 1 || !strings.Contains(said.String(), "checkpoint=$consumer.at/mailer position=30 to=20") {
		t.Fatalf("%+v, %v\n%s", a, err, &said)
	}

	j = open(t, markedDir, on(d.Volume()))
	addN(t, j, "new", 2)
	addN(t, j, "s", 3)
	if set, err = consumer.Open(j); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	if c, err = set.Get("mailer"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	var got []string
	for len(got) < 8 {
		ds, err := c.Fetch(ctx, 100)
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		for _, d := range ds {
			again := ""
			if d.Attempt > 1 {
				again = " again"
			}
			got = append(got, fmt.Sprint(d.Event.Position, again))
		}
		if err := c.Ack(ctx, ds...); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(got)
	if want := []string{"16 again", "17 again", "18 again", "19 again", "20 again", "23", "24", "25"}; !slices.Equal(got, want) {
		t.Errorf("delivered %q, want %q", got, want)
	}
}

// At level os a power cut may take what was acknowledged and noted outside: the
// journal is refused, naming it, until somebody accepts that.
func TestPowerCutAtLevelOS(t *testing.T) {
	d := disktest.New()
	o := on(d.Volume())
	o.Level = journal.LevelOS
	j := open(t, markedDir, o)
	es := addN(t, j, "s", 5)
	closeOK(t, j)
	j = open(t, markedDir, o)
	es = append(es, addN(t, j, "s", 25)...)
	// The mark is synced, the events are not.
	cut := d.PowerCut(0, 1)
	for !strings.Contains(markOf(t, cut.Volume().FS), "\nposition 30\n") {
		if _, err := j.Head(t.Context()); err != nil { // something to do until then
			t.Fatal(err)
		}
		cut = d.PowerCut(0, 1)
	}
	lostAt(t, cut.Volume(), "to 30 are missing", "restore --accept-loss")
	o.Volume = cut.Volume()
	a, err := journal.AcceptLoss(markedDir, o)
	if err != nil || a.Epoch != 2 || a.Position >= 30 {
		t.Fatalf("%+v, %v", a, err)
	}
	k := open(t, markedDir, o)
	sameEvents(t, "what is left", everything(t, k), es[:a.Position])
	addN(t, k, "s", 3)
	verified(t, k)
}
