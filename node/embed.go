package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/openai"
	"github.com/tokaworks/toka/intent/static"
)

// embedKey is where the key of a server of embeddings stands: an argument could
// be read by everybody on the machine.
const embedKey = "TOKA_EMBED_KEY"

// embedFlags choose what computes embeddings.
type embedFlags struct {
	from      string // none, static, or the URL of a server
	model     string
	dimension int
}

func (f *embedFlags) flags(c *cobra.Command, byDefault string) {
	c.Flags().StringVar(&f.from, "embed", byDefault, "what computes vectors of texts: none, static (built in), or the URL of a server with OpenAI's interface, as http://127.0.0.1:11434/v1; $"+embedKey+" is its key")
	c.Flags().StringVar(&f.model, "embed-model", "", "the model of the server")
	c.Flags().IntVar(&f.dimension, "embed-dimension", intent.DefaultDimension, "the dimension of the server's model")
}

// embedder returns what was chosen; nil for none.
func (a *app) embedder(f *embedFlags) (intent.Embedder, error) {
	switch f.from {
	case "none":
		return nil, nil
	case "static":
		return static.Embedder{}, nil
	}
	if !strings.Contains(f.from, "://") {
		return nil, usage("embed %q: use none, static or the URL of a server", clip(f.from))
	}
	if a.held != nil && a.held.incoming != nil && a.held.incoming.from == f.from {
		return a.held.incoming.embedder, nil
	}
	if a.held != nil {
		// The request would be the node's, from where it stands and with its key.
		return nil, usage("embed: a node serves this journal, and asks no other server for its clients; use static or none, or send events with their vectors")
	}
	e, err := openai.New(openai.Options{URL: f.from, Model: f.model, Dimension: f.dimension, Key: os.Getenv(embedKey)})
	if err != nil {
		return nil, usage("embed: %w", err)
	}
	return e, nil
}

// maxText is how many bytes of an event are embedded; more only blur what it
// means, and cost.
const maxText = 16 << 10

// textOf returns the text of a payload: itself, if it is text, or the texts in
// it, if it is JSON, in their order and without the names of members.
func textOf(contentType string, payload []byte) string {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	switch {
	case len(payload) == 0 || !utf8.Valid(payload):
		return ""
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		return textsIn(payload)
	case strings.HasPrefix(kind, "text/"):
		return clipText(string(payload))
	}
	return ""
}

// textsIn joins the strings in a JSON value. Those without a space and with a
// digit are left out where there are others: ids, digests and times say nothing
// of what an event means.
func textsIn(payload []byte) string {
	var words, all strings.Builder
	add := func(b *strings.Builder, s string) {
		if s != "" && b.Len() < maxText {
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(s)
		}
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var name []bool // for each level, whether a name of a member comes next; false in a list
	var object []bool
	for {
		t, err := d.Token()
		if err != nil {
			break
		}
		if delim, ok := t.(json.Delim); ok && (delim == '}' || delim == ']') {
			name, object = name[:len(name)-1], object[:len(object)-1]
			continue
		}
		top := len(name) - 1
		if top >= 0 && object[top] {
			isName := name[top]
			name[top] = !isName
			if isName {
				continue
			}
		}
		switch t := t.(type) {
		case json.Delim:
			name, object = append(name, t == '{'), append(object, t == '{')
		case string:
			t = strings.TrimSpace(t)
			add(&all, t)
			if strings.ContainsAny(t, " \t\n") || !strings.ContainsAny(t, "0123456789") {
				add(&words, t)
			}
		}
	}
	return clipText(cmp.Or(words.String(), all.String()))
}

func clipText(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") // without half of a character at the end
}

// wanting returns the drafts that have a text and no vector. What is under a
// subject key has none: it would say in the clear what the payload hides.
func wanting(drafts []*events.Draft) (texts []string, of []*events.Draft) {
	for _, d := range drafts {
		if len(d.Embedding) > 0 || d.SubjectKey != "" {
			continue
		}
		if text := textOf(d.ContentType, d.Payload); text != "" {
			texts, of = append(texts, text), append(of, d)
		}
	}
	return texts, of
}

// embed gives drafts without a vector one of their text. It returns how many got
// one, how many have text and did not, and why the first of those did not. It
// never fails: an event without a vector is an event.
func embed(ctx context.Context, e intent.Embedder, drafts []*events.Draft) (done, without int, reason error) {
	texts, of := wanting(drafts)
	if len(texts) == 0 {
		return 0, 0, nil
	}
	take := func(texts []string, of []*events.Draft) error {
		vectors, err := e.Embed(ctx, texts)
		if err == nil && len(vectors) != len(texts) {
			err = fmt.Errorf("%w: %d vectors for %d texts", intent.ErrEmbedding, len(vectors), len(texts))
		}
		if err != nil {
			return err
		}
		for i, v := range vectors {
			if v == nil {
				continue // nothing to say, or nothing that the model knows
			}
			if _, err := intent.Quantize(v, e.Dimension()); err != nil {
				without++
				reason = cmp.Or(reason, err)
				continue
			}
			of[i].Embedding, of[i].EmbeddingModel = v, e.Name()
			done++
		}
		return nil
	}
	err := take(texts, of)
	switch {
	case err == nil:
		return done, without, reason
	case errors.Is(err, intent.ErrEmbedding) && len(texts) > 1:
		// One of them is to blame; the others need not suffer for it. If the
		// first is as bad alone, then so may all be.
		for i := range texts {
			if one := take(texts[i:i+1], of[i:i+1]); one != nil {
				reason = cmp.Or(reason, one)
				if without++; without > 3 && done == 0 {
					without = len(texts)
					break
				}
			}
		}
		return done, without, reason
	}
	return 0, len(texts), err
}
