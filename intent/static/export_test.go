package static

import "strings"

// Pieces returns the word pieces of a text, and the sum of their rows.
func Pieces(text string) (names []string, sum [width]int64) {
	t := load()
	lines := strings.Split(vocabulary, "\n")
	names = []string{}
	split(text, func(w []byte, _ bool) {
		for _, row := range t.pieces(nil, w) {
			names = append(names, lines[row])
			add(&sum, row)
		}
	})
	return names, sum
}
