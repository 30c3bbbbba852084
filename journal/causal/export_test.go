package causal

// Queue lets tests see how much a queue holds.
type Queue struct{ q queue }

// NewQueue returns an empty queue; notes are merged by taking the smaller.
func NewQueue(up, notes bool) *Queue {
	q := &Queue{queue{up: up}}
	if notes {
		q.q.merge = func(old, new uint32) uint32 { return min(old, new) }
	}
	return q
}

func (q *Queue) Add(position uint64, note uint32) { q.q.add(position, note) }
func (q *Queue) Take() (uint64, uint32)           { return q.q.take() }

// Blocks returns how many blocks are held.
func (q *Queue) Blocks() int { return len(q.q.blocks) }

// BlockBits is how many positions a block stands for.
const BlockBits = blockBits
