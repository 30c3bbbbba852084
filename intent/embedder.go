package intent

import "context"

// Embedder computes embeddings of texts. It may be used by several goroutines
// at a time.
//
// What it answers goes into a journal with the event and is never computed
// again, so it need not give the same answer for ever; the same Name has to
// stand for vectors that can be compared.
type Embedder interface {
	// Name identifies the model. Vectors of two names point into different
	// spaces and must not be mixed in one journal.
	Name() string

	// Dimension is the length of every vector.
	Dimension() int

	// Embed returns one vector for each text, in order: of Dimension finite
	// numbers that are not all zero, or nil for a text that means nothing to
	// the model. With an error it returns nothing.
	Embed(ctx context.Context, texts []string) ([][]float32, error)
}
