package static

import (
	_ "embed"
	"strings"
	"sync"
	"unicode/utf8"
)

// The table: a row of 256 numbers for each word piece. Number j of row i is
// q8[256 i + j], as int8, times scale i, a little-endian uint16; a factor that
// all rows have in common does not matter. The line of a piece in the
// vocabulary, from 0, is its row.
var (
	//go:embed table.vocab
	vocabulary string
	//go:embed table.q8
	rows string
	//go:embed table.scale
	scales string
)

// width is the length of a row.
const width = 256

// table finds rows by piece.
type table struct {
	first   map[string]int32 // pieces that begin a word
	rest    map[string]int32 // pieces that continue one, without their ##
	unknown int32
	longest int // piece, in bytes
}

var load = sync.OnceValue(func() *table {
	t := &table{first: make(map[string]int32, 25_000), rest: make(map[string]int32, 6_000)}
	n := int32(0)
	for line := range strings.Lines(vocabulary) {
		piece := strings.TrimSuffix(line, "\n")
		if tail, ok := strings.CutPrefix(piece, "##"); ok && tail != "" {
			t.rest[tail] = n
		} else {
			t.first[piece] = n
		}
		t.longest = max(t.longest, len(piece))
		n++
	}
	t.unknown = t.first["[UNK]"]
	if len(rows) != int(n)*width || len(scales) != int(n)*2 {
		panic("intent/static: the table and its vocabulary are of different lengths")
	}
	return t
})

// maxWord is how many characters a word may have to be looked up.
const maxWord = 100

// pieces appends the rows of a word: the longest pieces from the left, or the
// unknown piece alone if that does not come out even.
func (t *table) pieces(dst []int32, word []byte) []int32 {
	if len(word) > maxWord && utf8.RuneCount(word) > maxWord {
		return append(dst, t.unknown)
	}
	start := len(dst)
	from := t.first
	for i := 0; i < len(word); from = t.rest {
		end := min(len(word), i+t.longest)
		for ; end > i; end-- {
			if end < len(word) && !utf8.RuneStart(word[end]) {
				continue
			}
			if row, ok := from[string(word[i:end])]; ok {
				dst = append(dst, row)
				break
			}
		}
		if end == i {
			return append(dst[:start], t.unknown)
		}
		i = end
	}
	return dst
}

// add adds a row to sum.
func add(sum *[width]int64, row int32) {
	scale := int64(scales[2*row]) | int64(scales[2*row+1])<<8
	r := rows[int(row)*width:][:width]
	for i := range sum {
		sum[i] += int64(int8(r[i])) * scale
	}
}
