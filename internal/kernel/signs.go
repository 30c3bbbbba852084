package kernel

import "math/bits"

// MaxSigned is the largest component of a Signed query.
const MaxSigned = 1<<(planes-1) - 1

// planes is how many bits a component of a Signed query has.
const planes = 5

// Signed is a vector of small numbers in the form in which it is added up with
// the signs of others: bit b of every component in plane b, in two's complement.
type Signed struct {
	words  int
	planes []uint64
}

// Set makes q the vector. No component may be beyond MaxSigned either way.
func (x *Signed) Set(q []int8) {
	x.words = (len(q) + 63) / 64
	if n := planes * x.words; len(x.planes) != n {
		x.planes = make([]uint64, n)
	}
	for b := range planes {
		bitsOf(x.planes[b*x.words:][:x.words], q, b)
	}
}

// bitsOf sets dst to one bit of each component, from the lowest bit of the first
// word up.
func bitsOf(dst []uint64, q []int8, bit int) {
	done := 0
	if n := len(q) &^ 63; use.avx2 && n > 0 {
		bits8AVX2(&dst[0], &q[0], n, 7-bit)
		done = n
	}
	clear(dst[done/64:])
	for i, c := range q[done:] {
		dst[(done+i)/64] |= uint64(uint8(c)>>bit&1) << (i % 64)
	}
}

// Signs sets a bit for each component below 0, from the lowest bit of the first
// word up. There must be a word for each 64 components, begun or whole.
func Signs(dst []uint64, row []int8) {
	bitsOf(dst, row, 7)
}

// ScanSigns sets out[i] to the sum of the query's components whose bits are set
// in the i-th row of as many words.
func ScanSigns(out []int32, rows []uint64, x *Signed) {
	rows = rows[:len(out)*x.words]
	done := 0
	if n := len(out) &^ 3; use.popcnt && x.words == 12 && n > 0 {
		scanSigns12VPOPCNT(&out[0], &rows[0], &x.planes[0], n)
		done = n
	}
	for i := done; i < len(out); i++ {
		row := rows[i*x.words:][:x.words]
		sum := 0
		for b := range planes {
			n := 0
			for j, w := range x.planes[b*x.words:][:x.words] {
				n += bits.OnesCount64(w & row[j])
			}
			if b == planes-1 {
				n = -n
			}
			sum += n << b
		}
		out[i] = int32(sum)
	}
}
